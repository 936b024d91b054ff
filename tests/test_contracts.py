"""What holds beside the numbers: the same bits however the work is cut, nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import Case, algorithms, assert_same_bits, function, gradient, place

import groupconv as gc
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import forward_problem

CASES = [
    Case((30, 30), (3, 3), 4, 4, 4, batch=5, padding=1),
    Case((21, 23), (3, 3), 1, 16, 24, batch=5, padding=1),
    Case((56, 56), (3, 3), 8, batch=5, padding=1),
    Case((29, 31), (7, 7), 6, 1, 2, batch=5, padding=3, stride=2),
    Case((14, 14), (1, 1), 1, 40, 33, batch=5),
    Case((7, 7), (3, 3), 2, 9, 11, batch=5, padding=1),
    Case((300,), (9,), 3, 5, 4, batch=5, padding=4),
    Case((6, 11, 12), (3, 3, 3), 2, 3, 4, batch=5, padding=1, stride=(1, 2, 1)),
]

MANY_WEIGHTS = Case((7, 7), (3, 3), 1, 512, 512, batch=3, padding=1)

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def forward_calls(case: Case, layout: str):
    """Calls of a whole or a part of the batch, one per algorithm that can do it, and operations."""
    x, w, b = case.arrays()
    x = place(x, layout)
    conv = function("conv", case.ndim)
    for name in ["auto", *algorithms(conv, x, w, b, **case.arguments)]:
        yield name, x, lambda x, name=name: conv(x, w, b, **case.arguments, algorithm=name)
    _, w, b = case.transposed_arrays()
    transposed = function("conv_transpose", case.ndim)
    yield "transposed", x, lambda x: transposed(x, w, b, **case.transposed_arguments)
    _, w, _ = case.arrays()
    g = place(case.draw("gradient", (case.batch, case.out_channels, *case.out_size)), layout)
    by_input = gradient("conv", case.ndim, "input")
    yield (
        "gradient",
        g,
        lambda g: by_input((len(g), *case.input_shape[1:]), w, g, **case.arguments),
    )


@each_layout
@each_case
def test_threads_do_not_change_a_bit(case: Case, layout: str) -> None:
    for name, x, call in forward_calls(case, layout):
        with gc.num_threads(1):
            alone = call(x)
        for threads in (2, 3, 7):
            with gc.num_threads(threads):
                assert_same_bits(call(x), alone, f"with {threads} threads: {name}")


@each_case
def test_threads_do_not_change_a_bit_of_a_weight_gradient(case: Case) -> None:
    x, w, _ = case.arrays()
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size))
    by_weight = gradient("conv", case.ndim, "weight")
    with gc.num_threads(1):
        alone = by_weight(x, w.shape, g, **case.arguments)
    for threads in (2, 3, 7):
        with gc.num_threads(threads):
            assert_same_bits(by_weight(x, w.shape, g, **case.arguments), alone, f"{threads=}")
    assert_same_bits(
        gradient("conv", case.ndim, "bias")(g), g.sum((0, *range(2, g.ndim)), "f8").astype("f4")
    )


@each_layout
@each_case
def test_the_batch_does_not_change_a_bit(case: Case, layout: str) -> None:
    for name, x, call in forward_calls(case, layout):
        whole = call(x)
        for images in (slice(0, 1), slice(4, 5), slice(0, 2), slice(1, 4), slice(0, None, 2)):
            assert_same_bits(call(x[images]), whole[images], f"for images {images}: {name}")


@each_layout
@each_case
def test_prepared_weights_change_no_bit(case: Case, layout: str) -> None:
    """A layer, which prepares its weight once, computes what the function computes."""
    for prefix, layer_type, (x, w, b), arguments in (
        ("conv", "Conv", case.arrays(), case.arguments),
        ("conv_transpose", "ConvTranspose", case.transposed_arrays(), case.transposed_arguments),
    ):
        x = place(x, layout)
        compute = function(prefix, case.ndim)
        from_weight = getattr(gc, f"{layer_type}{case.ndim}d").from_weight
        for name in ["auto", *algorithms(compute, x, w, b, **arguments)]:
            layer = from_weight(w, b, **arguments, algorithm=name)
            want = compute(x, w, b, **arguments, algorithm=name)
            assert_same_bits(layer(x), want, f"of {layer_type} by {name}")


@each_layout
def test_many_prepared_weights_change_no_bit(layout: str) -> None:
    """Where preparing costs a function more than the rest of its work."""
    x, w, b = MANY_WEIGHTS.arrays()
    x = place(x, layout)
    layer = gc.Conv2d.from_weight(w, b, **MANY_WEIGHTS.arguments)
    assert_same_bits(layer(x), gc.conv2d(x, w, b, **MANY_WEIGHTS.arguments))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("case", [*CASES, MANY_WEIGHTS], ids=str)
def test_the_smallest_prediction_wins(case: Case, ahead: bool, batch: int) -> None:
    """Of an image, whatever the batch, and whether or not weights are prepared ahead."""
    arguments = conv_arguments(case.ndim, **case.arguments)
    x, w, b = case.arrays()

    def plan(algorithm: str, images: int, weights_ahead: bool) -> Plan:
        problem = forward_problem(arguments, x[:images], w, weights_ahead=weights_ahead)
        return Plan(replace(problem, algorithm=algorithm))

    chosen = plan("auto", batch, ahead).algorithm
    assert chosen == plan("auto", 1, True).algorithm
    for name in algorithms(function("conv", case.ndim), x, w, b, **case.arguments):
        assert plan(name, 1, True).predicted_seconds >= plan(chosen, 1, True).predicted_seconds
        assert plan(name, 1, True).predicted_seconds <= plan(name, 1, False).predicted_seconds


@each_case
def test_out_changes_no_bit(case: Case) -> None:
    """The result does not depend on where it is written."""
    for name in ("contiguous", "channels_last"):
        x, w, b = case.arrays()
        x = place(x, name)
        conv = function("conv", case.ndim)
        fresh = conv(x, w, b, **case.arguments)
        out = np.empty_like(fresh)
        assert conv(x, w, b, **case.arguments, out=out) is out
        assert_same_bits(out, fresh)


def test_inputs_are_not_written_and_results_are_fresh() -> None:
    case = Case((9, 10), (3, 3), 2, 2, 3, padding=1)
    x, w, b = case.arrays()
    copies = x.copy(), w.copy(), b.copy()
    first = gc.conv2d(x, w, b, **case.arguments)
    kept = first.copy()
    second = gc.conv2d(x, w, b, **case.arguments)
    assert not np.shares_memory(first, second)
    second[...] = 0
    assert_same_bits(first, kept)
    assert first.flags.writeable
    assert first.flags.owndata or first.base is not None
    for array, copy in zip((x, w, b), copies, strict=True):
        assert_same_bits(array, copy)
        assert not np.shares_memory(first, array)


def test_pointwise_identity_does_not_alias_its_input() -> None:
    x = np.arange(12, dtype="f4").reshape(1, 1, 3, 4)
    y = gc.conv2d(x, np.ones((1, 1, 1, 1), "f4"))
    np.testing.assert_array_equal(x, y)
    assert not np.shares_memory(x, y)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_memory_order_of_results(ndim: int) -> None:
    """channels_last in gives channels_last out; everything else is contiguous."""
    case = Case((6, 5, 7)[:ndim], (3,) * ndim, 2, 3, 4, padding=1)
    x, w, b = case.arrays()
    conv = function("conv", ndim)
    last = conv(place(x, "channels_last"), w, b, **case.arguments)
    assert np.moveaxis(last, 1, -1).flags.c_contiguous
    for layout in ("contiguous", "slice", "every_other", "flipped", "axes_reversed"):
        assert conv(place(x, layout), w, b, **case.arguments).flags.c_contiguous
    np.testing.assert_allclose(last, conv(x, w, b, **case.arguments), rtol=1e-4, atol=1e-4)


def test_a_cached_plan_does_not_remember_arrays() -> None:
    """Calls that share a cached plan must not share anything else, neither weights nor bias."""
    case = Case((8, 9), (3, 3), 2, 2, 3)
    x, w, b = case.arrays()
    first = gc.conv2d(x, w, b, groups=2)
    doubled = gc.conv2d(x, 2 * w, 2 * b, groups=2)
    np.testing.assert_array_equal(doubled, 2 * first)
    w *= 2
    b *= 2
    np.testing.assert_array_equal(gc.conv2d(x, w, b, groups=2), doubled)
    x *= 2
    np.testing.assert_array_equal(gc.conv2d(x, w, 2 * b, groups=2), 2 * doubled)
