"""BatchNormalization and the softmaxes, with the meaning they have in each version of ONNX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import NodeProto
from onnx.reference.op_run import OpRun

_Array = np.ndarray[Any, Any]

# The version since which training is an attribute, and that since which Softmax takes one axis.
_TRAINING_MODE = 14
_OUTPUTS_TELL_MODE = 7
_SOFTMAX_OF_AN_AXIS = 13


class BatchNormalization(OpRun):
    """Batch normalization of every version: ``(x - mean) / sqrt(var + epsilon) * scale + bias``.

    Whether a node trains is said by its attribute `training_mode` (14 and later), by the number of
    its outputs (7 to 13), or by its attribute `is_test` (before 7).
    """

    def _run(
        self,
        x: _Array,
        scale: _Array,
        bias: _Array,
        mean: _Array,
        var: _Array,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        training_mode: int = 0,
        is_test: int = 0,
        spatial: int = 1,
        consumed_inputs: object = None,
    ) -> tuple[_Array, ...]:
        wide = np.result_type(x.dtype, np.float32)
        scale, bias, old_mean, old_var = (a.astype(wide) for a in (scale, bias, mean, var))
        if not self._trains(training_mode, is_test):
            return (_normalize(x, scale, bias, old_mean, old_var, epsilon),)
        axes = (0, *range(2, x.ndim)) if spatial else (0,)
        new_mean = x.mean(axis=axes, dtype=wide)
        new_var = x.var(axis=axes, dtype=wide)
        y = _normalize(x, scale, bias, new_mean, new_var, epsilon)
        running_mean = old_mean * momentum + new_mean * (1 - momentum)
        running_var = old_var * momentum + new_var * (1 - momentum)
        outputs = (
            y,
            running_mean.astype(mean.dtype),
            running_var.astype(var.dtype),
            new_mean.astype(mean.dtype),
            new_var.astype(var.dtype),
        )
        return outputs[: len(self.onnx_node.output)]

    def _trains(self, training_mode: int, is_test: int) -> bool:
        version = opset(self)
        if version >= _TRAINING_MODE:
            return bool(training_mode)
        if version >= _OUTPUTS_TELL_MODE:
            return len([name for name in self.onnx_node.output if name]) > 1
        return not is_test


def opset(operator: OpRun) -> int:
    """Return the version of the operator set that a node is written in."""
    return int(operator.run_params["opsets"][operator.onnx_node.domain])


def _normalize(
    x: _Array, scale: _Array, bias: _Array, mean: _Array, var: _Array, epsilon: float
) -> _Array:
    """Normalize as one multiplication and one addition per cell."""
    factor = scale / np.sqrt(var + epsilon)
    shift = bias - mean * factor
    # One value per channel; per cell of a sample where `spatial` is 0.
    trailing = (1,) * (x.ndim - 1 - factor.ndim)
    y = x * factor.reshape(*factor.shape, *trailing)
    y += shift.reshape(*shift.shape, *trailing)
    return np.asarray(y).astype(x.dtype, copy=False)


class _Softmax(OpRun):
    def __init__(self, onnx_node: NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        self._given = any(attribute.name == "axis" for attribute in onnx_node.attribute)

    def _rows(self, x: _Array, axis: int) -> tuple[_Array, int]:
        """Return what to normalize, and along which axis.

        Before version 13 the input is flattened to a matrix whose columns begin at `axis`, 1 by
        default.
        """
        if opset(self) >= _SOFTMAX_OF_AN_AXIS:
            return x, axis
        axis = axis % x.ndim if self._given else 1
        return x.reshape(math.prod(x.shape[:axis]), -1), 1

    def _shifted(self, x: _Array, axis: int) -> tuple[_Array, int]:
        """Return the rows in float32 at least, their maxima at 0, and the axis along them."""
        rows, along = self._rows(x, axis)
        wide = rows.astype(np.result_type(x.dtype, np.float32), copy=False)
        return wide - wide.max(axis=along, keepdims=True), along


class Softmax(_Softmax):
    """Exponentials scaled to the sum 1, in each version's meaning of `axis`."""

    def _run(self, x: _Array, *, axis: int = -1) -> tuple[_Array]:
        if x.size == 0:
            return (x,)
        y, along = self._shifted(x, axis)
        np.exp(y, out=y)
        y /= y.sum(axis=along, keepdims=True)
        return (y.reshape(x.shape).astype(x.dtype, copy=False),)


class LogSoftmax(_Softmax):
    """Logarithm of Softmax, without the detour."""

    def _run(self, x: _Array, *, axis: int = -1) -> tuple[_Array]:
        if x.size == 0:
            return (x,)
        y, along = self._shifted(x, axis)
        y -= np.log(np.exp(y).sum(axis=along, keepdims=True))
        return (y.reshape(x.shape).astype(x.dtype, copy=False),)
