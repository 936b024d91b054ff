"""Telling whether two results are the same but for rounding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)


def close(expected: Any, result: Any) -> bool:
    """Compare tensors, or tuples, lists, mappings and dataclasses of them.

    Two tensors are close when they have one shape and dtype and their distance in the Euclidean
    norm is at most the square root of the dtype's rounding unit, relative to `expected`: another
    order of additions stays far below, even through many layers, and another computation far
    above.
    """
    if isinstance(expected, Tensor):
        return isinstance(result, Tensor) and _close_tensors(expected, result)
    if type(expected) is not type(result):
        return False
    if isinstance(expected, Mapping):
        return expected.keys() == result.keys() and all(
            close(expected[key], result[key]) for key in expected
        )
    if isinstance(expected, tuple | list):
        return len(expected) == len(result) and all(map(close, expected, result))
    if dataclasses.is_dataclass(expected):
        names = [field.name for field in dataclasses.fields(expected)]
        return all(close(getattr(expected, name), getattr(result, name)) for name in names)
    return isinstance(expected, _PLAIN) and bool(expected == result)


def _close_tensors(expected: Tensor, result: Tensor) -> bool:
    if expected.shape != result.shape or expected.dtype != result.dtype:
        return False
    if not expected.is_floating_point():
        return torch.equal(expected, result)
    finite = expected.isfinite()
    if not torch.equal(finite, result.isfinite()):
        return False
    unit = torch.finfo(expected.dtype).eps
    expected, result = (tensor.where(finite, 0).double() for tensor in (expected, result))
    distance, length = (expected - result).norm().item(), expected.norm().item()
    return distance <= math.sqrt(unit) * length
