"""Convolution and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from groupconv.reference._activations import Activation
from groupconv.reference._pieces import einsum, finish, join, scatter, split, windows_of
from groupconv.reference._sizes import (
    Array,
    Padding,
    PerAxis,
    output_size,
    pad,
    padding_pairs,
    per_axis,
    unpad,
    wide,
)


def conv_by_loops(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: Activation = None,
    residual: ArrayLike | None = None,
) -> Array:
    r"""Grouped convolution, one product at a time: the definition.

    .. math::

        y[n, k, o] = f\Big(b[k] + z[n, k, o] + \sum_{c, r} w[k, c, r]\;
                     x_{padded}[n,\; g(k)\, C' + c,\; o s + r d]\Big)

    Output channels are cut into ``groups`` runs of equal length, input channels too, and a run of
    outputs sees the run of inputs of the same number only (Krizhevsky et al., 2012). As
    everywhere in deep learning the kernel is not flipped.

    Parameters
    ----------
    input : array ``(N, C, *spatial)`` or ``(C, *spatial)``
    weight : array ``(K, C / groups, *kernel)``
    bias : array (K,), optional
        ``b``.
    stride, dilation : int or sequence of int
    padding : int, str or sequence
        See :func:`padding_pairs`.
    groups : int
        Divides both C and K.
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}
    activation : str or (str, float), optional
        ``f``; see :func:`activate`.
    residual : array of the result's shape, optional
        ``z``.

    Returns
    -------
    array ``(N, K, *out)`` or ``(K, *out)``
        ``out`` is :func:`output_size`.
    """
    x, w = wide(input), wide(weight)
    ndim = w.ndim - 2
    if x.ndim < w.ndim:
        where = (stride, padding, dilation, groups)
        sums = conv_by_loops(x[None], w, None, *where, padding_mode=padding_mode)[0]
        return finish(sums, bias, residual, activation, ndim)
    in_size, kernel = x.shape[2:], w.shape[2:]
    padded = pad(x, padding_pairs(padding, in_size, kernel, stride, dilation), padding_mode)
    out_size = output_size(in_size, kernel, stride, padding, dilation)
    steps, gaps = per_axis(stride, ndim), per_axis(dilation, ndim)
    in_per_group, out_per_group = x.shape[1] // groups, w.shape[0] // groups
    sums = np.zeros((x.shape[0], w.shape[0], *out_size), x.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for n, k, *o in np.ndindex(sums.shape):
            first = k // out_per_group * in_per_group
            for c, *r in np.ndindex(w.shape[1:]):
                read = [oi * s + ri * d for oi, s, ri, d in zip(o, steps, r, gaps, strict=True)]
                sums[(n, k, *o)] += w[(k, c, *r)] * padded[(n, first + c, *read)]
    return finish(sums, bias, residual, activation, ndim)


def conv(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: Activation = None,
    residual: ArrayLike | None = None,
) -> Array:
    """Grouped convolution as one :func:`numpy.einsum` over the windows of the padded input.

    The sum that :func:`conv_by_loops` defines, fast enough to test against; the parameters are
    described there.
    """
    x, w = wide(input), wide(weight)
    ndim = w.ndim - 2
    if x.ndim < w.ndim:
        where = (stride, padding, dilation, groups)
        sums = conv(x[None], w, None, *where, padding_mode=padding_mode)[0]
        return finish(sums, bias, residual, activation, ndim)
    windows = _padded_windows(x, w.shape[2:], stride, padding, dilation, padding_mode)
    o, r = "xyz"[:ndim], "rst"[:ndim]
    sums = einsum(f"ngc{o}{r},gkc{r}->ngk{o}", split(windows, 1, groups), split(w, 0, groups))
    return finish(join(sums, 1), bias, residual, activation, ndim)


def conv_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
) -> Array:
    r"""Gradient of :func:`conv` with respect to its input, by scatter.

    Every product of the forward sum hands the gradient of its output back to the padded cell
    that it read,

    .. math:: dx_{padded}[n,\; g(k)\, C' + c,\; o s + r d] \mathrel{+}= w[k, c, r]\; dy[n, k, o],

    and every padded cell hands its own to the input cell that it copies; padding zeros copy none.

    Parameters
    ----------
    input_size : sequence of int
        Shape of the input, ``(N, C, *spatial)`` or ``(C, *spatial)``.
    weight : array ``(K, C / groups, *kernel)``
    grad_output : array ``(N, K, *out)`` or ``(K, *out)``
        ``dy``.
    stride, padding, dilation, groups, padding_mode
        Those of the forward call.

    Returns
    -------
    array of shape ``input_size``
    """
    w, dy = wide(weight), wide(grad_output)
    if dy.ndim < w.ndim:
        where = (stride, padding, dilation, groups)
        batch = (1, *input_size)
        return conv_input(batch, w, dy[None], *where, padding_mode=padding_mode)[0]
    in_size = input_size[2:]
    pairs = padding_pairs(padding, in_size, w.shape[2:], stride, dilation)
    padded_size = [size + sum(pair) for size, pair in zip(in_size, pairs, strict=True)]
    return unpad(scatter(dy, w, stride, dilation, groups, padded_size), pairs, padding_mode)


def conv_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
) -> Array:
    r"""Gradient of :func:`conv` with respect to its weight.

    .. math::

        dw[k, c, r] = \sum_{n, o} dy[n, k, o]\; x_{padded}[n,\; g(k)\, C' + c,\; o s + r d]

    Parameters
    ----------
    input : array ``(N, C, *spatial)`` or ``(C, *spatial)``
    weight_size : sequence of int
        Shape of the weight, ``(K, C / groups, *kernel)``.
    grad_output : array ``(N, K, *out)`` or ``(K, *out)``
        ``dy``.
    stride, padding, dilation, groups, padding_mode
        Those of the forward call.

    Returns
    -------
    array of shape ``weight_size``
    """
    x, dy = wide(input), wide(grad_output)
    ndim = len(weight_size) - 2
    if x.ndim < len(weight_size):
        x, dy = x[None], dy[None]
    windows = _padded_windows(x, weight_size[2:], stride, padding, dilation, padding_mode)
    o, r = "xyz"[:ndim], "rst"[:ndim]
    sums = einsum(f"ngc{o}{r},ngk{o}->gkc{r}", split(windows, 1, groups), split(dy, 1, groups))
    return join(sums, 0)


def conv_bias(grad_output: ArrayLike, *, batched: bool = True) -> Array:
    """Gradient of a (transposed) convolution with respect to its bias.

    The sum of ``dy[n, k, o]`` over ``n`` and ``o``.

    Parameters
    ----------
    grad_output : array ``(N, K, *out)``, or ``(K, *out)`` with ``batched=False``
        ``dy``.

    Returns
    -------
    array (K,)
    """
    channels_first = np.moveaxis(wide(grad_output), 1 if batched else 0, 0)
    return channels_first.sum(axis=tuple(range(1, channels_first.ndim)))


def _padded_windows(
    x: Array,
    kernel: Sequence[int],
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    padding_mode: str,
) -> Array:
    pairs = padding_pairs(padding, x.shape[2:], kernel, stride, dilation)
    return windows_of(pad(x, pairs, padding_mode), kernel, stride, dilation)
