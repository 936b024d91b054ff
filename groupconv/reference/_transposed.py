"""Transposed convolution and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from groupconv.reference._activations import Activation
from groupconv.reference._convolution import conv_bias
from groupconv.reference._pieces import einsum, finish, join, scatter, split, windows_of
from groupconv.reference._sizes import (
    Array,
    Padding,
    PerAxis,
    pad,
    padding_pairs,
    per_axis,
    transposed_output_size,
    unpad,
    wide,
)


def conv_transpose_by_loops(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
    *,
    activation: Activation = None,
    residual: ArrayLike | None = None,
) -> Array:
    r"""Grouped transposed convolution, one product at a time: the definition.

    Every input cell adds a copy of its kernel, scaled by its value, to the output,

    .. math::

        y[n,\; g K' + k,\; i s + r d - p] \mathrel{+}= w[g C' + c, k, r]\; x[n,\; g C' + c,\; i],

    wherever that position exists. The matrix of this map is the transpose of a convolution's,
    so that it is :func:`conv_input` under another name (Dumoulin and Visin, 2016).

    Parameters
    ----------
    input : array ``(N, C, *spatial)`` or ``(C, *spatial)``
    weight : array ``(C, K / groups, *kernel)``
    bias : array (K,), optional
    stride, dilation : int or sequence of int
    padding : int or sequence
        Cells *removed*: one number, one per dimension, or one ``(before, after)`` pair per
        dimension.
    output_padding : int or sequence of int
        Cells added after.
    groups : int
        Divides both C and K.
    activation : str or (str, float), optional
        See :func:`activate`.
    residual : array of the result's shape, optional
        Added before the activation.

    Returns
    -------
    array ``(N, K, *out)`` or ``(K, *out)``
        ``out`` is :func:`transposed_output_size`.
    """
    x, w = wide(input), wide(weight)
    ndim = w.ndim - 2
    if x.ndim < w.ndim:
        where = (stride, padding, output_padding, groups, dilation)
        sums = conv_transpose_by_loops(x[None], w, None, *where)[0]
        return finish(sums, bias, residual, activation, ndim)
    in_size, kernel = x.shape[2:], w.shape[2:]
    before = [first for first, _ in padding_pairs(padding, in_size, kernel)]
    out_size = transposed_output_size(in_size, kernel, stride, padding, output_padding, dilation)
    steps, gaps = per_axis(stride, ndim), per_axis(dilation, ndim)
    in_per_group, out_per_group = x.shape[1] // groups, w.shape[1]
    sums = np.zeros((x.shape[0], groups * out_per_group, *out_size), x.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for n, c, *i in np.ndindex(x.shape):
            first = c // in_per_group * out_per_group
            for k, *r in np.ndindex(w.shape[1:]):
                reached = [
                    ii * s + ri * d - p
                    for ii, s, ri, d, p in zip(i, steps, r, gaps, before, strict=True)
                ]
                if all(0 <= at < size for at, size in zip(reached, out_size, strict=True)):
                    sums[(n, first + k, *reached)] += w[(c, k, *r)] * x[(n, c, *i)]
    return finish(sums, bias, residual, activation, ndim)


def conv_transpose(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
    *,
    activation: Activation = None,
    residual: ArrayLike | None = None,
) -> Array:
    """Grouped transposed convolution as one scatter per kernel position.

    The sum that :func:`conv_transpose_by_loops` defines; the parameters are described there.
    """
    x, w = wide(input), wide(weight)
    ndim = w.ndim - 2
    if x.ndim < w.ndim:
        where = (stride, padding, output_padding, groups, dilation)
        sums = conv_transpose(x[None], w, None, *where)[0]
        return finish(sums, bias, residual, activation, ndim)
    in_size, kernel = x.shape[2:], w.shape[2:]
    uncut = transposed_output_size(in_size, kernel, stride, 0, output_padding, dilation)
    pairs = padding_pairs(padding, in_size, kernel)
    sums = unpad(scatter(x, w, stride, dilation, groups, uncut), pairs, "zeros")
    return finish(sums, bias, residual, activation, ndim)


def conv_transpose_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
) -> Array:
    r"""Gradient of :func:`conv_transpose` with respect to its input: a convolution.

    .. math::

        dx[n,\; g C' + c,\; i] = \sum_{k, r} w[g C' + c, k, r]\; dy[n,\; g K' + k,\; i s + r d - p]

    with ``dy`` zero outside.

    Parameters
    ----------
    input_size : sequence of int
        Shape of the input, ``(N, C, *spatial)`` or ``(C, *spatial)``.
    weight : array ``(C, K / groups, *kernel)``
    grad_output : array ``(N, K, *out)`` or ``(K, *out)``
        ``dy``.
    stride, padding, output_padding, groups, dilation
        Those of the forward call.

    Returns
    -------
    array of shape ``input_size``
    """
    w, dy = wide(weight), wide(grad_output)
    ndim = w.ndim - 2
    if dy.ndim < w.ndim:
        where = (stride, padding, output_padding, groups, dilation)
        return conv_transpose_input((1, *input_size), w, dy[None], *where)[0]
    windows = _gradient_windows(
        dy, input_size[2:], w.shape[2:], stride, padding, output_padding, dilation
    )
    i, r = "xyz"[:ndim], "rst"[:ndim]
    sums = einsum(f"ngk{i}{r},gck{r}->ngc{i}", split(windows, 1, groups), split(w, 0, groups))
    return join(sums, 1)


def conv_transpose_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
) -> Array:
    r"""Gradient of :func:`conv_transpose` with respect to its weight.

    .. math::

        dw[g C' + c, k, r] = \sum_{n, i} x[n,\; g C' + c,\; i]\; dy[n,\; g K' + k,\; i s + r d - p]

    with ``dy`` zero outside.

    Parameters
    ----------
    input : array ``(N, C, *spatial)`` or ``(C, *spatial)``
    weight_size : sequence of int
        Shape of the weight, ``(C, K / groups, *kernel)``.
    grad_output : array ``(N, K, *out)`` or ``(K, *out)``
        ``dy``.
    stride, padding, output_padding, groups, dilation
        Those of the forward call.

    Returns
    -------
    array of shape ``weight_size``
    """
    x, dy = wide(input), wide(grad_output)
    ndim = len(weight_size) - 2
    if x.ndim < len(weight_size):
        x, dy = x[None], dy[None]
    windows = _gradient_windows(
        dy, x.shape[2:], weight_size[2:], stride, padding, output_padding, dilation
    )
    i, r = "xyz"[:ndim], "rst"[:ndim]
    sums = einsum(f"ngk{i}{r},ngc{i}->gck{r}", split(windows, 1, groups), split(x, 1, groups))
    return join(sums, 0)


conv_transpose_bias = conv_bias


def _gradient_windows(
    grad_output: Array,
    input_size: Sequence[int],
    kernel: Sequence[int],
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    dilation: PerAxis,
) -> Array:
    """View ``(N, K, *input, *kernel)`` of the output gradients that each input position adds to.

    ``output_padding`` may leave room for more windows than there are inputs; they are dropped.
    """
    where = (stride, padding, output_padding, dilation)
    out_size = transposed_output_size(input_size, kernel, *where)
    if grad_output.shape[2:] != out_size:
        raise ValueError(f"grad_output must have size {out_size}, got {grad_output.shape[2:]}")
    padded = pad(grad_output, padding_pairs(padding, input_size, kernel))
    windows = windows_of(padded, kernel, stride, dilation)
    return windows[(slice(None), slice(None), *map(slice, input_size))]
