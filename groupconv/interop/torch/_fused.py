"""A convolution with what stands before and after it, in one call."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import groupconv
from groupconv._arguments import Activation
from groupconv._arrays import Array
from groupconv._calls import BoundedCache
from groupconv.interop.torch._convolutions import (
    arguments_of,
    arrays_of,
    geometry_of,
    options_of,
    watched_tensors,
)
from groupconv.interop.torch._operators import Geometry
from groupconv.interop.torch._padding import PaddingFunction, pad
from groupconv.interop.torch._prepared import Memo, Prepared
from groupconv.interop.torch._routes import Route, route
from groupconv.interop.torch._steps import TORCH_FUNCTIONS
from groupconv.interop.torch._tensors import array_of

PADDINGS_KEPT = 4


class FusedConvolution(nn.Module):
    """Zero padding, convolution, batch normalisation, residual and activation.

    It has no parameters of its own: the modules it stands for stay where they are in the model, and
    an edit of theirs shows at the next call. What groupconv cannot do in one call is done in steps.

    Parameters
    ----------
    convolution : nn.Module
        An accelerated convolution.
    norm : nn.Module or None
        Batch normalisation by running statistics.
    activation : str, tuple or None
        As groupconv names it.
    padding : tuple of int or PaddingFunction
        Zeros around the input, last dimension first, as ``torch.nn.functional.pad`` takes them.
    """

    def __init__(
        self,
        convolution: nn.Module,
        norm: nn.Module | None,
        activation: Activation,
        padding: tuple[int, ...] | PaddingFunction,
    ) -> None:
        super().__init__()
        # As plain attributes: registered, they would be listed a second time.
        self.__dict__.update(
            _convolution=convolution,
            _norm=norm,
            _activation=activation,
            _padding=padding,
            _memo=Memo(),
        )

    def extra_repr(self) -> str:
        """Text of the parts."""
        parts = (self._convolution, self._norm, self._activation, self._padding)
        return ", ".join(str(part) for part in parts if part)

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute all steps."""
        result = self._at_once(input, residual)
        return self._in_steps(input, residual) if result is None else result

    def _at_once(self, input: Tensor, residual: Tensor | None) -> Tensor | None:
        watched = watched_tensors(self._convolution)
        if watched is None or route(input, watched) is not Route.DIRECT:
            return None
        if residual is not None and route(residual) is not Route.DIRECT:
            return None
        options, padding = options_of(self._convolution), self._padding
        if isinstance(padding, PaddingFunction):
            padding = padding.amounts(input, options)
        if padding is None or len(padding) > 2 * len(self._convolution.kernel_size):
            return None
        try:
            return self._operands(options, watched).padded(padding)(input, residual)
        except (TypeError, ValueError):
            # A residual that broadcasts, or a wrong input: the steps accept or refuse it.
            return None

    def _operands(self, options: tuple[Any, ...], watched: tuple[Tensor | None, ...]) -> _Operands:
        norm = self._norm
        if norm is None:
            return self._memo.get(options, watched, self._fold)
        statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return self._memo.get((options, norm.eps), watched + statistics, self._fold)

    def _fold(self) -> _Operands:
        geometry = geometry_of(*options_of(self._convolution))
        weight, bias = arrays_of(self._convolution)
        if self._norm is not None:
            weight, bias = _folded(geometry, weight, bias, self._norm)
        return _Operands(geometry, self._activation, weight, bias)

    def _in_steps(self, input: Tensor, residual: Tensor | None) -> Tensor:
        result = self._convolution(pad(input, self._padding))
        if self._norm is not None:
            result = self._norm(result)
        if residual is not None:
            result = result + residual
        if self._activation is None:
            return result
        if isinstance(self._activation, str):
            return TORCH_FUNCTIONS[self._activation](result)
        name, parameter = self._activation
        return TORCH_FUNCTIONS[name](result, parameter)


class _Operands:
    """Weight and bias with the batch normalisation folded in, for any padding."""

    def __init__(
        self, geometry: Geometry, activation: Activation, weight: Array, bias: Array | None
    ) -> None:
        self._geometry = geometry
        self._activation = activation
        self._weight, self._bias = weight, bias
        self._prepared: BoundedCache[Prepared] = BoundedCache(PADDINGS_KEPT)

    def padded(self, amounts: tuple[int, ...]) -> Prepared:
        """Return the convolution of inputs with these zeros around them."""
        prepared = self._prepared.get(amounts)
        if prepared is None:
            geometry = self._geometry._replace(padding=_with_zeros(self._geometry, amounts))
            arguments = arguments_of(geometry, self._activation)
            prepared = Prepared(arguments, self._weight, self._bias)
            self._prepared.keep(amounts, prepared)
        return prepared


def _with_zeros(geometry: Geometry, amounts: tuple[int, ...]) -> tuple[int, ...]:
    """Add padding in PyTorch's order (last dimension first) to a geometry's (first first)."""
    padding = list(geometry.padding)
    for place in range(0, len(amounts), 2):
        first = len(padding) - 2 - place
        padding[first] += amounts[place]
        padding[first + 1] += amounts[place + 1]
    return tuple(padding)


def _folded(
    geometry: Geometry, weight: Array, bias: Array | None, norm: Any
) -> tuple[Array, Array | None]:
    """Fold a batch normalisation into weight and bias, with groupconv's own layers."""
    kind = "ConvTranspose" if geometry.transposed else "Conv"
    layer = getattr(groupconv, f"{kind}{len(geometry.stride)}d")
    statistics = [norm.running_mean, norm.running_var, norm.weight, norm.bias]
    arrays = [None if tensor is None else array_of(tensor) for tensor in statistics]
    folded = layer.from_weight(weight, bias, groups=geometry.groups).fold_batch_norm(
        *arrays, eps=norm.eps
    )
    return folded.weight, folded.bias
