"""Custom operators of PyTorch: convolution and its two gradients, differentiable to any order.

A convolution is linear in its input and in its weight, and so are both gradients in their two
arrays. The derivatives of the three operators are therefore these same three:

====================  =========================  ============================
operator              derivative by the first    derivative by the second
====================  =========================  ============================
``convolution``       ``input_gradient``         ``weight_gradient``
``input_gradient``    ``convolution``            ``weight_gradient``
``weight_gradient``   ``input_gradient``         ``convolution``
====================  =========================  ============================

All take the same list of options, a `Geometry`, which `torch.export` writes down as it is.

The dispatcher costs more than a small convolution. Eager calls therefore go through `convolve`,
which records the same derivatives with one ``autograd.Function`` and no dispatch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.library import CustomOpDef

from groupconv import functional, grad
from groupconv._arrays import Array, dense_strides, is_channels_last
from groupconv.interop.torch._routes import Route, route
from groupconv.interop.torch._tensors import array_of, tensor_of, thread_limit

_OPTIONS = (
    "int[] stride, int[] padding, int[] output_padding, int[] dilation, int groups, "
    "str padding_mode, bool transposed"
)


class Geometry(NamedTuple):
    """Options of a convolution, in the order the operators take them."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    """Before and after the first dimension, before and after the second, ..."""
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    transposed: bool

    def output_size(self, input_size: Any, kernel: Any) -> list[Any]:
        """Spatial size of the result; sizes may be symbolic."""
        befores, afters = self.padding[::2], self.padding[1::2]
        sizes = []
        for axis, (n, k) in enumerate(zip(input_size, kernel, strict=True)):
            span, pad = self.dilation[axis] * (k - 1), befores[axis] + afters[axis]
            if self.transposed:
                size = (n - 1) * self.stride[axis] - pad + span + self.output_padding[axis] + 1
            else:
                size = (n + pad - span - 1) // self.stride[axis] + 1
            sizes.append(size)
        return sizes


def _geometry(options: Any) -> Geometry:
    """Make the options of a call hashable: the dispatcher hands over lists."""
    return Geometry(*(tuple(o) if isinstance(o, list) else o for o in options))


@functools.lru_cache(maxsize=256)
def _bound(geometry: Geometry, of: str = "") -> Callable[..., Array]:
    """Return the function of `groupconv` for a geometry, or its gradient by `of`, options bound."""
    name = f"conv{'_transpose' if geometry.transposed else ''}{len(geometry.stride)}d"
    function = getattr(grad, f"{name}_{of}") if of else getattr(functional, name)
    pairs = list(zip(geometry.padding[::2], geometry.padding[1::2], strict=True))
    rest = {"padding_mode": geometry.padding_mode}
    if geometry.transposed:
        rest = {"output_padding": geometry.output_padding}
    return functools.partial(
        function,
        stride=geometry.stride,
        padding=pairs,
        dilation=geometry.dilation,
        groups=geometry.groups,
        **rest,
    )


def _convolution(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """Convolve, forward or transposed."""
    function = _bound(_geometry(options))
    b = None if bias is None else array_of(bias)
    with thread_limit():
        return tensor_of(function(array_of(input), array_of(weight), b))


def _input_gradient(grad_output: Tensor, weight: Tensor, input_size: Any, *options: Any) -> Tensor:
    """Gradient of `convolution` by its input."""
    function = _bound(_geometry(options), "input")
    w, g = array_of(weight), array_of(grad_output)
    with thread_limit():
        return tensor_of(function(tuple(input_size), w, g))


def _weight_gradient(input: Tensor, grad_output: Tensor, weight_size: Any, *options: Any) -> Tensor:
    """Gradient of `convolution` by its weight."""
    function = _bound(_geometry(options), "weight")
    x, g = array_of(input), array_of(grad_output)
    with thread_limit():
        return tensor_of(function(x, tuple(weight_size), g))


def _operator(function: Callable[..., Tensor], arguments: str) -> CustomOpDef:
    return torch.library.custom_op(
        f"groupconv::{function.__name__[1:]}",
        function,
        mutates_args=(),
        device_types="cpu",
        schema=f"({arguments}, {_OPTIONS}) -> Tensor",
    )


convolution = _operator(_convolution, "Tensor input, Tensor weight, Tensor? bias")
input_gradient = _operator(
    _input_gradient, "Tensor grad_output, Tensor weight, SymInt[] input_size"
)
weight_gradient = _operator(
    _weight_gradient, "Tensor input, Tensor grad_output, SymInt[] weight_size"
)

# -- shapes without data: what torch.compile and torch.export trace with ---------------------------


def _like(tensor: Tensor, shape: list[Any], ndim: int) -> Tensor:
    """Make an empty result that lies in memory channels last when `tensor` does."""
    missing = ndim + 2 - tensor.ndim
    sizes, strides = (1,) * missing + tuple(tensor.shape), (0,) * missing + tensor.stride()
    last = is_channels_last(sizes, strides)
    result = dense_strides((1,) * missing + tuple(shape), 1, channels_last=last)
    return tensor.new_empty_strided(shape, result[missing:])


@convolution.register_fake
def _(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    geometry = _geometry(options)
    ndim = len(geometry.stride)
    channels = weight.shape[1] * geometry.groups if geometry.transposed else weight.shape[0]
    size = geometry.output_size(input.shape[-ndim:], weight.shape[2:])
    return _like(input, [*input.shape[: -ndim - 1], channels, *size], ndim)


@input_gradient.register_fake
def _(grad_output: Tensor, weight: Tensor, input_size: Any, *options: Any) -> Tensor:
    return _like(grad_output, list(input_size), len(_geometry(options).stride))


@weight_gradient.register_fake
def _(input: Tensor, grad_output: Tensor, weight_size: Any, *options: Any) -> Tensor:
    return input.new_empty(list(weight_size))


# -- derivatives ----------------------------------------------------------------------------------


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor | None = None) -> None:
    """Save what the derivatives of any of the three operators need."""
    first, second, _, *ctx.options = inputs
    ctx.save_for_backward(first, second)


def _convolution_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    input, weight = ctx.saved_tensors
    by_input = by_weight = by_bias = None
    if ctx.needs_input_grad[0]:
        by_input = _way(g, input_gradient, _input_gradient)(g, weight, input.shape, *ctx.options)
    if ctx.needs_input_grad[1]:
        by_weight = _way(g, weight_gradient, _weight_gradient)(input, g, weight.shape, *ctx.options)
    if ctx.needs_input_grad[2]:
        channel = g.ndim - len(ctx.options[0]) - 1
        by_bias = g.sum([axis for axis in range(g.ndim) if axis != channel])
    return by_input, by_weight, by_bias, *(None for _ in ctx.options)


def _way(
    g: Tensor, operator: CustomOpDef, function: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """Skip the dispatcher where nobody looks at the gradient's own computation."""
    recorded = torch.is_grad_enabled() or route(g) is not Route.DIRECT
    return operator if recorded else function


def _input_gradient_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    grad_output, weight = ctx.saved_tensors
    by_grad_output = by_weight = None
    if ctx.needs_input_grad[0]:
        by_grad_output = convolution(g, weight, None, *ctx.options)
    if ctx.needs_input_grad[1]:
        by_weight = weight_gradient(g, grad_output, weight.shape, *ctx.options)
    return by_grad_output, by_weight, None, *(None for _ in ctx.options)


def _weight_gradient_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    input, grad_output = ctx.saved_tensors
    by_input = by_grad_output = None
    if ctx.needs_input_grad[0]:
        by_input = input_gradient(grad_output, g, input.shape, *ctx.options)
    if ctx.needs_input_grad[1]:
        by_grad_output = convolution(input, g, None, *ctx.options)
    return by_input, by_grad_output, None, *(None for _ in ctx.options)


convolution.register_autograd(_convolution_backward, setup_context=_keep)
input_gradient.register_autograd(_input_gradient_backward, setup_context=_keep)
weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_keep)


class _Convolve(torch.autograd.Function):
    """The operator `convolution` for eager calls."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _keep(ctx, inputs)
        return _convolution(*inputs)

    backward = staticmethod(_convolution_backward)


def convolve(
    way: Route, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Convolve tensors that groupconv can compute on, in the way that `route` chose."""
    if way is Route.OPERATOR:
        return convolution(input, weight, bias, *geometry)
    if way is Route.AUTOGRAD:
        return _Convolve.apply(input, weight, bias, *geometry)
    return _convolution(input, weight, bias, *geometry)
