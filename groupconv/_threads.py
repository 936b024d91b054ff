"""How many threads a call may use.

The first of these that says something decides:

1. in a process made by ``fork``: 1, since OpenMP's threads do not survive a fork;
2. the innermost ``with num_threads(n)`` around the call, in this thread or task only;
3. ``set_num_threads``, for the whole process;
4. the environment variable ``GROUPCONV_NUM_THREADS``, read at the first call;
5. the CPUs this process may run on, or fewer where ``OMP_NUM_THREADS`` or threadpoolctl say so.

A plan takes at most this many, fewer when the work is small.
"""

from __future__ import annotations

import functools
from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import Any

from groupconv import _core
from groupconv._arguments import from_environment, thread_count

ENVIRONMENT = "GROUPCONV_NUM_THREADS"

# The scopes around this point of a program, innermost first: (count, outer scopes) or None.
# A context variable rather than a global: other threads and asyncio tasks do not see it.
_scopes: ContextVar[Any] = ContextVar("groupconv_num_threads", default=None)
_in_forked_child = _core.in_forked_child
_omp_max_threads = _core.omp_max_threads
_chosen: int | None = None


@functools.cache
def _configured() -> tuple[int | None, int]:
    """Count from the environment, and the CPUs to use when there is none; errors are not cached."""
    return from_environment(ENVIRONMENT), _core.cpu_count()


def get_num_threads() -> int:
    """Return the largest number of threads that a call made here and now may use.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        When ``GROUPCONV_NUM_THREADS`` is set to something else than a whole number from 1 to 1024.

    See Also
    --------
    set_num_threads, num_threads

    Notes
    -----
    Without a setting this is the number of CPUs the process may run on (its affinity), and no more
    than OpenMP's own limit, which ``OMP_NUM_THREADS`` and threadpoolctl set. In a process made by
    ``fork`` it is 1. Results are the same bits for any number.

    Examples
    --------
    >>> import groupconv as gc
    >>> with gc.num_threads(2):
    ...     gc.get_num_threads()
    2
    """
    if _in_forked_child():
        return 1
    scope = _scopes.get()
    if scope is not None:
        count: int = scope[0]
        return count
    if _chosen is not None:
        return _chosen
    configured, cpus = _configured()
    return configured if configured is not None else max(1, min(cpus, _omp_max_threads()))


def set_num_threads(n: int) -> None:
    """Set the largest number of threads per call, for the whole process.

    It holds for all Python threads, except inside a ``with num_threads(...)`` block. Neither
    OpenMP's own setting nor that of any other library is touched.

    Parameters
    ----------
    n : int
        From 1 to 1024. More than there are CPUs is allowed and rarely useful.

    Raises
    ------
    TypeError
        When `n` is no int.
    ValueError
        When `n` is out of range.

    See Also
    --------
    num_threads : for a block of code.

    Examples
    --------
    >>> import groupconv as gc
    >>> gc.set_num_threads(2)
    >>> gc.get_num_threads()
    2
    """
    global _chosen
    _chosen = thread_count(n, "n")


class num_threads(ContextDecorator):
    """Limit the number of threads of the calls in a ``with`` block, or in a decorated function.

    Only the Python thread (or asyncio task) that enters the block is concerned, so that workers
    can hold different limits side by side. Blocks nest: the innermost counts, larger or smaller.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError
        When `n` is no int.
    ValueError
        When `n` is out of range.

    See Also
    --------
    set_num_threads : for the whole process.

    Examples
    --------
    >>> import groupconv as gc
    >>> with gc.num_threads(1):
    ...     gc.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._count = thread_count(n, "n")

    def __enter__(self) -> None:
        _scopes.set((self._count, _scopes.get()))

    def __exit__(self, *exception: object) -> None:
        _scopes.set(_scopes.get()[1])
