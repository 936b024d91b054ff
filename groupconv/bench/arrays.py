"""The numbers of a layer: its arrays, and the answer every contender is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from groupconv.bench.suite import Layer


@dataclass(frozen=True, slots=True)
class Arrays:
    """What one layer computes with; all of the layer's dtype and C-contiguous.

    Forward layers have no use for `grad_output`, gradients none for `bias`.
    """

    input: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    grad_output: np.ndarray

    def astype(self, dtype: str) -> Arrays:
        """The same numbers in another dtype."""
        fields = (self.input, self.weight, self.bias, self.grad_output)
        return Arrays(*(array.astype(dtype) for array in fields))


def draw(layer: Layer, seed: int = 7) -> Arrays:
    """Random arrays for a layer, the same for the same seed.

    Weights are scaled by the square root of the sums' length, so that outputs are of order one
    whatever the layer.
    """
    rng = np.random.default_rng(seed)

    def normal(shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(layer.dtype)

    return Arrays(
        input=normal(layer.input),
        weight=normal(layer.weight, 1 / math.sqrt(math.prod(layer.weight[1:]))),
        bias=normal(layer.output[1:2]),
        grad_output=normal(layer.output),
    )
