"""What convolutions, transposed convolutions and their gradients are written with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from groupconv.reference._activations import Activation, activate
from groupconv.reference._sizes import Array, PerAxis, per_axis, span, wide


def split(array: Array, axis: int, groups: int) -> Array:
    """Cut a channel axis in two: (group, channel of the group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def join(array: Array, axis: int) -> Array:
    """Undo `split`."""
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


def windows_of(padded: Array, kernel: Sequence[int], stride: PerAxis, dilation: PerAxis) -> Array:
    """View ``(N, C, *out, *kernel)`` of the cells that each output position reads."""
    ndim = len(kernel)
    everywhere = sliding_window_view(padded, span(kernel, dilation), axis=tuple(range(2, 2 + ndim)))
    strided = [slice(None, None, step) for step in per_axis(stride, ndim)]
    dilated = [slice(None, None, gap) for gap in per_axis(dilation, ndim)]
    return everywhere[(slice(None), slice(None), *strided, *dilated)]


def scatter(
    values: Array,
    weight: Array,
    stride: PerAxis,
    dilation: PerAxis,
    groups: int,
    size: Sequence[int],
) -> Array:
    """Add ``values[n, g, c, i] weight[g, c, k, r]`` to ``result[n, g, k, i stride + r dilation]``.

    ``values`` is ``(N, C, *spatial)``, ``weight`` is ``(C, K', *kernel)`` and the result
    ``(N, groups K', *size)``.
    """
    ndim = len(size)
    steps, gaps = per_axis(stride, ndim), per_axis(dilation, ndim)
    values, weight = split(values, 1, groups), split(weight, 0, groups)
    result = np.zeros((len(values), groups, weight.shape[2], *size), values.dtype)
    for r in np.ndindex(weight.shape[3:]):
        reached = [
            slice(tap * gap, tap * gap + count * step, step)
            for tap, gap, count, step in zip(r, gaps, values.shape[3:], steps, strict=True)
        ]
        target = result[(slice(None), slice(None), slice(None), *reached)]
        with np.errstate(invalid="ignore", over="ignore"):
            target += einsum("ngc...,gck->ngk...", values, weight[(..., *r)])
    return join(result, 1)


def einsum(subscripts: str, *operands: Array) -> Array:
    """`numpy.einsum` without warnings: infinities and NaN are values like any other here."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.einsum(subscripts, *operands)


def finish(
    sums: Array,
    bias: ArrayLike | None,
    residual: ArrayLike | None,
    activation: Activation,
    ndim: int,
) -> Array:
    """Add bias and residual to sums ``(N, K, *out)`` or ``(K, *out)``, apply the activation."""
    with np.errstate(invalid="ignore", over="ignore"):
        if bias is not None:
            sums = sums + wide(bias).reshape(-1, *[1] * ndim)
        if residual is not None:
            sums = sums + wide(residual)
    return activate(sums, activation)
