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

# The domain of convolutions that do more than ONNX's.
FUSED_DOMAIN = "groupconv"


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


def _activation(name: str | None, parameter: float | None) -> str | tuple[str, float] | None:
    """Return the argument `activation` of groupconv's functions."""
    return name if name is None or parameter is None else (name, parameter)


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
        residual: _Array | None = None,
        *,
        activation: str | None = None,
        activation_parameter: float | None = None,
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
                x,
                weight,
                bias,
                residual,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=group,
                activation=_activation(activation, activation_parameter),
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
        residual: _Array | None = None,
        *,
        activation: str | None = None,
        activation_parameter: float | None = None,
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
        size, extents = x.shape[2:], extent(weight.shape[2:], dilation)
        full = tuple(
            (n - 1) * step + span for n, step, span in zip(size, stride, extents, strict=True)
        )
        wanted = tuple(output_shape[-ndim:]) if output_shape else None
        if auto_pad.startswith("SAME") and wanted is None:
            wanted = tuple(n * step for n, step in zip(size, stride, strict=True))
        if wanted is not None:
            cut = _cut_to(wanted, full, extra, auto_pad)
        elif auto_pad == "VALID":
            cut = ((0, 0),) * ndim
        else:
            cut = explicit_pads(pads, ndim)
        padding, beyond = _without_extra(cut, full, extra, wanted)
        _check_beyond(beyond, stride, dilation)
        return (
            self._convolution(
                x,
                weight,
                bias,
                residual,
                stride=stride,
                padding=padding,
                output_padding=beyond,
                groups=group,
                dilation=dilation,
                activation=_activation(activation, activation_parameter),
            ),
        )


class FusedConv(Conv):
    """A convolution that adds a residual, its fourth input, and applies an activation."""

    op_domain = FUSED_DOMAIN


class FusedConvTranspose(ConvTranspose):
    """A transposed convolution that adds a residual and applies an activation."""

    op_domain = FUSED_DOMAIN


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


def _without_extra(cut: Pads, full: Axes, extra: Axes, wanted: Axes | None) -> tuple[Pads, Axes]:
    """Return padding and output padding of which one is zero at the end of every axis.

    ONNX first adds cells and then cuts. Cells beyond the full result read no input.
    """
    if wanted is None:
        wanted = tuple(n + more - sum(ends) for n, more, ends in zip(full, extra, cut, strict=True))
    ends = [n - before - size for (before, _), n, size in zip(cut, full, wanted, strict=True)]
    padding = tuple((before, max(0, end)) for (before, _), end in zip(cut, ends, strict=True))
    return padding, tuple(max(0, -end) for end in ends)


def _check_beyond(beyond: Axes, stride: Axes, dilation: Axes) -> None:
    for more, step, distance in zip(beyond, stride, dilation, strict=True):
        if more >= max(step, distance):
            raise ValueError(
                f"the output has {more} cells more than the input gives; with stride {step} and "
                f"dilation {distance} there may be {max(step, distance) - 1}"
            )
