"""Layers of a graph's constant weights, so that these are prepared once and not at every run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import groupconv

_Array = np.ndarray[Any, Any]
_MOST_LAYERS = 16


def is_constant(array: _Array) -> bool:
    """Tell whether an array and all memory behind it are read-only, so that it can be kept.

    A read-only view of an array that others may write is not constant. Initializers stored as raw
    bytes are; `Evaluator` sees to it that the others are, too.
    """
    owner: object = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return owner is None or isinstance(owner, bytes)


@dataclass(frozen=True, slots=True)
class _Bound:
    """Layers of one weight and bias, which are held to keep their identity."""

    weight: _Array
    bias: _Array | None
    layers: dict[tuple[Any, ...], Any] = field(default_factory=dict)


class Convolution:
    """One node's convolution: a layer when its weight is constant, a function call otherwise.

    Parameters
    ----------
    name : {'conv', 'conv_transpose'}
        Which function of groupconv computes it.
    """

    def __init__(self, name: str) -> None:
        self._function = name
        self._layer = {"conv": "Conv", "conv_transpose": "ConvTranspose"}[name]
        self._bound: _Bound | None = None

    def __call__(
        self,
        x: _Array,
        weight: _Array,
        bias: _Array | None,
        residual: _Array | None,
        **arguments: Any,
    ) -> _Array:
        """Convolve; the arguments are those of the function, hashable, in any one order."""
        dimensions = f"{x.ndim - 2}d"
        if not (is_constant(weight) and (bias is None or is_constant(bias))):
            function = getattr(groupconv, self._function + dimensions)
            return function(x, weight, bias, residual=residual, **arguments)
        layers = self._layers(weight, bias)
        key = tuple(arguments.values())
        layer = layers.get(key)
        if layer is None:
            # Only SAME padding of inputs of many sizes asks for more than one layer.
            if len(layers) >= _MOST_LAYERS:
                layers.clear()
            cls = getattr(groupconv, self._layer + dimensions)
            layer = layers[key] = cls.from_weight(weight, bias, **arguments)
        return layer(x, residual)

    def _layers(self, weight: _Array, bias: _Array | None) -> dict[tuple[Any, ...], Any]:
        bound = self._bound
        if bound is None or bound.weight is not weight or bound.bias is not bias:
            bound = self._bound = _Bound(weight, bias)
        return bound.layers
