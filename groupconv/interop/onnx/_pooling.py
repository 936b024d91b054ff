"""MaxPool, AveragePool and GlobalAveragePool: one pass over the array per kernel row or column.

Maxima and sums over boxes are separable, so a kernel of ``kh x kw`` costs ``kh + kw`` passes of
plain NumPy instead of a Python loop over every window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from groupconv.interop.onnx._windows import Axes, Pads, extent, per_axis, window_pads

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Windows:
    """Where the windows of a pooling lie: all that its attributes and the input's size say.

    ``cover`` is the padding actually read. It exceeds ``pads`` where ``ceil_mode`` lets the last
    window reach beyond the padded input.
    """

    kernel: Axes
    stride: Axes
    dilation: Axes
    pads: Pads
    size: Axes
    cover: Pads

    def tap(self, axis: int, tap: int) -> slice:
        """Return the cells of the covered axis that stand at one kernel position."""
        first = tap * self.dilation[axis]
        steps = self.stride[axis]
        return slice(first, first + (self.size[axis] - 1) * steps + 1, steps)


def _windows(
    size: Axes,
    kernel_shape: Sequence[int],
    auto_pad: str,
    ceil_mode: int,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
) -> _Windows:
    ndim = len(size)
    kernel = per_axis(kernel_shape, ndim, 1, "kernel_shape")
    stride = per_axis(strides, ndim, 1, "strides")
    dilation = per_axis(dilations, ndim, 1, "dilations")
    extents = extent(kernel, dilation)
    padding = window_pads(auto_pad, pads, size, extents, stride)
    counts, cover = [], []
    for length, span, step, (before, after) in zip(size, extents, stride, padding, strict=True):
        room = length + before + after - span
        if room < 0:
            raise ValueError(f"a window of {span} cells does not fit {length} + {before} + {after}")
        # A window must begin on the input or on the padding before it.
        last = min(-(-room // step), (length + before - 1) // step) if ceil_mode else room // step
        counts.append(last + 1)
        cover.append((before, max(0, last * step + span - length - before)))
    return _Windows(kernel, stride, dilation, padding, tuple(counts), tuple(cover))


def _pad(x: _Array, cover: Pads, value: Any) -> _Array:
    if not any(map(any, cover)):
        return x
    return np.pad(x, ((0, 0), (0, 0), *cover), constant_values=value)


def _slide(x: _Array, windows: _Windows, combine: Callable[..., _Array]) -> _Array:
    """Combine the cells of every window of a covered array, one axis after the other."""
    for axis in range(len(windows.kernel)):
        lead = (slice(None),) * (2 + axis)
        result = x[(*lead, windows.tap(axis, 0))].copy()
        for tap in range(1, windows.kernel[axis]):
            combine(result, x[(*lead, windows.tap(axis, tap))], out=result)
        x = result
    return x


class MaxPool(OpRun):
    """Largest cell of every window, and on request where it is: every attribute of ONNX's."""

    def _run(
        self,
        x: _Array,
        *,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        storage_order: int = 0,
        strides: Sequence[int] | None = None,
    ) -> tuple[_Array, ...]:
        windows = _windows(x.shape[2:], kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
        smallest = np.iinfo(x.dtype).min if np.issubdtype(x.dtype, np.integer) else -np.inf
        covered = _pad(x, windows.cover, smallest)
        if len(self.onnx_node.output) == 1:
            return (_slide(covered, windows, np.maximum),)
        return _max_and_where(covered, windows, x.shape, storage_order)


def _max_and_where(
    covered: _Array, windows: _Windows, shape: Axes, storage_order: int
) -> tuple[_Array, _Array]:
    """Return every window's maximum and the flat index of its first occurrence in the input."""
    size = shape[2:]
    largest = index = None
    for taps in product(*map(range, windows.kernel)):
        cells = tuple(windows.tap(axis, tap) for axis, tap in enumerate(taps))
        value = covered[(slice(None), slice(None), *cells)]
        here = _flat_index(cells, windows, size, storage_order)
        if largest is None or index is None:
            largest, index = value.copy(), np.broadcast_to(here, value.shape).copy()
            continue
        # Positions in the padding never win from a cell, not even from one that is as small.
        better = (value > largest) | ((index < 0) & (here >= 0))
        np.copyto(largest, value, where=better)
        np.copyto(index, here, where=better)
    assert largest is not None
    assert index is not None
    planes = np.arange(math.prod(shape[:2])).reshape(*shape[:2], *[1] * len(size))
    return largest, index + planes * math.prod(size)


def _flat_index(
    cells: tuple[slice, ...], windows: _Windows, size: Axes, storage_order: int
) -> _Array:
    """Return the index within a plane of every window's cell at one tap; negative in padding."""
    axes = range(len(size))
    strides = [math.prod(size[:axis]) for axis in axes]
    if not storage_order:
        strides = [math.prod(size[axis + 1 :]) for axis in axes]
    index: Any = 0
    inside: Any = True
    for axis, (cell, (before, _)) in enumerate(zip(cells, windows.cover, strict=True)):
        at = np.arange(cell.start, cell.stop, cell.step) - before
        at = at.reshape(-1, *[1] * (len(size) - 1 - axis))
        index = index + at * strides[axis]
        inside = inside & (at >= 0) & (at < size[axis])
    return np.where(inside, index, -1)


class AveragePool(OpRun):
    """Mean of every window: every attribute of ONNX's."""

    def _run(
        self,
        x: _Array,
        *,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        count_include_pad: int = 0,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[_Array]:
        windows = _windows(x.shape[2:], kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
        wide = x.astype(np.result_type(x.dtype, np.float32), copy=False)
        total = _slide(_pad(wide, windows.cover, 0), windows, np.add)
        total /= _cells(windows, x.shape[2:], bool(count_include_pad)).astype(total.dtype)
        return (total.astype(x.dtype, copy=False),)


def _cells(windows: _Windows, size: Axes, count_padding: bool) -> _Array:
    """Count the cells of every window that its mean divides by.

    What `ceil_mode` adds beyond the padding is never counted.
    """
    counts: Any = 1
    for axis, length in enumerate(size):
        (before, after), (_, cover_after) = windows.pads[axis], windows.cover[axis]
        counted = np.zeros(before + length + max(after, cover_after), np.int64)
        counted[before : before + length] = 1
        if count_padding:
            counted[: before + length + after] = 1
        taps = (counted[windows.tap(axis, tap)] for tap in range(windows.kernel[axis]))
        counts = np.multiply.outer(counts, np.sum(list(taps), axis=0))
    return np.asarray(counts)


class GlobalAveragePool(OpRun):
    """Mean over all spatial axes, accumulated in float32 at least."""

    def _run(self, x: _Array) -> tuple[_Array]:
        wide = np.result_type(x.dtype, np.float32)
        axes = tuple(range(2, x.ndim))
        return (x.mean(axis=axes, dtype=wide, keepdims=True).astype(x.dtype, copy=False),)
