"""PyTorch's convolution modules, computed by groupconv."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.lazy import LazyModuleMixin

from groupconv._arguments import (
    Activation,
    Arguments,
    conv_arguments,
    conv_transpose_arguments,
)
from groupconv._arrays import Array
from groupconv.interop.torch._classes import STATE, Changed
from groupconv.interop.torch._operators import Geometry, convolve
from groupconv.interop.torch._prepared import Memo, Prepared
from groupconv.interop.torch._routes import Route, route
from groupconv.interop.torch._tensors import DTYPES, array_of

FORWARD = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = FORWARD + TRANSPOSED


class Accelerated(Changed):
    """A convolution module that groupconv computes; it stays an instance of its PyTorch class."""

    def extra_repr(self) -> str:
        """PyTorch's text, and a mark that tells the two apart."""
        return f"{super().extra_repr()}, groupconv"

    def _compute(self, input: Tensor, output_padding: list[int] | None = None) -> Tensor | None:
        """Convolve, or return None for what is PyTorch's to do."""
        watched = watched_tensors(self)
        weights = watched or (self.weight, self.bias)
        way = route(input, weights)
        if way is Route.PYTORCH or not (watched or all(map(_is_plain, weights))):
            return None
        if way is Route.DIRECT and watched and output_padding is None:
            memo: Memo = self.__dict__[STATE]
            return memo.get(options_of(self), watched, prepare, self)(input)
        geometry = geometry_for(way, *options_of(self))
        if output_padding is not None:
            geometry = geometry._replace(output_padding=tuple(output_padding))
        return convolve(way, input, self.weight, self.bias, geometry)


class AcceleratedConv(Accelerated):
    """A forward convolution."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve; PyTorch does what groupconv does not (other devices, dtypes, transforms)."""
        result = self._compute(input)
        return super().forward(input) if result is None else result


class AcceleratedConvTranspose(Accelerated):
    """A transposed convolution."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve; `output_size` settles the size where a stride leaves it open."""
        ndim = len(self.kernel_size)
        output_padding = None
        if output_size is not None:
            output_padding = self._output_padding(
                input, output_size, self.stride, self.padding, self.kernel_size, ndim, self.dilation
            )
        result = self._compute(input, output_padding)
        return super().forward(input, output_size) if result is None else result


def mixin_for(module: nn.Module) -> type[Accelerated]:
    """Return the class that accelerates a convolution."""
    return AcceleratedConvTranspose if isinstance(module, TRANSPOSED) else AcceleratedConv


def reason_to_leave(module: nn.Module) -> str | None:
    """Tell why a convolution cannot be groupconv's, or return None."""
    kind = type(module)
    base = next(c for c in CONVOLUTIONS if isinstance(module, c))
    if isinstance(module, LazyModuleMixin):
        return "its parameters are not initialised yet: call it once first"
    for name in ("forward", "_conv_forward", "_output_padding"):
        if getattr(kind, name, None) is not getattr(base, name, None) or name in module.__dict__:
            return f"{kind.__name__} has a {name} of its own"
    for tensor in module.parameters():
        if tensor.device.type != "cpu":
            return f"its parameters are on {tensor.device}"
        if tensor.dtype not in DTYPES:
            return f"dtype {tensor.dtype} is not supported"
    return None


def options_of(module: Any) -> tuple[Any, ...]:
    """Return everything that a convolution module computes with but tensors."""
    return (
        module.stride,
        module.padding,
        module.output_padding,
        module.dilation,
        module.groups,
        module.padding_mode,
        module.transposed,
        module.kernel_size,
    )


def geometry_of(
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    padding_mode: str,
    transposed: bool,
    kernel_size: tuple[int, ...],
) -> Geometry:
    """Bring a module's options to the operators' form, with padding as numbers."""
    totals = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    match padding:
        case "same":  # PyTorch's: stride 1, the odd cell after
            pairs = [(total // 2, total - total // 2) for total in totals]
        case "valid":
            pairs = [(0, 0) for _ in totals]
        case _:
            pairs = [(p, p) for p in padding]
    flat = tuple(p for pair in pairs for p in pair)
    return Geometry(stride, flat, output_padding, dilation, groups, padding_mode, transposed)


_known_geometry = functools.lru_cache(maxsize=1024)(geometry_of)


def geometry_for(way: Route, *options: Any) -> Geometry:
    """Return `geometry_of` the options; from memory, unless a compiler reads along."""
    return geometry_of(*options) if way is Route.OPERATOR else _known_geometry(*options)


@functools.lru_cache(maxsize=1024)
def arguments_of(geometry: Geometry, activation: Activation = None) -> Arguments:
    """Check a geometry as groupconv's own functions do."""
    ndim = len(geometry.stride)
    pairs = list(zip(geometry.padding[::2], geometry.padding[1::2], strict=True))
    if geometry.transposed:
        return conv_transpose_arguments(
            ndim,
            geometry.stride,
            pairs,
            geometry.output_padding,
            geometry.groups,
            geometry.dilation,
            activation,
        )
    return conv_arguments(
        ndim,
        geometry.stride,
        pairs,
        geometry.dilation,
        geometry.groups,
        geometry.padding_mode,
        activation,
    )


def watched_tensors(module: Any) -> tuple[Tensor | None, ...] | None:
    """Return the tensors that weight and bias are made of, or None when that cannot be known.

    These are the two parameters themselves, or what PyTorch's weight normalisation computes the
    weight from. Other parametrisations may do something else at each call, and modules whose hooks
    set the weight get a new tensor every time.
    """
    parameters = module._parameters
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if type(weight) is nn.Parameter:
        return weight, bias
    parametrizations = module._modules.get("parametrizations")
    if parametrizations is None or list(parametrizations) != ["weight"]:
        return None
    chain = parametrizations["weight"]
    if not all(type(step) is _WEIGHT_NORM for step in chain):
        return None
    return *chain._parameters.values(), bias


def _is_plain(tensor: Tensor | None) -> bool:
    """Tell tensors from subclasses that hold their values in another way."""
    return tensor is None or type(tensor) in (Tensor, nn.Parameter, FakeTensor)


_WEIGHT_NORM = torch.nn.utils.parametrizations._WeightNorm


def prepare(module: Any) -> Prepared:
    """Prepare a module's weights as they are now."""
    return Prepared(arguments_of(geometry_of(*options_of(module))), *arrays_of(module))


def arrays_of(module: Any) -> tuple[Array, Array | None]:
    """View a module's weight and bias as arrays."""
    bias = module.bias
    return array_of(module.weight), None if bias is None else array_of(bias)
