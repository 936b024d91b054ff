"""Sizes, and padding as a copy of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
PerAxis: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[tuple[int, int]]

_NUMPY_PAD_MODE: dict[str, Any] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def padding_pairs(
    padding: Padding,
    input_size: Sequence[int],
    kernel: Sequence[int],
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
) -> list[tuple[int, int]]:
    """Cells added before and after the input along each spatial dimension.

    Parameters
    ----------
    padding : int, str or sequence
        One number for all dimensions, one per dimension, one ``(before, after)`` pair per
        dimension, ``"valid"`` (none), ``"same"`` (the output has ``ceil(input / stride)``
        positions and the odd cell goes after, ONNX's ``SAME_UPPER``) or ``"causal"`` (all of it
        before, so that no output sees a later input).
    input_size, kernel : sequence of int
        Spatial sizes.
    stride, dilation : int or sequence of int
        Those of the convolution.

    Returns
    -------
    list of (int, int)
    """
    spans = span(kernel, dilation)
    match padding:
        case "valid":
            return [(0, 0) for _ in kernel]
        case "causal":
            return [(extent - 1, 0) for extent in spans]
        case "same":
            steps = per_axis(stride, len(kernel))
            totals = [
                max(0, (-(-size // step) - 1) * step + extent - size)
                for size, step, extent in zip(input_size, steps, spans, strict=True)
            ]
            return [(total // 2, total - total // 2) for total in totals]
        case str():
            raise ValueError(f"padding must be numbers or a known name, got {padding!r}")
    ends = per_axis(padding, len(kernel))
    return [(end, end) if np.ndim(end) == 0 else tuple(end) for end in ends]


def output_size(
    input_size: Sequence[int],
    kernel: Sequence[int],
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
) -> tuple[int, ...]:
    """Spatial size of a convolution (Dumoulin and Visin, 2016).

    ``(i + padding - d (r - 1) - 1) // s + 1``, ``padding`` counting both sides.
    """
    return tuple(
        (size + before + after - extent) // step + 1
        for size, (before, after), extent, step in zip(
            input_size,
            padding_pairs(padding, input_size, kernel, stride, dilation),
            span(kernel, dilation),
            per_axis(stride, len(kernel)),
            strict=True,
        )
    )


def transposed_output_size(
    input_size: Sequence[int],
    kernel: Sequence[int],
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
) -> tuple[int, ...]:
    """Spatial size of a transposed convolution (Dumoulin and Visin, 2016).

    ``(i - 1) s + d (r - 1) + 1 - padding + output_padding``, ``padding`` counting both sides.
    """
    return tuple(
        (size - 1) * step + extent - before - after + extra
        for size, step, extent, (before, after), extra in zip(
            input_size,
            per_axis(stride, len(kernel)),
            span(kernel, dilation),
            padding_pairs(padding, input_size, kernel),
            per_axis(output_padding, len(kernel)),
            strict=True,
        )
    )


def pad(input: ArrayLike, pairs: Sequence[tuple[int, int]], padding_mode: str = "zeros") -> Array:
    """Pad the spatial dimensions of ``input`` ``(N, C, *spatial)`` by ``(before, after)`` pairs.

    ``padding_mode`` is ``zeros``, ``reflect``, ``replicate`` or ``circular``; :func:`numpy.pad`
    calls them ``constant``, ``reflect``, ``edge`` and ``wrap``.
    """
    return np.pad(input, [(0, 0), (0, 0), *pairs], mode=_NUMPY_PAD_MODE[padding_mode])


def unpad(padded: Array, pairs: Sequence[tuple[int, int]], padding_mode: str) -> Array:
    """Adjoint of :func:`pad`: add every padded cell to the cell it copies, drop padding zeros."""
    for axis, (before, after) in enumerate(pairs, start=2):
        cells = np.moveaxis(padded, axis, 0)
        size = len(cells) - before - after
        if padding_mode == "zeros":
            folded = cells[before : before + size]
        else:
            copied = np.pad(np.arange(size), (before, after), mode=_NUMPY_PAD_MODE[padding_mode])
            folded = np.zeros((size, *cells.shape[1:]), cells.dtype)
            np.add.at(folded, copied, cells)
        padded = np.moveaxis(folded, 0, axis)
    return padded


def per_axis(value: Any, ndim: int) -> list[Any]:
    """One value per spatial dimension: an int, or a sequence of one entry, holds for all."""
    values = [value] if np.ndim(value) == 0 else list(value)
    return values * ndim if len(values) == 1 else values


def span(kernel: Sequence[int], dilation: PerAxis) -> list[int]:
    """Input positions from the first to the last tap of a kernel, both counted."""
    gaps = per_axis(dilation, len(kernel))
    return [gap * (taps - 1) + 1 for taps, gap in zip(kernel, gaps, strict=True)]


def wide(array: ArrayLike) -> Array:
    """The same numbers in float64, or in longdouble if that is what they are."""
    array = np.asarray(array)
    return array if array.dtype == np.longdouble else array.astype(np.float64, copy=False)
