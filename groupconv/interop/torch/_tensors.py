"""Tensors as arrays and back, sharing memory; which tensors groupconv can compute on; threads."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groupconv._arrays import Array
from groupconv._threads import get_num_threads, num_threads

DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.float16: np.dtype(np.float16),
}
"""NumPy's dtype for each tensor dtype that groupconv computes with."""

try:
    import ml_dtypes
except ImportError:  # NumPy has no bfloat16 of its own: such tensors are left to PyTorch
    pass
else:
    DTYPES[torch.bfloat16] = np.dtype(ml_dtypes.bfloat16)

NUMPY_KINDS = {dtype for dtype in DTYPES if dtype is not torch.bfloat16}
"""dtypes whose tensors and arrays PyTorch itself can turn into each other."""


def array_of(tensor: Tensor) -> Array:
    """View a strided tensor on the CPU as an array.

    Parameters
    ----------
    tensor : Tensor
        Of a dtype in `DTYPES`; it may require a gradient, which the array then ignores.

    Returns
    -------
    ndarray
        Of the same memory. A tensor that is negated lazily (PyTorch's negative bit) is copied.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype in NUMPY_KINDS:
        try:
            return tensor.numpy()
        except RuntimeError:
            if not tensor.is_neg():
                raise
            return tensor.resolve_neg().numpy()
    return tensor.resolve_neg().view(torch.int16).numpy().view(DTYPES[tensor.dtype])


def tensor_of(array: Array) -> Tensor:
    """View an array as a tensor of the same memory: the inverse of `array_of`."""
    if array.dtype.kind == "f":
        return torch.from_numpy(array)
    return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)


def thread_limit() -> contextlib.AbstractContextManager[None]:
    """Keep groupconv to PyTorch's number of threads, where that is the smaller one.

    PyTorch's setting counts as it is now, so that ``torch.set_num_threads`` acts on the next
    call; a smaller limit set in groupconv stays.
    """
    allowed = torch.get_num_threads()
    return num_threads(allowed) if allowed < get_num_threads() else _UNLIMITED


_UNLIMITED = contextlib.nullcontext()
