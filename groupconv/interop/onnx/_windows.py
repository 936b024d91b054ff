"""Arithmetic that convolutions and poolings share: attributes per axis and padding.

Formulas: the operator specifications of ONNX (Conv, ConvTranspose, MaxPool, AveragePool).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Axes: TypeAlias = tuple[int, ...]
Pads: TypeAlias = tuple[tuple[int, int], ...]

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def per_axis(values: Sequence[int] | None, ndim: int, default: int, name: str) -> Axes:
    """Return an attribute as one int per spatial axis; an absent one is the default for each."""
    if not values:
        return (default,) * ndim
    if len(values) != ndim:
        raise ValueError(f"{name} must have {ndim} values, one per spatial axis, got {values}")
    return tuple(int(value) for value in values)


def explicit_pads(pads: Sequence[int] | None, ndim: int) -> Pads:
    """Return the attribute `pads`, all beginnings before all ends, as one pair per axis."""
    if not pads:
        return ((0, 0),) * ndim
    if len(pads) != 2 * ndim:
        raise ValueError(f"pads must have {2 * ndim} values, two per spatial axis, got {pads}")
    return tuple((int(pads[axis]), int(pads[ndim + axis])) for axis in range(ndim))


def extent(kernel: Axes, dilation: Axes) -> Axes:
    """Return how many cells each axis of a dilated kernel spans."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def same_pads(auto_pad: str, size: Sequence[int], extents: Axes, stride: Axes) -> Pads:
    """Return the padding of SAME_UPPER or SAME_LOWER: the output has ``ceil(size / stride)``."""
    totals = (
        max(0, (-(-length // step) - 1) * step + span - length)
        for length, span, step in zip(size, extents, stride, strict=True)
    )
    return tuple(halves(total, auto_pad) for total in totals)


def halves(total: int, auto_pad: str) -> tuple[int, int]:
    """Split a total; the odd cell goes after for SAME_UPPER and before for SAME_LOWER."""
    smaller = total // 2
    return (total - smaller, smaller) if auto_pad == "SAME_LOWER" else (smaller, total - smaller)


def window_pads(
    auto_pad: str, pads: Sequence[int] | None, size: Sequence[int], extents: Axes, stride: Axes
) -> Pads:
    """Return the padding that `auto_pad` and `pads` state for windows sliding over `size`."""
    if auto_pad == "NOTSET":
        return explicit_pads(pads, len(size))
    if auto_pad == "VALID":
        return ((0, 0),) * len(size)
    if auto_pad in AUTO_PADS:
        return same_pads(auto_pad, size, extents, stride)
    raise ValueError(f"auto_pad must be one of {', '.join(AUTO_PADS)}, got {auto_pad!r}")
