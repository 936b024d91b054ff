"""Convolutions of tensors, with the signatures of ``torch.nn.functional``.

For code that calls ``torch.nn.functional.conv2d`` and its like with weights of its own, which
`groupconv.interop.torch.accelerate` does not see.

>>> import torch
>>> from groupconv.interop.torch import functional
>>> functional.conv2d(torch.ones(1, 8, 9, 9), torch.ones(4, 2, 5, 5), groups=4).shape
torch.Size([1, 4, 5, 5])

Gradients, ``torch.compile`` and ``torch.export`` work as with PyTorch's own functions, which
compute what groupconv does not: other devices and dtypes, autocast, ``torch.func`` transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor

from groupconv.interop.torch._convolutions import geometry_for
from groupconv.interop.torch._operators import convolve
from groupconv.interop.torch._routes import Route, route

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

Sizes: TypeAlias = int | Sequence[int]


def _each(value: Sizes, ndim: int) -> tuple[int, ...]:
    """Bring an int, or a sequence of 1 or `ndim` ints, to `ndim` ints."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * ndim if len(values) == 1 else values


def _conv(ndim: int, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        way = route(input, (weight, bias))
        # PyTorch allows 'same' for stride 1 only: its own function says so.
        strided_same = padding == "same" and _each(stride, ndim) != (1,) * ndim
        if way is Route.PYTORCH or strided_same:
            return own(input, weight, bias, stride, padding, dilation, groups)
        geometry = geometry_for(
            way,
            _each(stride, ndim),
            padding if isinstance(padding, str) else _each(padding, ndim),
            (0,) * ndim,
            _each(dilation, ndim),
            groups,
            "zeros",
            False,
            tuple(weight.shape[2:]),
        )
        return convolve(way, input, weight, bias, geometry)

    return _named(convolution, own, ndim, "Convolve")


def _conv_transpose(ndim: int, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        way = route(input, (weight, bias))
        if way is Route.PYTORCH:
            return own(input, weight, bias, stride, padding, output_padding, groups, dilation)
        geometry = geometry_for(
            way,
            _each(stride, ndim),
            _each(padding, ndim),
            _each(output_padding, ndim),
            _each(dilation, ndim),
            groups,
            "zeros",
            True,
            tuple(weight.shape[2:]),
        )
        return convolve(way, input, weight, bias, geometry)

    return _named(convolution, own, ndim, "Transposed-convolve")


def _named(
    function: Callable[..., Tensor], own: Callable[..., Tensor], ndim: int, verb: str
) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = own.__name__
    function.__doc__ = f"""{verb} a tensor, as ``torch.nn.functional.{own.__name__}`` does.

    Parameters
    ----------
    input : Tensor
        ``(N, C, *size)`` or ``(C, *size)`` with {ndim} spatial dimension{"s" * (ndim > 1)}.
    weight, bias : Tensor
        In PyTorch's shapes, of the input's dtype.
    stride, padding, dilation, groups
        As there{"; output_padding too" if "transpose" in own.__name__ else ""}.

    Returns
    -------
    Tensor
        In memory channels last when `input` is.

    Raises
    ------
    TypeError, ValueError
        When dtypes or shapes do not fit each other.
    """
    return function


conv1d = _conv(1, F.conv1d)
conv2d = _conv(2, F.conv2d)
conv3d = _conv(3, F.conv3d)
conv_transpose1d = _conv_transpose(1, F.conv_transpose1d)
conv_transpose2d = _conv_transpose(2, F.conv_transpose2d)
conv_transpose3d = _conv_transpose(3, F.conv_transpose3d)
