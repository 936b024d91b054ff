"""Convolutions as functions of NumPy arrays, with the signatures of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groupconv._arguments import (
    Activation,
    Arguments,
    Integers,
    Padding,
    PaddingMode,
    conv_arguments,
    conv_transpose_arguments,
)
from groupconv._arrays import Array, ArrayInput, as_array
from groupconv._calls import fill, find_call
from groupconv._docstrings import documented
from groupconv._problem import forward_problem

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

_CONV = """Convolve in <dimensions>, with groups.

Output channel ``k`` reads the ``C / groups`` input channels of its own group and no others:
``groups=1`` is the dense convolution, ``groups=C`` the depthwise one.

Parameters
----------
input : array
    ``(N, C, <size>)``, or ``(C, <size>)`` without batch;
    <dtypes>.
    Any strides, read-only too; objects with ``__dlpack__`` or ``__array__`` are accepted.
weight : array
    ``(K, C / groups, <kernel>)``.
bias : array, optional
    ``(K,)``.
<stride>
padding : int, sequence or str, optional
    Cells added at both ends: an int; one int per dimension; one pair ``(before, after)`` per
    dimension; ``'valid'`` for none; ``'same'`` for an output of ``ceil(size / stride)``, the odd
    cell after; ``'causal'``, in 1-D, for all of it before.
<dilation>
<groups>
<padding_mode>
<activation>
residual : array, optional
    Of the result's shape; added before the activation.
<algorithm>
out : ndarray, optional
    Where to write: the result's shape and dtype, any strides that overlap neither themselves nor
    an input.

Returns
-------
ndarray
    ``(N, K, <out>)`` or ``(K, <out>)``,
    of the input's dtype; `out` itself where given. It lies in memory channels last when the input
    does.

Raises
------
<raises>

Notes
-----
::

    out[n, k, o] = activation(bias[k] + residual[n, k, o] + sum over c, r of
                   weight[k, c, r] * padded[n, g * C / groups + c, o * stride + r * dilation])

with g the group of k, and one o and r per dimension: the cross-correlation of PyTorch's
``torch.nn.functional.conv<d>d``. float16 and bfloat16 are computed in float32 and rounded once.

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> x, w = np.ones((1, 8, <nines>), "float32"), np.ones((4, 2, <fives>), "float32")
>>> gc.conv<d>d(x, w, groups=4).shape
(1, 4, <fives>)
"""

_CONV_TRANSPOSE = """Transposed convolution in <dimensions>, with groups.

The gradient of `conv<d>d` by its input, as an operation of its own: it brings the output's size of
a strided convolution back to the input's.

Parameters
----------
input : array
    ``(N, C, <size>)``, or ``(C, <size>)`` without batch;
    <dtypes>.
    Any strides, read-only too; objects with ``__dlpack__`` or ``__array__`` are accepted.
weight : array
    ``(C, K / groups, <kernel>)``.
bias : array, optional
    ``(K,)``.
<stride>
padding : int, sequence or str, optional
    Cells cut from both ends of the full result: an int; one int per dimension; one pair
    ``(before, after)`` per dimension; ``'valid'`` for none; ``'same'`` for an output of
    ``size * stride``, the odd cell after.
output_padding : int or sequence of int, optional
    Cells added after; smaller than stride or dilation.
<groups>
<dilation>
<activation>
residual : array, optional
    Of the result's shape; added before the activation.
<algorithm>
out : ndarray, optional
    Where to write: the result's shape and dtype, any strides that overlap neither themselves nor
    an input.

Returns
-------
ndarray
    ``(N, K, <out>)`` or ``(K, <out>)``,
    of the input's dtype, each size
    ``(size - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1``; `out`
    itself where given. It lies in memory channels last when the input does.

Raises
------
<raises>

Notes
-----
::

    out[n, k, o] = activation(bias[k] + residual[n, k, o] + sum over c, r, i of
                   weight[c, k, r] * input[n, c, i])  where i * stride = o + before - r * dilation

with c from the group of k, and one o, r and i per dimension: PyTorch's
``torch.nn.functional.conv_transpose<d>d``. Computed as a gather: no column buffer, no scatter.

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> x, w = np.ones((1, 8, <fives>), "float32"), np.ones((8, 1, <fives>), "float32")
>>> gc.conv_transpose<d>d(x, w, groups=4).shape
(1, 4, <nines>)
"""


def _convolve(
    arguments: Callable[..., Arguments],
    ndim: int,
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None,
    residual: ArrayInput | None,
    out: Array | None,
    *options: Any,
) -> Array:
    x, w = as_array(input, "input"), as_array(weight, "weight")
    b = None if bias is None else as_array(bias, "bias")
    r = None if residual is None else as_array(residual, "residual")
    if b is not None and not b.flags.c_contiguous:
        b = b.copy()

    def compute(target: Array | None) -> Array:
        call = find_call(forward_problem, arguments, ndim, (x, w, b, r, target), options, x)
        return call.compute(x, w, b, r, target)

    if out is None:
        return compute(None)
    inputs = {"input": input, "weight": weight, "bias": bias, "residual": residual}
    return fill(out, inputs, compute)


@documented(_CONV, 1)
def conv1d(
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation = None,
    residual: ArrayInput | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode, activation, algorithm
    return _convolve(conv_arguments, 1, input, weight, bias, residual, out, *options)


@documented(_CONV, 2)
def conv2d(
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation = None,
    residual: ArrayInput | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode, activation, algorithm
    return _convolve(conv_arguments, 2, input, weight, bias, residual, out, *options)


@documented(_CONV, 3)
def conv3d(
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation = None,
    residual: ArrayInput | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode, activation, algorithm
    return _convolve(conv_arguments, 3, input, weight, bias, residual, out, *options)


@documented(_CONV_TRANSPOSE, 1)
def conv_transpose1d(
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    activation: Activation = None,
    residual: ArrayInput | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation, activation, algorithm
    return _convolve(conv_transpose_arguments, 1, input, weight, bias, residual, out, *options)


@documented(_CONV_TRANSPOSE, 2)
def conv_transpose2d(
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    activation: Activation = None,
    residual: ArrayInput | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation, activation, algorithm
    return _convolve(conv_transpose_arguments, 2, input, weight, bias, residual, out, *options)


@documented(_CONV_TRANSPOSE, 3)
def conv_transpose3d(
    input: ArrayInput,
    weight: ArrayInput,
    bias: ArrayInput | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    activation: Activation = None,
    residual: ArrayInput | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation, activation, algorithm
    return _convolve(conv_transpose_arguments, 3, input, weight, bias, residual, out, *options)
