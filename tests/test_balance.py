"""Work is shared out evenly among many cores, also of one image of one group, as plans say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Case, assert_same_bits, function, guarded

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


@pytest.mark.parametrize("threads", [1, 3, 64])
@pytest.mark.parametrize("epilogue", [False, True], ids=["bare", "epilogue"])
@pytest.mark.parametrize(
    ("operation", "case"),
    [
        ("conv", Case((61, 67), (3, 3), 1, 64, 10, padding=1)),
        ("conv", Case((9, 29, 31), (3, 3, 3), 2, 16, 3, padding=1)),
        ("conv_transpose", Case((31, 33), (4, 4), 1, 160, 8, stride=2, padding=1)),
        ("conv_transpose", Case((30, 31), (5, 5), 1, 96, 9, stride=3, padding=2)),
    ],
    ids=str,
)
def test_parts_of_a_heavy_block_make_the_whole(
    operation: str, case: Case, epilogue: bool, threads: int
) -> None:
    """Few large units are cut into parts; a problem of one output channel is too light for that."""
    if operation == "conv":
        (x, w, b), arguments, size = case.arrays(), dict(case.arguments), case.out_size
    else:
        x, w, b = case.transposed_arrays()
        arguments, size = dict(case.transposed_arguments), case.transposed_out_size
    shape = (case.batch, case.out_channels, *size)
    residual = case.draw("residual", shape)
    convolve, groups = function(operation, case.ndim), arguments.pop("groups")

    def call(x: np.ndarray, channels: slice, w: np.ndarray, **options: Any) -> np.ndarray:
        if epilogue:
            options |= {"residual": residual[:, channels], "activation": "gelu"}
        return convolve(x, w, b[channels], **arguments, **options, algorithm="direct")

    with gc.num_threads(threads), guarded(shape, np.float32) as whole:
        call(x, slice(None), w, groups=groups, out=whole)
    inputs, outputs = x.shape[1] // groups, case.out_channels // groups
    for k in range(case.out_channels):
        group = k // outputs
        mine = x[:, group * inputs : (group + 1) * inputs]
        if operation == "conv":
            weight = w[k : k + 1]
        else:
            weight = w[group * inputs : (group + 1) * inputs, k % outputs : k % outputs + 1]
        assert_same_bits(whole[:, k : k + 1], call(mine, slice(k, k + 1), weight), f"channel {k}")
