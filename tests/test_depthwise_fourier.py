"""Depthwise convolution by spectra of rows: its own error bound, infinities and NaN, the same bits.

As in test_fourier, with the rows of the kernel in the place of channels: an output errs by at most
so many unit roundoffs of the sum over them of ``||x|| ||w||_1``, ``x`` being the block of a row
that it is computed from.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import (
    FLOATS,
    HALVES,
    LAYOUTS,
    Case,
    algorithms,
    assert_same_bits,
    assert_within,
    exact,
    guarded,
    place,
)

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import forward_problem

NAME = "depthwise_fourier"

CASES = [
    Case((28, 28), (31, 31), 17, padding=15),
    Case((9, 40), (3, 9), 5, padding=[(1, 0), (4, 2)]),
    Case((20, 33), (13, 13), 16, batch=1, padding=6),
    Case((14, 75), (7, 17), 3, padding=[(0, 3), (16, 1)]),
    Case((3, 5), (31, 31), 18, padding=15),
    Case((1, 300), (1, 33), 9, padding=(0, 16)),
    Case((400, 11), (9, 10), 4, batch=1),  # several boxes of rows
    Case((12, 12), (12, 12), 33, padding=(0, 3)),
    Case((6, 7), (4, 11), 2, padding=(9, 12)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def block(case: Case) -> tuple[int, int]:
    """Points of a transform, and outputs of a block."""
    points = 16
    while points < 2 * case.kernel[1]:
        points *= 2
    return points, points - case.kernel[1] + 1


def magnitudes(x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case) -> np.ndarray:
    """The sum over the kernel's rows of ||x|| ||w||_1 in the block of each output, and its bias."""
    pairs = reference.padding_pairs(case.padding, case.size, case.kernel)
    padded = reference.pad(x.astype("f8"), pairs)
    points, outputs = block(case)
    norms = np.empty((*padded.shape[:3], case.out_size[1]))
    for start in range(0, case.out_size[1], outputs):
        energy = (padded[..., start : start + points] ** 2).sum(axis=3, keepdims=True)
        norms[..., start : start + outputs] = np.sqrt(energy)
    lengths = abs(w.astype("f8")).sum(axis=3, keepdims=True)
    total = reference.conv(norms, lengths, None, groups=case.groups)
    return total + abs(b.astype("f8"))[:, None, None]


def units(case: Case) -> float:
    """Roundings on the way of a product."""
    return 21 * np.log2(block(case)[0]) + case.kernel[0] + 8


def call(case: Case, *operands: np.ndarray, **options: object) -> np.ndarray:
    return gc.conv2d(*operands, **case.arguments, algorithm=NAME, **options)


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@each_case
def test_against_the_reference(case: Case, dtype: np.dtype) -> None:
    """Within the bound; on data of one magnitude within 16 units of the largest output."""
    x, w, b = case.arrays(dtype)
    want = exact(reference.conv, x, w, b, **case.arguments)
    got = call(case, x, w, b)
    assert_within(got, want, magnitudes(x, w, b, case), units(case))
    assert_within(got, want, np.full(want.shape, float(abs(want).max())), 16)


@each_case
def test_layouts(case: Case) -> None:
    """In every layout of input and output, between guards, the same bits."""
    x, w, b = case.arrays()
    want = call(case, x, w, b)
    for layout in LAYOUTS:
        with guarded(want.shape, "float32", layout) as out:
            call(case, place(x, layout), place(w, layout), b, out=out)
        assert_same_bits(out, want)


def test_a_block_reads_what_its_outputs_read() -> None:
    """What lies beyond the last window of a block must not be heard in it."""
    case = Case((5, 99), (3, 30), 2)
    x, w, b = case.arrays()
    outputs = block(case)[1]
    x[..., outputs + 29 :] *= 1e6  # of the second block alone
    got, want = call(case, x, w, b), exact(reference.conv, x, w, b, **case.arguments)
    first = slice(0, outputs)
    largest = np.full(want.shape, float(abs(want[..., first]).max()))
    assert_within(got[..., first], want[..., first], largest[..., first], 16)


@pytest.mark.parametrize("padding", [(0, 16), (4, 31), (4, 33), (1, 70), (9, 300)], ids=str)
def test_blocks_of_padding_alone(padding: tuple[int, int]) -> None:
    """Before the input and behind it there may be more zeros than a transform has points."""
    case = Case((3, 6), (3, 9), 5, padding=padding)
    assert block(case)[0] == 32
    x, w, b = case.arrays()
    want = reference.conv(x, w, b, **case.arguments)
    with guarded(want.shape, "float32") as out:
        call(case, x, w, b, out=out)
    assert_within(out, want, magnitudes(x, w, b, case), units(case))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_case
def test_special_values_reach_their_windows(case: Case, special: float) -> None:
    x, w, b = case.arrays()
    bound = magnitudes(x, w, b, case)
    spoiled = x.copy()
    spoiled[0, 1, x.shape[2] // 2, x.shape[3] // 2] = special
    want = reference.conv(spoiled, w, b, **case.arguments)
    assert_within(call(case, spoiled, w, b), want, bound, units(case))
    spoiled = w.copy()
    spoiled[0, 0, 0, -1] = special
    want = reference.conv(x, spoiled, b, **case.arguments)
    assert_within(call(case, x, spoiled, b), want, bound, units(case))


@each_case
def test_transforms_that_overflow(case: Case) -> None:
    """Inputs near the largest float32: the spectra overflow where the result does not."""
    x, w, b = case.arrays()
    x, w = x / abs(x).max() * np.float32(3e38), w * np.float32(1e-3)
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(want).max() < 3e38
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    assert_within(call(case, x, w, b), want, bound)


@each_case
def test_bits_do_not_depend_on_threads_batch_or_preparing(case: Case) -> None:
    x, w, b = case.arrays()
    layer = gc.Conv2d.from_weight(w, b, padding=case.padding, groups=case.groups, algorithm=NAME)
    with gc.num_threads(1):
        alone = call(case, x, w, b)
        assert_same_bits(layer(x), alone)
    for threads in (2, 3):
        with gc.num_threads(threads):
            assert_same_bits(layer(x), alone)
    for image in range(case.batch):
        assert_same_bits(layer(x[image : image + 1]), alone[image : image + 1])


@each_case
def test_epilogue(case: Case) -> None:
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    bound = magnitudes(x, w, b, case) + abs(residual)
    for activation in (None, "relu", "hardswish"):
        options = {"residual": residual, "activation": activation}
        want = reference.conv(x, w, b, **case.arguments, **options)
        assert_within(call(case, x, w, b, **options), want, 1.5 * bound, units(case))


@pytest.mark.parametrize(
    ("kernel", "options", "why"),
    [
        ((3, 8), {}, "at least 9 columns"),
        ((3, 9), {"stride": 2}, "stride 1"),
        ((3, 9), {"dilation": 2}, "dilation 1"),
        ((3, 9), {"padding": 1, "padding_mode": "reflect"}, "zeros only"),
        ((200, 200), {"padding": 100}, "1280 KiB"),
    ],
    ids=str,
)
def test_refusals_name_what_can(kernel: tuple[int, int], options: dict, why: str) -> None:
    x, w = np.ones((1, 2, 210, 230), "f4"), np.ones((2, 1, *kernel), "f4")
    with pytest.raises(ValueError, match=f"{NAME}.*{why}.*depthwise_packed"):
        gc.conv2d(x, w, groups=2, **options, algorithm=NAME)
    assert NAME not in algorithms(gc.conv2d, x, w, groups=2, **options)


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize(("channels", "size", "taps"), [(512, 28, 31), (96, 56, 31), (64, 500, 21)])
def test_large_kernels_are_computed_so_with_little_memory(
    channels: int, size: int, taps: int, ahead: bool
) -> None:
    x = np.empty((1, channels, size, size), "float32")
    w = np.empty((channels, 1, taps, taps), "float32")
    arguments = conv_arguments(2, padding=taps // 2, groups=channels)
    problem = forward_problem(arguments, x, w, weights_ahead=ahead)
    plan = Plan(problem)
    assert plan.algorithm == NAME
    assert 0 < int(re.search(r"(\d+) bytes per thread", plan.explain())[1]) < 2 << 20
    packed = Plan(replace(problem, algorithm="depthwise_packed"))
    assert packed.predicted_seconds > 1.5 * plan.predicted_seconds
