"""Arrays at the door: conversion to NumPy, memory layouts, overlap.

Nothing here knows convolutions; an error names the argument that could not be read as an array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


class SupportsArray(Protocol):
    """An object that NumPy can turn into an array."""

    def __array__(self) -> Array: ...


class SupportsDLPack(Protocol):
    """An object of another array library that shares its memory by DLPack."""

    def __dlpack__(self) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


ArrayInput: TypeAlias = Array | SupportsArray | SupportsDLPack


class Layout(NamedTuple):
    """Shape, strides in bytes and dtype: what a problem needs to know of an array."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def as_array(value: object, name: str) -> Array:
    """Return `value` as an aligned ``ndarray``, sharing its memory where that is possible.

    Parameters
    ----------
    value : ndarray or object with ``__dlpack__`` or ``__array__``
        What the caller passed. Sequences and scalars are refused: their dtype would be a guess.
    name : str
        The argument's name, for the message.

    Returns
    -------
    ndarray
        Of the base class; a copy only when `value` is not aligned to its elements.

    Raises
    ------
    TypeError
        When `value` is no array, holds a mask, or cannot be read from this process's memory.
    """
    array = _readable(value, name)
    # The kernels load whole elements: an array cut out of packed records or raw bytes is copied.
    return array if array.flags.aligned else array.copy()


def _readable(value: object, name: str) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array and its mask would be lost: pass {name}.filled(0) or such"
        )
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "__dlpack__") or hasattr(value, "__array__"):
        return _from_other_library(value, name)
    raise TypeError(
        f"{name} must be a NumPy array or an object with __dlpack__ or __array__, "
        f"got {type(value).__name__}: convert it with np.asarray({name}, dtype=...)"
    )


def _from_other_library(value: object, name: str) -> Array:
    attempts: dict[str, Callable[[Any], Array]] = {
        "__dlpack__": np.from_dlpack,
        "__array__": np.asarray,
    }
    cause: Exception | None = None
    for attribute, convert in attempts.items():
        if not hasattr(value, attribute):
            continue
        try:
            return convert(value)
        except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
            cause = error
    raise TypeError(
        f"{name} of type {type(value).__name__} cannot be read as a NumPy array: {cause}"
    ) from cause


def as_bits(array: Array) -> Array:
    """View a bfloat16 array as the uint16 its elements are stored in."""
    return array.view(np.uint16)


def frozen(array: Array) -> Array:
    """Return the same values in memory that nobody can write.

    The elements live in a ``bytes`` object, so that not even ``flags.writeable = True`` opens them.
    An array that already lives so is returned as it is.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, bytes) and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def dense_strides(
    shape: tuple[int, ...], itemsize: int, channels_last: bool = False
) -> tuple[int, ...]:
    """Strides in bytes of a fresh ``(N, C, *spatial)`` array in either memory order."""
    order = [*range(len(shape))]
    if channels_last:
        order.append(order.pop(1))
    strides = [0] * len(shape)
    step = itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any], channels_last: bool = False) -> Array:
    """Allocate an ``(N, C, *spatial)`` array in either memory order."""
    if not channels_last:
        return np.empty(shape, dtype)
    batch, channels, *spatial = shape
    return np.moveaxis(np.empty((batch, *spatial, channels), dtype), -1, 1)


def is_channels_last(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Tell whether an ``(N, C, *spatial)`` array lies in memory as ``(N, *spatial, C)``.

    PyTorch's rule (``is_channels_last_strides_2d`` and ``_3d`` of c10/core/MemoryFormat.h), with
    its decisions where sizes of 1 make the order ambiguous, and the same for one spatial dimension.
    Views count: neither rule asks for gapless memory. One addition: an axis that NumPy added by
    ``None`` (length 1, stride 0) says nothing about the order and is passed over.

    Parameters
    ----------
    shape, strides : tuple of int
        Of the array with its batch axis; any unit of strides.
    """
    channel_stride = strides[1]
    if channel_stride == 0:
        return False
    least = 0
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        size, stride = shape[axis], strides[axis]
        if size == 1 and stride == 0:
            continue
        if size == 0 or stride < least:
            return False
        # (N, 1, 1, 1), contiguous or a slice of a wider array: nothing tells the orders apart.
        if axis == 0 and least == channel_stride:
            return False
        least = stride * size
    return True


def overlaps_itself(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Tell whether two elements of a strided array share memory."""
    if 0 in shape:
        return False
    axes = sorted((abs(t), n) for n, t in zip(shape, strides, strict=True) if n > 1)
    reach = itemsize
    nested = True
    for stride, size in axes:
        nested &= stride >= reach
        reach += stride * (size - 1)
    if nested:
        return False
    if axes[0][0] < itemsize or math.prod(shape) * itemsize > reach:
        return True
    # Strides can interleave without meeting, if only through as_strided: look at each element.
    offsets = np.zeros(1, np.intp)
    for stride, size in axes:
        offsets = np.add.outer(offsets, stride * np.arange(size)).ravel()
    offsets.sort()
    return bool((np.diff(offsets) < itemsize).any())


def may_overlap(first: Array, second: Array) -> bool:
    """Tell whether two arrays share memory; a pair too intricate to decide counts as sharing."""
    effort: Any = 1_000_000  # NumPy's annotation knows only "bounds" and "exact"
    return np.may_share_memory(first, second, max_work=effort)


def check_out(out: object, inputs: dict[str, ArrayInput | None]) -> Array:
    """Return `out` unless it cannot be written, or writing it would change an input.

    Its shape, dtype and strides are checked with the problem; this is what can differ from call to
    call. `inputs` are the caller's own objects, since a converted one may be a copy.

    Raises
    ------
    TypeError
        When it is no NumPy array: another library's might be written through a copy.
    ValueError
        When it is read-only or shares memory with an input.
    """
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(
            f"out must be a plain NumPy array, got {type(out).__name__}: pass one that shares its "
            "memory, for example np.from_dlpack(out)"
        )
    if not out.flags.writeable:
        raise ValueError(f"out must be writable, got a read-only array of shape {out.shape}")
    for name, value in inputs.items():
        if value is not None and may_overlap(out, _readable(value, name)):
            raise ValueError(
                f"out must not share memory with {name}: pass another array, or {name}.copy()"
            )
    return out
