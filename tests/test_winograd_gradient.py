"""Weight gradients by Winograd's method: their error bound, what is not finite, the same bits.

The convolution ``y = A^T [(G w G^T) * (B^T x B)] A`` of a tile is linear in ``w``, and its
gradient by ``w`` is ``G^T [(A dy A^T) * (B^T x B)] G``, summed over tiles and images. The
magnitudes ``|G^T| [sum of (|A| |dy| |A^T|) * (|B^T| |x| |B|)] |G|`` bound the error of each kernel
position in unit roundoffs, times the number of roundings on the way, as in test_winograd.
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
    assert_same_bits,
    assert_within,
    exact,
    guarded,
    place,
    weight_gradient_by,
)
from test_winograd import KINDS, TRANSFORMS, transforms

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import weight_gradient_problem

NAME = "grad_weight_winograd"
TILE, WINDOW = 4, 6

CASES = [
    Case((12, 16), (3, 3), 1, 16, 16, padding=1),
    Case((13, 14), (3, 3), 1, 17, 9, padding=1),
    Case((14, 15), (3, 3), 2, 12, 20, batch=5),
    Case((16, 17), (3, 3), 1, 40, 33, batch=1, padding=[(2, 0), (1, 3)]),
    Case((13, 12), (3, 3), 1, 9, 8, padding=2, padding_mode="reflect"),
    Case((57, 66), (3, 3), 1, 24, 33, batch=1, padding=1),  # several boxes
    Case((12, 12), (3, 3), 1, 66, 70, batch=19, padding=1),  # slabs, images together
    Case((3, 60), (3, 3), 3, 1, 5, padding=1),
    Case((150, 3), (3, 3), 2, 8, 3, batch=1, padding=(0, 1)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
first_cases = pytest.mark.parametrize("case", CASES[:4], ids=str)


def compute(case: Case, x: np.ndarray, g: np.ndarray, threads: int = 1) -> np.ndarray:
    out = np.empty(case.weight_shape, x.dtype)
    return weight_gradient_by(NAME, case, x, g, out, threads)


def magnitudes(x: np.ndarray, g: np.ndarray, case: Case) -> np.ndarray:
    at, kernel, bt = (abs(matrix) for matrix in transforms(KINDS["winograd_4x4"]))
    rows, columns = (-(-cells // TILE) for cells in case.out_size)
    pairs = reference.padding_pairs(case.padding, case.size, case.kernel)
    padded = reference.pad(abs(x.astype("f8")), pairs, case.padding_mode)
    whole = (rows * TILE + 2, columns * TILE + 2)
    missing = [(0, size - cells) for size, cells in zip(whole, padded.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(
        reference.pad(padded, missing), (WINDOW, WINDOW), axis=(2, 3)
    )[:, :, ::TILE, ::TILE]
    data = np.einsum("pi,ncyxij,qj->ncyxpq", bt, windows, bt, optimize=True)
    data = data.reshape(case.batch, case.groups, case.in_per_group, -1, WINDOW, WINDOW)
    missing = [
        (0, tiles * TILE - cells)
        for tiles, cells in zip((rows, columns), case.out_size, strict=True)
    ]
    tiles = reference.pad(abs(g.astype("f8")), missing)
    tiles = tiles.reshape(case.batch, case.out_channels, rows, TILE, columns, TILE)
    tiles = np.einsum("ap,nkyaxb,bq->nkyxpq", at, tiles, at, optimize=True)
    tiles = tiles.reshape(case.batch, case.groups, case.out_per_group, -1, WINDOW, WINDOW)
    sums = np.einsum("ngctpq,ngktpq->gkcpq", data, tiles, optimize=True)
    kernels = np.einsum("pi,gkcpq,qj->gkcij", kernel, sums, kernel, optimize=True)
    return kernels.reshape(case.weight_shape)


def units(case: Case) -> int:
    return min(case.batch * case.out_size[0] * case.out_size[1] + TRANSFORMS, 64)


def test_transforms_compute_a_gradient() -> None:
    """What the bound is made of is the gradient of a row of four outputs."""
    at, kernel, bt = transforms(KINDS["winograd_4x4"])
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(WINDOW), rng.standard_normal(TILE)
    want = [dy @ x[i : i + TILE] for i in range(3)]
    np.testing.assert_allclose(kernel.T @ ((at.T @ dy) * (bt @ x)), want, rtol=1e-10)


@each_case
def test_bound(case: Case) -> None:
    """In every layout of input, gradient and result, between guards."""
    x, _, _ = case.arrays()
    g = case.output_gradient()
    want = reference.conv_weight(x, case.weight_shape, g, **case.arguments)
    bound = magnitudes(x, g, case)
    for layout in LAYOUTS:
        with guarded(case.weight_shape, "float32", layout) as out:
            weight_gradient_by(NAME, case, place(x, layout), place(g, layout), out)
        assert_within(out, want, bound, units(case))


@each_case
def test_typical_error(case: Case) -> None:
    """On normal numbers it stays below 1e-5 of the largest weight's gradient."""
    x, _, _ = case.arrays()
    g = case.output_gradient()
    want = reference.conv_weight(x, case.weight_shape, g, **case.arguments)
    assert abs(compute(case, x, g) - want).max() < 1e-5 * abs(want).max()


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@first_cases
def test_other_dtypes(case: Case, dtype: np.dtype) -> None:
    x, _, _ = case.arrays(dtype)
    g = case.output_gradient(dtype)
    want = exact(reference.conv_weight, x, case.weight_shape, g, **case.arguments)
    assert_within(compute(case, x, g), want, magnitudes(x, g, case), units(case))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@first_cases
def test_special_values_reach_their_weights_only(case: Case, value: float) -> None:
    """Beside padding an input reaches some kernel positions only; a gradient reaches all."""
    x, _, _ = case.arrays()
    g = case.output_gradient()
    bound = magnitudes(x, g, case)
    for row, column in [(0, 0), (0, 5), (3, 3), (4, 4), (11, 13), (11, 0)]:
        for spoils_input in (True, False):
            spoiled = [x.copy(), g.copy()]
            array = spoiled[not spoils_input]
            array[0, 3, min(row, array.shape[2] - 1), min(column, array.shape[3] - 1)] = value
            want = reference.conv_weight(
                spoiled[0], case.weight_shape, spoiled[1], **case.arguments
            )
            assert_within(compute(case, *spoiled), want, bound, units(case))


@each_case
def test_transforms_that_overflow(case: Case) -> None:
    """Inputs near the largest float32: the transforms overflow where the result does not."""
    x, _, _ = case.arrays()
    x = x / abs(x).max() * np.float32(3e38)
    g = case.output_gradient() * np.float32(1e-5)
    want = reference.conv_weight(x, case.weight_shape, g, **case.arguments)
    assert abs(want).max() < 3e38
    bound = reference.error_bound(reference.conv_weight, x, case.weight_shape, g, **case.arguments)
    assert_within(compute(case, x, g), want, bound)


@each_case
def test_bits_do_not_depend_on_threads(case: Case) -> None:
    x, _, _ = case.arrays()
    g = case.output_gradient()
    x[-1, -1, 0, 0] = np.inf  # some units are summed up directly
    alone = compute(case, x, g)
    for threads in (2, 3, 16):
        assert_same_bits(compute(case, x, g, threads), alone)


def test_it_is_chosen_for_both_kinds_of_convolution() -> None:
    rng = np.random.default_rng(1)
    x, g = (rng.standard_normal((2, 32, 28, 28), "f4") for _ in range(2))
    for transposed in (False, True):
        case = Case((28, 28), (3, 3), 1, 32, 32, padding=1)
        arguments = conv_arguments(2, padding=1)
        problem = weight_gradient_problem(arguments, x, case.weight_shape, g)
        assert Plan(problem).algorithm == NAME
        name = "conv_transpose2d_weight" if transposed else "conv2d_weight"
        got = getattr(gc.grad, name)(x, case.weight_shape, g, padding=1)
        operands = (g, x) if transposed else (x, g)
        assert_same_bits(got, compute(case, *operands))


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (Case((24, 24), (3, 3), 1, 16, 16, stride=2, padding=1), "stride 1"),
        (Case((24, 24), (3, 3), 1, 16, 16, dilation=2), "dilation 1"),
        (Case((24, 24), (5, 5), 1, 16, 16), "3x3"),
        (Case((11, 13), (3, 3), 1, 16, 16, padding=1), "144 output positions"),
        (Case((12, 300), (3, 3), 1, 64, 64, padding=1), "1152 KiB"),
        (Case((9, 12, 12), (3, 3, 3), 1, 8, 8, padding=1), "two dimensions"),
    ],
    ids=str,
)
def test_refusals(case: Case, why: str) -> None:
    x, _, _ = case.arrays()
    g = case.output_gradient()
    arguments = conv_arguments(case.ndim, **case.arguments)
    problem = weight_gradient_problem(arguments, x, case.weight_shape, g)
    with pytest.raises(ValueError, match=f"{NAME}.*{why}.*grad_weight_lanes"):
        Plan(replace(problem, algorithm=NAME))
    got = gc.grad.__dict__[f"conv{case.ndim}d_weight"](x, case.weight_shape, g, **case.arguments)
    assert got.shape == case.weight_shape


@pytest.mark.parametrize(
    ("channels", "size"), [(64, 56), (64, 256), (512, 14), (200, 112), (16, 1000)]
)
def test_a_thread_needs_less_than_two_mebibytes(channels: int, size: int) -> None:
    x = np.empty((8, channels, size, size), "f4")
    problem = weight_gradient_problem(
        conv_arguments(2, padding=1), x, (channels, channels, 3, 3), x
    )
    text = Plan(replace(problem, algorithm=NAME)).explain()
    assert 0 < int(re.search(r"(\d+) bytes per thread", text)[1]) < 2 << 20
