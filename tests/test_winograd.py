"""Winograd's convolutions: their own error bound, infinities and NaN, overflow, the same bits.

F(m x m, r x r) evaluates at a few points and infinity, and computes each tile of m x m outputs as
``A^T [sum over c of (G w G^T) * (B^T x B)] A`` (Lavin and Gray, "Fast algorithms for convolutional
neural networks", CVPR 2016). Every step is a sum of products, so the magnitudes
``|A^T| [sum over c of (|G| |w| |G^T|) * (|B^T| |x| |B|)] |A|`` bound the error of each output in
unit roundoffs, times the number of roundings on the way (Higham, chapter 3, applied step by step).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

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
    has_own_bound,
    place,
)

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import forward_problem


@dataclass(frozen=True)
class Kind:
    """F(outputs x outputs, taps x taps) and its points besides infinity."""

    outputs: int
    taps: int
    points: tuple[float, ...]


KINDS = {
    "winograd_4x4": Kind(4, 3, (0, 1, -1, 2, -2)),
    "winograd_2x2": Kind(2, 3, (0, 1, -1)),
    "winograd_2x2_5x5": Kind(2, 5, (0, 1, -1, 2, -2)),
}
# Roundings of a product on its way: 2 x 4 in either transform before, 2 x 5 after, bias, residual.
TRANSFORMS = 28

CASES = [
    Case((12, 16), (3, 3), 1, 16, 16, padding=1),
    Case((13, 14), (3, 3), 1, 17, 9, padding=1),
    Case((11, 35), (3, 3), 2, 12, 20, padding=1),
    Case((28, 28), (3, 3), 4, 16, 16, batch=1, padding=1),
    Case((7, 7), (3, 3), 1, 40, 24, padding=1),
    Case((9, 10), (3, 3), 1, 16, 8),
    Case((9, 10), (3, 3), 1, 16, 8, padding=[(2, 0), (1, 3)]),
    Case((9, 10), (3, 3), 1, 16, 8, padding=2, padding_mode="reflect"),
    Case((57, 66), (3, 3), 1, 24, 33, batch=1, padding=1),
    Case((13, 14), (5, 5), 1, 17, 9, padding=2),
    Case((27, 27), (5, 5), 2, 16, 24, batch=1, padding=2),
    Case((11, 12), (5, 5), 1, 16, 8, padding=[(0, 4), (3, 1)]),
    Case((5, 6), (3, 3), 1, 16, 16, padding=1),
    Case((9, 10), (3, 3), 6, 1, 1, padding=1),
    Case((9, 10), (3, 3), 3, 2, 5, padding=1),
]
PROBLEMS = [
    pytest.param(case, name, id=f"{name}-{case}")
    for case in CASES
    for name, kind in KINDS.items()
    if kind.taps == case.kernel[0]
]
each_problem = pytest.mark.parametrize(("case", "name"), PROBLEMS)
first_problems = pytest.mark.parametrize(
    ("case", "name"),
    [problem for problem in PROBLEMS if problem.values[0] in CASES[:3] + CASES[9:10]],
)


def transforms(kind: Kind) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices A^T, G and B^T of the Cook-Toom algorithm for these points."""
    size = kind.outputs + kind.taps - 1
    at, g, bt = (np.zeros((rows, size)) for rows in (kind.outputs, kind.taps, size))
    for j, point in enumerate(kind.points):
        others = np.delete(kind.points, j)
        at[:, j] = float(point) ** np.arange(kind.outputs)
        g[:, j] = float(point) ** np.arange(kind.taps) / np.prod(point - others)
        bt[j, :-1] = np.poly(others)[::-1]
    at[-1, -1] = g[-1, -1] = 1
    bt[-1] = np.poly(kind.points)[::-1]
    return at, g.T, bt


def magnitudes(x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case, name: str) -> np.ndarray:
    """The bound above, for tiles that start at the first output, and the bias."""
    at, g, bt = (abs(matrix) for matrix in transforms(KINDS[name]))
    tile, size = at.shape
    pairs = reference.padding_pairs(case.padding, case.size, case.kernel)
    padded = reference.pad(abs(x), pairs, case.padding_mode)
    rows, columns = (-(-cells // tile) for cells in case.out_size)
    missing = [
        (0, tiles * tile + size - tile - cells)
        for tiles, cells in zip((rows, columns), padded.shape[2:], strict=True)
    ]
    windows = np.lib.stride_tricks.sliding_window_view(
        reference.pad(padded, missing), (size, size), axis=(2, 3)
    )[:, :, ::tile, ::tile]
    data = np.einsum("pi,ncyxij,qj->ncyxpq", bt, windows, bt, optimize=True)
    data = data.reshape(case.batch, case.groups, case.in_per_group, rows, columns, size, size)
    taps = np.einsum("pi,kcij,qj->kcpq", g, abs(w), g, optimize=True)
    taps = taps.reshape(case.groups, case.out_per_group, case.in_per_group, size, size)
    sums = np.einsum("ngcyxpq,gkcpq->ngkyxpq", data, taps)
    tiles = np.einsum("ap,ngkyxpq,bq->ngkyaxb", at, sums, at, optimize=True)
    whole = tiles.reshape(case.batch, case.out_channels, rows * tile, columns * tile)
    return whole[:, :, : case.out_size[0], : case.out_size[1]] + abs(b)[:, None, None]


def units(case: Case) -> int:
    return min(case.in_per_group + TRANSFORMS, 64)


def check_transforms(kind: Kind) -> None:
    """What bounds are made of is Winograd's algorithm."""
    at, g, bt = transforms(kind)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(kind.outputs + kind.taps - 1), rng.standard_normal(kind.taps)
    np.testing.assert_allclose(at @ ((g @ w) * (bt @ x)), np.correlate(x, w), rtol=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_transforms_compute_a_convolution(name: str) -> None:
    check_transforms(KINDS[name])


@each_problem
def test_bound(case: Case, name: str) -> None:
    """In every layout, input and output between guards."""
    x, w, b = case.arrays()
    want, bound = reference.conv(x, w, b, **case.arguments), magnitudes(x, w, b, case, name)
    for layout in LAYOUTS:
        with guarded((case.batch, case.out_channels, *case.out_size), "float32", layout) as out:
            gc.conv2d(place(x, layout), w, b, **case.arguments, algorithm=name, out=out)
        assert_within(out, want, bound, units(case))


@each_problem
def test_typical_error(case: Case, name: str) -> None:
    """On normal numbers it stays below 1e-5 of the largest output."""
    x, w, b = case.arrays()
    want = reference.conv(x, w, b, **case.arguments)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm=name)
    assert abs(got - want).max() < 1e-5 * abs(want).max()


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@first_problems
def test_other_dtypes(case: Case, name: str, dtype: np.dtype) -> None:
    x, w, b = case.arrays(dtype)
    bound = magnitudes(*(array.astype("f8") for array in (x, w, b)), case, name)
    want = exact(reference.conv, x, w, b, **case.arguments)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm=name)
    assert_within(got, want, bound, units(case))


@pytest.mark.parametrize("padding", [0, 1, 2, [(0, 2), (2, 1)]], ids=str)
@pytest.mark.parametrize("channels", [(1, 16, 16), (2, 9, 12), (5, 1, 1)], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_transposed(name: str, channels: tuple[int, int, int], padding: object) -> None:
    """At stride 1 it is a convolution with the kernel turned round, padded by what is left."""
    kernel = KINDS[name].taps
    case = Case((10, 13), (kernel, kernel), *channels, padding=padding)
    x, w, b = case.transposed_arrays()
    got = gc.conv_transpose2d(x, w, b, **case.transposed_arguments, algorithm=name)
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    turned = w[:, :, ::-1, ::-1].reshape(case.groups, case.in_per_group, *w.shape[1:])
    turned = turned.swapaxes(1, 2).reshape(case.weight_shape)
    pairs = reference.padding_pairs(padding, case.size, case.kernel)
    rest = [(kernel - 1 - before, kernel - 1 - after) for before, after in pairs]
    same = case.but(padding=rest)
    np.testing.assert_allclose(want, reference.conv(x, turned, b, **same.arguments), atol=1e-12)
    assert_within(got, want, magnitudes(x, turned, b, same, name), units(case))


@each_problem
def test_family_name(case: Case, name: str) -> None:
    """The name "winograd" stands for one of those that can; "direct" avoids them all."""
    x, w, b = case.arrays()
    able = [n for n in algorithms(gc.conv2d, x, w, b, **case.arguments) if has_own_bound(n)]
    assert name in able
    results = {
        n: gc.conv2d(x, w, b, **case.arguments, algorithm=n).tobytes()
        for n in (*able, "winograd", "direct")
    }
    assert results["winograd"] in [results[n] for n in able]
    assert results["direct"] not in [results[n] for n in able]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@first_problems
def test_special_values_reach_their_windows_only(case: Case, name: str, value: float) -> None:
    """At every position of a tile, alone and next to another tile's."""
    x, w, b = case.arrays()
    bound = magnitudes(x, w, b, case, name)
    for row, column in [(0, 0), (0, 5), (3, 3), (4, 4), (5, 6), (7, 8), (10, 13), (9, 2)]:
        spoiled = x.copy()
        spoiled[0, 3, row, column] = value
        got = gc.conv2d(spoiled, w, b, **case.arguments, algorithm=name)
        want = reference.conv(spoiled, w, b, **case.arguments)
        assert_within(got, want, bound, units(case))


@first_problems
def test_special_values_in_the_weight(case: Case, name: str) -> None:
    x, w, b = case.arrays()
    bound = magnitudes(x, w, b, case, name)
    for value, index in ((np.nan, (3, 2, 0, 1)), (np.inf, (0, 0, 0, 0)), (-np.inf, (-1, -1, 2, 2))):
        spoiled = w.copy()
        spoiled[index] = value
        got = gc.conv2d(x, spoiled, b, **case.arguments, algorithm=name)
        want = reference.conv(x, spoiled, b, **case.arguments)
        assert_within(got, want, bound, units(case))


@first_problems
def test_transforms_that_overflow(case: Case, name: str) -> None:
    """Inputs near the largest float32: the transforms overflow where the result does not."""
    x, w, b = case.arrays()
    x, w = (x / abs(x).max() * np.float32(3e38)), w * np.float32(1e-3)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm=name)
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(want).max() < 3e38
    assert_within(got, want, magnitudes(x, w, b, case, name), units(case))


@each_problem
def test_bits_do_not_depend_on_threads_or_batch(case: Case, name: str) -> None:
    x, w, b = case.arrays()

    def call(x: np.ndarray) -> np.ndarray:
        return gc.conv2d(x, w, b, **case.arguments, algorithm=name)

    with gc.num_threads(1):
        alone = call(x)
    for threads in (2, 3):
        with gc.num_threads(threads):
            assert_same_bits(call(x), alone)
    for image in range(case.batch):
        assert_same_bits(call(x[image : image + 1]), alone[image : image + 1])


@each_problem
def test_epilogue(case: Case, name: str) -> None:
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    options = {**case.arguments, "residual": residual}
    bound = magnitudes(x, w, b, case, name) + abs(residual)
    for activation in ("relu", "hardswish"):
        got = gc.conv2d(x, w, b, **options, activation=activation, algorithm=name)
        want = reference.conv(x, w, b, **options, activation=activation)
        assert_within(got, want, 1.5 * bound, units(case))  # no steeper than 3/2


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}], ids=str)
@pytest.mark.parametrize("name", [*KINDS, "winograd"])
def test_refusals_name_what_can(name: str, options: dict[str, int]) -> None:
    taps = KINDS[name].taps if name in KINDS else 3
    x, w = np.ones((1, 16, 19, 19), "f4"), np.ones((16, 16, taps, taps), "f4")
    with pytest.raises(ValueError, match=f"{name}.*direct"):
        gc.conv2d(x, w, **options, algorithm=name)


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("name", ["winograd_4x4", "winograd_2x2"])
@pytest.mark.parametrize(
    ("channels", "size", "groups"),
    [
        (64, 56, 1),
        (128, 28, 1),
        (256, 14, 1),
        (512, 7, 1),
        (512, 14, 1),
        (432, 14, 9),
        (48, 224, 1),
    ],
)
def test_a_thread_needs_less_than_two_mebibytes(
    channels: int, size: int, groups: int, name: str, ahead: bool
) -> None:
    """Also where it transforms weights itself, because no layer did so ahead."""
    x = np.empty((1, channels, size, size), "float32")
    w = np.empty((channels, channels // groups, 3, 3), "float32")
    arguments = conv_arguments(2, padding=1, groups=groups)
    problem = forward_problem(arguments, x, w, weights_ahead=ahead)
    text = Plan(replace(problem, algorithm=name)).explain()
    assert 0 < int(re.search(r"(\d+) bytes per thread", text)[1]) < 2 << 20
