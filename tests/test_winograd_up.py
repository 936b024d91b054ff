"""Transposed convolutions of stride 2 by Winograd's method: four convolutions, outputs in between.

Row phase ``a`` and column phase ``b`` of the output are a convolution of stride 1 whose kernel is
some of the weights, in a square of 3 x 3 that all phases share; the bound of test_winograd holds
for each.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import (
    FLOATS,
    HALVES,
    LAYOUTS,
    TRANSFORM_UNITS,
    Case,
    assert_same_bits,
    assert_within,
    exact,
    guarded,
    place,
)
from test_winograd import magnitudes, units

import groupconv as gc
from groupconv import reference

NAME = "winograd_4x4_up2"

CASES = [
    Case((8, 8), (4, 4), 1, 16, 16, stride=2, padding=1),
    Case((9, 13), (4, 4), 2, 9, 12, stride=2, padding=1, output_padding=1),
    Case((7, 10), (3, 3), 1, 17, 8, stride=2, padding=1),
    Case((11, 6), (5, 5), 1, 8, 9, stride=2, padding=2, output_padding=1),
    Case((10, 9), (4, 5), 3, 4, 5, stride=2, padding=[(2, 0), (1, 3)]),
    Case((6, 7), (3, 4), 1, 70, 33, stride=2),
    Case((34, 37), (4, 4), 1, 40, 17, batch=1, stride=2, padding=1),
    Case((3, 2), (4, 4), 2, 3, 4, stride=2, padding=(3, 2), output_padding=(1, 1)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
first_cases = pytest.mark.parametrize("case", CASES[:4], ids=str)


def phase_taps(out: int, kernel: int, before: int, phase: int) -> list[tuple[int, int]]:
    """List (kernel position, input minus output index) of outputs ``2 i + phase``."""
    return [
        (tap, (phase + before - tap) // 2)
        for tap in range(kernel)
        if (phase + before - tap) % 2 == 0 and phase < out
    ]


def bound_of(x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case) -> np.ndarray:
    """Put together the bounds of the four phases."""
    out_size = case.transposed_out_size
    pairs = reference.padding_pairs(case.padding, case.size, case.kernel)
    first = [
        min(shift for phase in (0, 1) for _, shift in phase_taps(out, kernel, before, phase))
        for out, kernel, (before, _) in zip(out_size, case.kernel, pairs, strict=True)
    ]
    counts = [-(-out // 2) for out in out_size]
    rest = [
        (-low, max(0, count + 2 + low - size))
        for low, count, size in zip(first, counts, case.size, strict=True)
    ]
    w = w.reshape(case.groups, case.in_per_group, case.out_per_group, *case.kernel)
    w = w.swapaxes(1, 2).reshape(case.out_channels, case.in_per_group, *case.kernel)
    bound = np.empty((case.batch, case.out_channels, *out_size))
    for phases in np.ndindex(2, 2):
        rows, columns = (
            phase_taps(out, kernel, before, phase)
            for out, kernel, (before, _), phase in zip(
                out_size, case.kernel, pairs, phases, strict=True
            )
        )
        square = np.zeros((case.out_channels, case.in_per_group, 3, 3))
        for i, y in rows:
            for j, z in columns:
                square[:, :, y - first[0], z - first[1]] = w[:, :, i, j]
        whole = case.but(kernel=(3, 3), stride=1, padding=rest, output_padding=0)
        into = bound[:, :, phases[0] :: 2, phases[1] :: 2]
        part = magnitudes(x, square, b, whole, "winograd_4x4")
        into[...] = part[:, :, : into.shape[2], : into.shape[3]]
    return bound


def call(case: Case, *operands: np.ndarray, **options: object) -> np.ndarray:
    return gc.conv_transpose2d(*operands, **case.transposed_arguments, algorithm=NAME, **options)


@each_case
def test_bound(case: Case) -> None:
    """In every layout, input and output between guards."""
    x, w, b = case.transposed_arrays()
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    bound = bound_of(x, w, b, case)
    shape = (case.batch, case.out_channels, *case.transposed_out_size)
    for layout in LAYOUTS:
        with guarded(shape, "float32", layout) as out:
            call(case, place(x, layout), w, b, out=out)
        assert_within(out, want, bound, units(case))


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@first_cases
def test_other_dtypes(case: Case, dtype: np.dtype) -> None:
    x, w, b = case.transposed_arrays(dtype)
    want = exact(reference.conv_transpose, x, w, b, **case.transposed_arguments)
    bound = bound_of(*(array.astype("f8") for array in (x, w, b)), case)
    assert_within(call(case, x, w, b), want, bound, units(case))


@each_case
def test_epilogue(case: Case) -> None:
    x, w, b = case.transposed_arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.transposed_out_size))
    bound = bound_of(x, w, b, case) + abs(residual)
    for options in (
        {"residual": residual},
        {"activation": "relu"},
        {"residual": residual, "activation": "hardswish"},
    ):
        want = reference.conv_transpose(x, w, b, **case.transposed_arguments, **options)
        assert_within(call(case, x, w, b, **options), want, 1.5 * bound, units(case))


@each_case
def test_layers_prepare_what_functions_transform(case: Case) -> None:
    """A layer gives the bits of a function, for any number of threads and any batch."""
    x, w, b = case.transposed_arrays()
    arguments = {
        name: value for name, value in case.transposed_arguments.items() if name != "groups"
    }
    layer = gc.ConvTranspose2d.from_weight(w, b, **arguments, groups=case.groups, algorithm=NAME)
    alone = call(case, x, w, b)
    for threads in (1, 2, 3):
        with gc.num_threads(threads):
            assert_same_bits(layer(x), alone)
            assert_same_bits(call(case, x, w, b), alone)
    for image in range(case.batch):
        assert_same_bits(layer(x[image : image + 1]), alone[image : image + 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@first_cases
def test_special_values_reach_their_outputs_only(case: Case, value: float) -> None:
    x, w, b = case.transposed_arrays()
    bound = bound_of(x, w, b, case)
    for row, column in [(0, 0), (0, 5), (3, 3), (5, 4), (6, 5)]:
        spoiled = x.copy()
        spoiled[0, 3, row, column] = value
        want = reference.conv_transpose(spoiled, w, b, **case.transposed_arguments)
        assert_within(call(case, spoiled, w, b), want, bound, units(case))
    for index in np.ndindex(case.kernel):
        spoiled = w.copy()
        spoiled[(2, 1, *index)] = value
        want = reference.conv_transpose(x, spoiled, b, **case.transposed_arguments)
        assert_within(call(case, x, spoiled, b), want, bound, units(case))


@first_cases
def test_transforms_that_overflow(case: Case) -> None:
    x, w, b = case.transposed_arrays()
    x, w = (x / abs(x).max() * np.float32(3e38)), w * np.float32(1e-3)
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    assert abs(want).max() < 3e38
    assert_within(call(case, x, w, b), want, bound_of(x, w, b, case), units(case))


@pytest.mark.parametrize("padding", range(7))
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_every_padding(kernel: int, padding: int) -> None:
    """Also one that cuts off all that a border input gives."""
    case = Case((9, 11), (kernel, kernel), 1, 16, 12, stride=2, padding=padding)
    x, w, b = case.transposed_arrays()
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    operands = (x, w, b)
    bound = reference.error_bound(reference.conv_transpose, *operands, **case.transposed_arguments)
    assert_within(call(case, x, w, b), want, bound, TRANSFORM_UNITS)


def test_it_is_chosen() -> None:
    """By transposed convolutions and by the gradient of a strided one."""
    layer = gc.ConvTranspose2d(64, 32, 4, 2, 1)
    assert layer.plan((1, 64, 16, 16)).algorithm == NAME
    rng = np.random.default_rng(0)
    g, w = rng.standard_normal((1, 64, 16, 16), "f4"), rng.standard_normal((64, 32, 4, 4), "f4")
    got = gc.grad.conv2d_input((1, 32, 32, 32), w, g, 2, 1)
    assert_same_bits(got, gc.conv_transpose2d(g, w, None, 2, 1, algorithm=NAME))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"stride": 1}, "stride 2"),
        ({"stride": 3}, "stride 2"),
        ({"stride": 2, "dilation": 2}, "dilation 1"),
    ],
)
def test_refusals(options: dict[str, int], why: str) -> None:
    x, w = np.ones((1, 16, 9, 9), "f4"), np.ones((16, 16, 4, 4), "f4")
    with pytest.raises(ValueError, match=f"{NAME}.*{why}.*direct"):
        gc.conv_transpose2d(x, w, **options, algorithm=NAME)
    with pytest.raises(ValueError, match=f"{NAME}.*kernel of 3 to 5.*direct"):
        gc.conv_transpose2d(x, w[..., :2], stride=2, algorithm=NAME)
    with pytest.raises(ValueError, match=f"{NAME}.*transposed.*direct"):
        gc.conv2d(x, w, stride=2, algorithm=NAME)


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "kernel"),
    [(512, 256, 16, 4), (64, 64, 256, 4), (128, 128, 32, 5), (64, 3, 112, 3)],
)
def test_a_thread_needs_less_than_two_mebibytes(
    channels: int, outputs: int, size: int, kernel: int
) -> None:
    layer = gc.ConvTranspose2d(channels, outputs, kernel, 2, 1, algorithm=NAME)
    text = layer.plan((1, channels, size, size)).explain()
    assert 0 < int(re.search(r"(\d+) bytes per thread", text)[1]) < 2 << 20
