"""Resize and Upsample: a weighted sum of few cells per output position, one axis at a time.

Interpolation is separable. For each axis a table says which cells an output position reads and with
which weights; the array is then gathered once per cell read. Formulas: ONNX's specification of
Resize (its modes, coordinate transformations and rounding of nearest positions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from groupconv.interop.onnx._normalization import opset

_Array = np.ndarray[Any, Any]

# Until version 10 positions were always those of `asymmetric`, rounded down.
_COORDINATES_SINCE = 11


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis to resize: its sizes, the exact ratio between them and the region read."""

    axis: int
    size: int
    out: int
    scale: float
    roi: tuple[float, float]

    @property
    def length(self) -> float:
        """The output's size before it was rounded down."""
        return self.scale * self.size


def _half_pixel(at: _Array, line: _Axis) -> _Array:
    return (at + 0.5) / line.scale - 0.5


def _half_pixel_symmetric(at: _Array, line: _Axis) -> _Array:
    return _half_pixel(at, line) + line.size / 2 * (1 - line.out / line.length)


def _pytorch_half_pixel(at: _Array, line: _Axis) -> _Array:
    return _half_pixel(at, line) if line.out > 1 else np.zeros(1)


def _align_corners(at: _Array, line: _Axis) -> _Array:
    return at * (line.size - 1) / (line.length - 1) if line.length != 1 else np.zeros(1)


def _asymmetric(at: _Array, line: _Axis) -> _Array:
    return at / line.scale


def _tf_crop_and_resize(at: _Array, line: _Axis) -> _Array:
    first, last = (corner * (line.size - 1) for corner in line.roi)
    if line.length == 1:
        return np.full(1, (first + last) / 2)
    return first + at * (last - first) / (line.length - 1)


# Where each output position lies on the input axis.
_COORDINATES: dict[str, Callable[[_Array, _Axis], _Array]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_crop_and_resize": _tf_crop_and_resize,
}

_ROUND: dict[str, Callable[[_Array], _Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _linear(distance: _Array, _: float) -> _Array:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(distance: _Array, a: float) -> _Array:
    """Evaluate Keys' piecewise cubic kernel (1981); `a` is its slope at distance 1."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


# Each kernel with the distance beyond which it is zero.
_KERNELS: dict[str, tuple[Callable[[_Array, float], _Array], int]] = {
    "linear": (_linear, 1),
    "cubic": (_cubic, 2),
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """How output positions read the input: the attributes of a node."""

    mode: str = "nearest"
    coordinates: str = "asymmetric"
    nearest: str = "floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    outside: float = 0.0

    def __post_init__(self) -> None:
        choices = {
            "mode": (self.mode, ("nearest", *_KERNELS)),
            "nearest_mode": (self.nearest, _ROUND),
            "coordinate_transformation_mode": (self.coordinates, _COORDINATES),
        }
        for name, (value, known) in choices.items():
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")

    def positions(self, line: _Axis) -> _Array:
        """Return where each output position lies on the input axis."""
        return _COORDINATES[self.coordinates](np.arange(line.out, dtype=np.float64), line)

    def leaves_axis(self, line: _Axis) -> bool:
        """Tell whether output positions are input positions."""
        crops = self.coordinates == "tf_crop_and_resize" and line.roi != (0.0, 1.0)
        return line.scale == 1 and not crops


def _table(line: _Axis, rule: _Rule) -> tuple[_Array, _Array]:
    """Return which cells each output position reads, and their weights: both ``(out, taps)``."""
    at = rule.positions(line)
    if rule.mode == "nearest":
        cells = _ROUND[rule.nearest](at).astype(np.int64)[:, None]
        weights = np.ones(cells.shape)
    else:
        kernel, radius = _KERNELS[rule.mode]
        # Antialiasing widens the kernel so that a smaller output still reads every cell.
        narrow = min(1.0, line.scale) if rule.antialias else 1.0
        reach = int(np.ceil(radius / narrow))
        first = np.floor(at).astype(np.int64) - reach + 1
        cells = first[:, None] + np.arange(2 * reach)
        weights = kernel((cells - at[:, None]) * narrow, rule.cubic)
        if rule.exclude_outside:
            weights = np.where((cells >= 0) & (cells < line.size), weights, 0)
        if rule.exclude_outside or rule.antialias:
            weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(cells, 0, line.size - 1), weights


def _resize_axis(x: _Array, line: _Axis, rule: _Rule) -> _Array:
    cells, weights = _table(line, rule)
    if rule.mode == "nearest":
        return x.take(cells[:, 0], axis=line.axis)
    trailing = (1,) * (x.ndim - 1 - line.axis)
    y: Any = 0
    for cell, weight in zip(cells.T, weights.astype(x.dtype).T, strict=True):
        if weight.any():
            y = y + x.take(cell, axis=line.axis) * weight.reshape(-1, *trailing)
    return np.asarray(y)


def _resize(x: _Array, lines: Sequence[_Axis], rule: _Rule) -> _Array:
    lines = [line for line in lines if not rule.leaves_axis(line)]
    if rule.mode == "nearest" and rule.coordinates != "tf_crop_and_resize":
        for line in lines:
            x = _resize_axis(x, line, rule)
        return x
    y = x.astype(np.result_type(x.dtype, np.float32), copy=False)
    for line in lines:
        y = _resize_axis(y, line, rule)
    if rule.coordinates == "tf_crop_and_resize":
        for line in lines:
            at = rule.positions(line)
            lost = (at < 0) | (at > line.size - 1)
            y[(slice(None),) * line.axis + (lost,)] = rule.outside
    if np.issubdtype(x.dtype, np.integer):
        limits = np.iinfo(x.dtype)
        y = np.clip(np.rint(y), limits.min, limits.max)
    return y.astype(x.dtype, copy=False)


def _fitted(size: Sequence[int], wanted: Sequence[int], policy: str) -> list[tuple[int, float]]:
    """Return output size and scale per axis for `sizes` under `keep_aspect_ratio_policy`."""
    scales = [float(out) / length for out, length in zip(wanted, size, strict=True)]
    if policy == "stretch":
        return list(zip(map(int, wanted), scales, strict=True))
    choose = {"not_larger": min, "not_smaller": max}.get(policy)
    if choose is None:
        raise ValueError(
            f"keep_aspect_ratio_policy must be stretch, not_larger or not_smaller, got {policy!r}"
        )
    scale = choose(scales)
    return [(int(np.floor(scale * length + 0.5)), scale) for length in size]


class Resize(OpRun):
    """Resampling to given scales or sizes: every mode and attribute of ONNX's Resize."""

    def _run(
        self,
        x: _Array,
        *inputs: _Array | None,
        mode: str = "nearest",
        coordinate_transformation_mode: str = "half_pixel",
        nearest_mode: str = "round_prefer_floor",
        cubic_coeff_a: float = -0.75,
        exclude_outside: int = 0,
        extrapolation_value: float = 0.0,
        antialias: int = 0,
        axes: Sequence[int] | None = None,
        keep_aspect_ratio_policy: str = "stretch",
    ) -> tuple[_Array]:
        if opset(self) < _COORDINATES_SINCE:
            inputs = (None, *inputs)
            coordinate_transformation_mode, nearest_mode = "asymmetric", "floor"
        roi, scales, sizes = (
            None if value is None or value.size == 0 else value
            for value in (*inputs, None, None, None)[:3]
        )
        rule = _Rule(
            mode,
            coordinate_transformation_mode,
            nearest_mode,
            cubic_coeff_a,
            bool(exclude_outside),
            bool(antialias),
            extrapolation_value,
        )
        where = [axis % x.ndim for axis in axes] if axes else list(range(x.ndim))
        lines = _lines(x, where, roi, scales, sizes, keep_aspect_ratio_policy)
        return (_resize(x, lines, rule),)


def _lines(
    x: _Array,
    where: Sequence[int],
    roi: _Array | None,
    scales: _Array | None,
    sizes: _Array | None,
    policy: str,
) -> list[_Axis]:
    """Return the axes in the order of the attribute `axes`."""
    size = [x.shape[axis] for axis in where]
    if (scales is None) == (sizes is None):
        raise ValueError("Resize takes either scales or sizes, got both or none")
    if sizes is not None:
        target = _fitted(size, sizes.tolist(), policy)
    else:
        assert scales is not None
        target = [
            (int(np.floor(length * scale)), float(scale))
            for length, scale in zip(size, scales.tolist(), strict=True)
        ]
    count = len(where)
    region = [(0.0, 1.0)] * count
    if roi is not None and roi.size == 2 * count:
        region = [(float(roi[i]), float(roi[count + i])) for i in range(count)]
    return [
        _Axis(axis, length, out, scale, crop)
        for axis, length, (out, scale), crop in zip(where, size, target, region, strict=True)
    ]


class Upsample(OpRun):
    """What Resize was called until version 10."""

    def _run(
        self, x: _Array, scales: _Array | None = None, *, mode: str = "nearest", **old: Any
    ) -> tuple[_Array]:
        if scales is None:
            scales = np.asarray(old["scales"])
        rule = _Rule(mode)
        lines = _lines(x, range(x.ndim), None, scales, None, "stretch")
        return (_resize(x, lines, rule),)
