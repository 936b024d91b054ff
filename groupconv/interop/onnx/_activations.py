"""Sigmoid, HardSigmoid and HardSwish without temporaries, overflow or a change of dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

_Array = np.ndarray[Any, Any]


def sigmoid(x: _Array) -> _Array:
    """Return ``1 / (1 + exp(-x))``; no exponential overflows, whatever x."""
    small = np.exp(-np.abs(x))
    y: _Array = np.where(x >= 0, x.dtype.type(1), small)
    small += 1
    y /= small
    return y


class Sigmoid(OpRun):
    """Logistic function, with small results as precise as large ones."""

    def _run(self, x: _Array) -> tuple[_Array]:
        return (sigmoid(x),)


def _hard_sigmoid(x: _Array, alpha: float, beta: float) -> _Array:
    y = np.asarray(x * x.dtype.type(alpha))
    y += x.dtype.type(beta)
    np.clip(y, 0, 1, out=y)
    return y


class HardSigmoid(OpRun):
    """``min(1, max(0, alpha * x + beta))``."""

    def _run(self, x: _Array, *, alpha: float = 0.2, beta: float = 0.5) -> tuple[_Array]:
        return (_hard_sigmoid(x, alpha, beta),)


class HardSwish(OpRun):
    """``x * min(1, max(0, x / 6 + 1 / 2))``."""

    def _run(self, x: _Array) -> tuple[_Array]:
        y = _hard_sigmoid(x, 1 / 6, 0.5)
        y *= x
        return (y,)
