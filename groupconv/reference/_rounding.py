"""How far a sum of products may be from the exact one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from groupconv.reference._sizes import Array, wide


def error_bound(operation: Callable[..., Array], *operands: Any, **arguments: Any) -> Array:
    """Sum of the magnitudes of all the terms that an operation of this module adds up.

    A sum of ``m`` terms and products, computed in any order with unit roundoff ``u``, differs
    from the exact one by at most ``m u / (1 - m u)`` times this (Higham, 2002). Unlike the
    magnitude of the result it stays fair when terms cancel.

    Parameters
    ----------
    operation : callable
        One of the convolutions, transposed convolutions and gradients of this module.
    *operands, **arguments
        Those of the operation. An activation is left out, since it follows the sum.

    Returns
    -------
    array of the result's shape

    Examples
    --------
    >>> import numpy as np
    >>> from groupconv.reference import conv, error_bound
    >>> x, w = np.array([[3.0, -1.0, 2.0]]), np.array([[[1.0, 1.0]]])
    >>> conv(x, w).tolist(), error_bound(conv, x, w).tolist()
    ([[2.0, 1.0]], [[4.0, 3.0]])
    """
    arguments.pop("activation", None)
    return operation(
        *(_magnitude(operand) for operand in operands),
        **{name: _magnitude(value) for name, value in arguments.items()},
    )


def _magnitude(value: Any) -> Any:
    return np.abs(wide(value)) if isinstance(value, np.ndarray) else value
