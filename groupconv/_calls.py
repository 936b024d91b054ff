"""Calls: a problem with its plan, ready to take arrays; and the bounded caches that keep them.

A repeated call of the same shapes, strides and arguments must cost a few microseconds. So all that
depends on those alone is found in a cache, under a key that is made of them unchecked; only when
the key is new are the arguments checked and a plan made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from groupconv._arguments import Arguments
from groupconv._arrays import Array, ArrayInput, as_bits, check_out
from groupconv._core import Plan, PreparedWeight
from groupconv._problem import Problem
from groupconv._threads import get_num_threads

Value = TypeVar("Value")


def key_of(value: object) -> Hashable:
    """Return what a cache may know `value` by: equal keys are accepted or refused alike.

    ``1``, ``True`` and ``1.0`` are equal and hash alike, yet only the first is an int: all but the
    commonest types carry their type. An array stands for its layout, not for its values.
    """
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if isinstance(value, np.ndarray):
        return value.shape, value.strides, value.dtype
    if isinstance(value, tuple | list):
        return (kind, *map(key_of, value))
    # What cannot be hashed is refused later, by name: an object of its own is never found.
    return (kind, value) if isinstance(value, Hashable) else object()


class BoundedCache(dict[Hashable, Value]):
    """A dictionary that drops its oldest entries; `get` is the plain dictionary's.

    Writers take no lock, since a lock held by another thread would stay locked in a child made by
    ``fork``. Two threads that keep at once may drop one entry more or find nothing to drop.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def keep(self, key: Hashable, value: Value) -> Value:
        """Store `value` and return it."""
        self[key] = value
        while len(self) > self.capacity:
            try:
                self.pop(next(iter(self)), None)
            except (RuntimeError, StopIteration):  # another thread changed it between the two steps
                continue
        return value


class Call:
    """A problem with its plan. Computes on any arrays of the layout that the problem states.

    Parameters
    ----------
    problem : Problem
        What to compute; a batch of 0 is fine.
    dtype : dtype
        Of the arrays, as the caller sees them.
    batched : bool
        Whether the caller's arrays have the batch axis.

    Raises
    ------
    ValueError
        When the algorithm that the problem names does not exist or cannot do it.
    """

    __slots__ = ("_bits", "_by_weight", "_dtype", "_simple", "_unbatched", "empty", "plan")

    def __init__(self, problem: Problem, dtype: np.dtype[Any], batched: bool) -> None:
        self.empty = problem.batch == 0
        # Planned even so, for the check of the algorithm's name.
        self.plan = Plan(replace(problem, batch=1) if self.empty else problem)
        self._unbatched = not batched
        self._dtype = dtype
        self._bits = problem.dtype == "bfloat16"
        self._by_weight = problem.op == "grad_weight"
        self._simple = batched and not self.empty and not self._bits

    def compute(
        self,
        input: Array,
        weight: Array | PreparedWeight,
        bias: Array | None = None,
        residual: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Compute into `out`, or into a fresh array, and return it.

        The arrays are those of the problem, `bias` contiguous; `out` has passed `check_out`.
        """
        if self._simple:
            target = self.plan.empty_output() if out is None else out
            self.plan.run(input, weight, bias, residual, target, get_num_threads())
            return target
        return self._compute(input, weight, bias, residual, out)

    def _compute(
        self,
        input: Array,
        weight: Array | PreparedWeight,
        bias: Array | None,
        residual: Array | None,
        out: Array | None,
    ) -> Array:
        """Compute for arrays without batch axis, of bfloat16, or of an empty batch."""
        if self.empty:
            result = self._empty_result() if out is None else out
            result[...] = 0  # nothing to write but in a weight's gradient: a sum over no images
            return result
        target = self.plan.empty_output() if out is None else self._core_view(out, self._by_weight)
        if isinstance(weight, np.ndarray):
            weight = self._core_view(weight, not self._by_weight)
        self.plan.run(
            self._core_view(input),
            weight,
            None if bias is None else self._core_view(bias, True),
            None if residual is None else self._core_view(residual),
            target,
            get_num_threads(),
        )
        if out is not None:
            return out
        result = target.view(self._dtype) if self._bits else target
        return result[0] if self._unbatched and not self._by_weight else result

    def _core_view(self, array: Array, whole: bool = False) -> Array:
        """View an array as the core wants it: bits of bfloat16, a batch axis unless `whole`."""
        if self._bits:
            array = as_bits(array)
        return array[None] if self._unbatched and not whole else array

    def _empty_result(self) -> Array:
        problem = self.plan.problem
        outputs = problem.groups * problem.out_per_group
        if self._by_weight:
            return np.empty((outputs, problem.in_per_group, *problem.kernel), self._dtype)
        return np.empty((0, outputs, *problem.out_size), self._dtype)


FUNCTION_CALLS: BoundedCache[Call] = BoundedCache(64)
"""The calls of the functions of `functional` and `grad`; layers hold their own."""


def find_call(
    state: Callable[..., Problem],
    arguments: Callable[..., Arguments],
    ndim: int,
    arrays: tuple[Any, ...],
    options: tuple[Any, ...],
    like: Array,
) -> Call:
    """Return the cached call for these arrays and options, or check them and make it.

    Parameters
    ----------
    state : callable
        Makes the problem from checked arguments and `arrays`.
    arguments : callable
        Checks ``(ndim, *options)``.
    ndim : int
        Number of spatial dimensions.
    arrays, options : tuple
        What the caller passed, arrays converted; both make up the key.
    like : ndarray
        The array that tells the caller's dtype and whether there is a batch axis.

    Raises
    ------
    TypeError, ValueError
        Of `arguments`, of `state`, or of the plan for an algorithm that cannot do it.
    """
    key = (state, arguments, ndim, *map(key_of, arrays), *map(key_of, options))
    call = FUNCTION_CALLS.get(key)
    if call is None:
        problem = state(arguments(ndim, *options), *arrays)
        call = FUNCTION_CALLS.keep(key, Call(problem, like.dtype, like.ndim == ndim + 2))
    return call


def fill(
    out: object, inputs: dict[str, ArrayInput | None], compute: Callable[[Array], object]
) -> Array:
    """Check `out`, have `compute` fill it, and return it: the same object.

    An `out` that is not aligned to its elements is filled through an array that is.
    """
    array = check_out(out, inputs)
    if array.flags.aligned:
        compute(np.asarray(array))
    else:
        aligned = np.empty(array.shape, array.dtype)
        compute(aligned)
        array[...] = aligned
    return array
