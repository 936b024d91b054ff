"""Conv and ConvTranspose, computed by groupconv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto
from onnx.reference.op_run import OpRun

from groupconv.interop.onnx._prepared import Convolution
from groupconv.interop.onnx._windows import (
    Axes,
    Pads,
    explicit_pads,
    extent,
    halves,
    per_axis,
    window_pads,
)

_Array = np.ndarray[Any, Any]
_MOST_DIMENSIONS = 3


def _check(x: _Array, weight: _Array, kernel_shape: Sequence[int] | None) -> int:
    """Return the number of spatial axes, refusing what the specification or groupconv excludes."""
    ndim = x.ndim - 2
    if not 1 <= ndim <= _MOST_DIMENSIONS:
        raise ValueError(f"X must have 1 to {_MOST_DIMENSIONS} spatial axes, got shape {x.shape}")
    if weight.ndim != x.ndim:
        raise ValueError(f"W must have {x.ndim} axes, as X has, got shape {weight.shape}")
    if kernel_shape and tuple(kernel_shape) != weight.shape[2:]:
        raise ValueError(f"kernel_shape is {kernel_shape}, but W has shape {weight.shape}")
    return ndim


class Conv(OpRun):
    """Convolution with groups: every attribute of ONNX's Conv, in one to three dimensions."""

    def __init__(self, onnx_node: NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        self._convolution = Convolution("conv")

    def _run(
        self,
        x: _Array,
        weight: _Array,
        bias: _Array | None = None,
        *,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[_Array]:
        ndim = _check(x, weight, kernel_shape)
        stride = per_axis(strides, ndim, 1, "strides")
        dilation = per_axis(dilations, ndim, 1, "dilations")
        extents = extent(weight.shape[2:], dilation)
        padding = window_pads(auto_pad, pads, x.shape[2:], extents, stride)
        return (
            self._convolution(
                x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=group
            ),
        )


class ConvTranspose(OpRun):
    """Transposed convolution: every attribute of ONNX's, in one to three dimensions."""

    def __init__(self, onnx_node: NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        self._convolution = Convolution("conv_transpose")

    def _run(
        self,
        x: _Array,
        weight: _Array,
        bias: _Array | None = None,
        *,
        auto_pad: str = "NOTSET",
        dilations: Sequence[int] | None = None,
        group: int = 1,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[_Array]:
        ndim = _check(x, weight, kernel_shape)
        stride = per_axis(strides, ndim, 1, "strides")
        dilation = per_axis(dilations, ndim, 1, "dilations")
        extra = per_axis(output_padding, ndim, 0, "output_padding")
        extents = extent(weight.shape[2:], dilation)
        full = tuple(
            (length - 1) * step + span
            for length, step, span in zip(x.shape[2:], stride, extents, strict=True)
        )
        wanted = tuple(output_shape[-ndim:]) if output_shape else None
        if auto_pad.startswith("SAME") and wanted is None:
            wanted = tuple(n * step for n, step in zip(x.shape[2:], stride, strict=True))
        if wanted is None:
            cut = ((0, 0),) * ndim if auto_pad == "VALID" else explicit_pads(pads, ndim)
        else:
            cut = _cut_to(wanted, full, extra, auto_pad)
        size = wanted or tuple(
            n + more - sum(ends) for n, more, ends in zip(full, extra, cut, strict=True)
        )
        return (self._cut(x, weight, bias, full, cut, size, stride, dilation, group),)

    def _cut(
        self,
        x: _Array,
        weight: _Array,
        bias: _Array | None,
        full: Axes,
        cut: Pads,
        size: Axes,
        stride: Axes,
        dilation: Axes,
        groups: int,
    ) -> _Array:
        """Return the cells of the full result from ``cut[axis][0]`` on, `size` of them.

        Cells beyond the full result read no input: nothing but the bias lies there.
        """
        padding = tuple(
            (before, max(0, n - before - wanted))
            for (before, _), n, wanted in zip(cut, full, size, strict=True)
        )
        computed = tuple(n - sum(ends) for n, ends in zip(full, padding, strict=True))
        beyond = tuple(wanted - n for wanted, n in zip(size, computed, strict=True))
        arguments = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
        if all(n < max(s, d) for n, s, d in zip(beyond, stride, dilation, strict=True)):
            return self._convolution(x, weight, bias, output_padding=beyond, **arguments)
        y = np.zeros((x.shape[0], weight.shape[1] * groups, *size), x.dtype)
        if bias is not None:
            y += bias.reshape(-1, *[1] * len(size))
        inside = y[(..., *(slice(n) for n in computed))]
        self._convolution(x, weight, bias, out=inside, **arguments)
        return y


def _cut_to(wanted: Axes, full: Axes, extra: Axes, auto_pad: str) -> Pads:
    """Return what to cut so that the output has the wanted shape.

    The odd cell is cut after for SAME_UPPER and before otherwise. Where the wanted shape is the
    larger one nothing is cut, and cells are added after, as ONNX Runtime does.
    """
    upper = "SAME_UPPER" if auto_pad == "SAME_UPPER" else "SAME_LOWER"
    return tuple(
        halves(max(0, n + more - size), upper)
        for size, n, more in zip(wanted, full, extra, strict=True)
    )
