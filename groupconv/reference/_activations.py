"""Activations, as PyTorch defines them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from groupconv.reference._sizes import Array, wide

Activation: TypeAlias = str | tuple[str, float] | None


def activate(values: ArrayLike, activation: Activation) -> Array:
    """Apply the activation of that name to every element.

    Parameters
    ----------
    values : array
    activation : str, (str, float) or None
        A key of `ACTIVATIONS`, with its parameter if it has one: ``("leaky_relu", 0.2)``.

    Returns
    -------
    array of the shape of ``values``
    """
    x = wide(values)
    if activation is None:
        return x
    name, *parameter = (activation,) if isinstance(activation, str) else activation
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return ACTIVATIONS[name](x, *parameter)


def relu(x: Array) -> Array:
    """``max(x, 0)``."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """``min(max(x, 0), 6)``."""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """``x`` where positive, else ``negative_slope x``."""
    return np.where(x > 0, x, negative_slope * x)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``."""
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    """``x sigmoid(x)`` (Hendrycks and Gimpel, 2016), also called swish."""
    return x / (1 + np.exp(-x))


def hardsigmoid(x: Array) -> Array:
    """``relu6(x + 3) / 6`` (Howard et al., 2019)."""
    return relu6(x + 3) / 6


def hardswish(x: Array) -> Array:
    """``x relu6(x + 3) / 6`` (Howard et al., 2019)."""
    return x * relu6(x + 3) / 6


def gelu(x: Array) -> Array:
    """``x (1 + erf(x / sqrt(2))) / 2`` (Hendrycks and Gimpel, 2016).

    ``1 + erf(t)`` is written as ``erfc(-t)``, its equal, which keeps its digits where the sum
    cancels.
    """
    erfc = np.vectorize(math.erfc, otypes=[np.float64])
    return x * erfc(-x / math.sqrt(2)) / 2


ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "silu": silu,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "gelu": gelu,
}
"""Every activation by its name."""
