"""Work is shared out evenly among many cores, also of one image of one group, as plans say."""

from __future__ import annotations

import numpy as np
import pytest

import groupconv as gc
from groupconv.bench.suite import SUITE, Layer

EVEN = 1.15  # largest over mean work of a thread
HEAVY = [
    layer
    for layer in SUITE
    if layer.gradient is None and layer.flops / layer.input[0] > 50e6  # of one image
]


@pytest.mark.parametrize("layer", HEAVY, ids=lambda layer: layer.label)
def test_heavy_layers_share_out_evenly(layer: Layer) -> None:
    name = f"ConvTranspose{layer.ndim}d" if layer.transposed else f"Conv{layer.ndim}d"
    arguments = layer.arguments()
    if layer.transposed:
        del arguments["output_padding"]
    weight = np.zeros(layer.weight, layer.dtype)
    plan = getattr(gc, name).from_weight(weight, **arguments).plan((1, *layer.input[1:]))
    balances = {threads: plan.balance(threads) for threads in (1, 8, 16, 64)}
    assert balances.pop(1) == 1
    assert all(1 <= balance <= EVEN for balance in balances.values()), (plan.algorithm, balances)


def test_few_units_are_not_even() -> None:
    """One output channel of one small image leaves threads without work, and the plan says so."""
    plan = gc.Conv2d(4, 1, 3, padding=1).plan((1, 4, 8, 8))
    assert plan.balance(64) > 2
