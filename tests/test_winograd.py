"""Winograd's convolution: its own error bound, infinities and NaN, overflow inside, the same bits.

F(m x m, r x r) evaluates at the points 0, 1, -1, 2, -2 and infinity, and computes each tile of
m x m outputs as ``A^T [sum over c of (G w G^T) * (B^T x B)] A`` (Lavin and Gray, "Fast algorithms
for convolutional neural networks", CVPR 2016). Every step is a sum of products, so the magnitudes
``|A^T| [sum over c of (|G| |w| |G^T|) * (|B^T| |x| |B|)] |A|`` bound the error of each output in
unit roundoffs, times the number of roundings on the way (Higham, chapter 3, applied step by step).
"""

from __future__ import annotations

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

POINTS = np.array([0.0, 1.0, -1.0, 2.0, -2.0])
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
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def transforms(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices A^T, G and B^T of the Cook-Toom algorithm for these points."""
    size = outputs + taps - 1
    at, g, bt = np.zeros((outputs, size)), np.zeros((size, taps)), np.zeros((size, size))
    for j, point in enumerate(POINTS):
        others = np.delete(POINTS, j)
        at[:, j] = point ** np.arange(outputs)
        g[j] = point ** np.arange(taps) / np.prod(point - others)
        bt[j, :-1] = np.poly(others)[::-1]
    at[-1, -1] = g[-1, -1] = 1
    bt[-1] = np.poly(POINTS)[::-1]
    return at, g, bt


def magnitudes(x: np.ndarray, w: np.ndarray, case: Case, tile: int = 4) -> np.ndarray:
    """The bound above, for tiles that start at the first output."""
    at, g, bt = (abs(matrix) for matrix in transforms(tile, case.kernel[0]))
    size = len(bt)
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
    return whole[:, :, : case.out_size[0], : case.out_size[1]]


def units(case: Case) -> int:
    return min(case.in_per_group + TRANSFORMS, 64)


def test_transforms_compute_a_convolution() -> None:
    rng = np.random.default_rng(0)
    for outputs, taps in ((4, 3), (2, 5)):
        at, g, bt = transforms(outputs, taps)
        x, w = rng.standard_normal(outputs + taps - 1), rng.standard_normal(taps)
        np.testing.assert_allclose(at @ ((g @ w) * (bt @ x)), np.correlate(x, w), rtol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@each_case
def test_bound(case: Case, layout: str) -> None:
    x, w, b = case.arrays()
    with guarded((case.batch, case.out_channels, *case.out_size), "float32", layout) as out:
        gc.conv2d(place(x, layout), w, b, **case.arguments, algorithm="winograd", out=out)
    want = reference.conv(x, w, b, **case.arguments)
    bound = magnitudes(x, w, case) + abs(b)[:, None, None]
    assert_within(out, want, bound, units(case))


@each_case
def test_typical_error(case: Case) -> None:
    """On normal numbers it stays below 1e-5 of the largest output, as documented."""
    x, w, b = case.arrays()
    want = reference.conv(x, w, b, **case.arguments)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm="winograd")
    assert abs(got - want).max() < 1e-5 * abs(want).max()


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
def test_other_dtypes(dtype: np.dtype) -> None:
    case = CASES[2]
    x, w, b = case.arrays(dtype)
    names = algorithms(gc.conv2d, x, w, b, **case.arguments)
    bound = magnitudes(x.astype("f8"), w.astype("f8"), case) + abs(b.astype("f8"))[:, None, None]
    want = exact(reference.conv, x, w, b, **case.arguments)
    for name in {"winograd", "auto"} & {*names, "auto"}:
        got = gc.conv2d(x, w, b, **case.arguments, algorithm=name)
        assert_within(got, want, bound, units(case))


def test_direct_avoids_it() -> None:
    case = CASES[0]
    x, w, b = case.arrays()
    direct = gc.conv2d(x, w, b, **case.arguments, algorithm="direct")
    winograd = gc.conv2d(x, w, b, **case.arguments, algorithm="winograd")
    assert (direct != winograd).any()
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    assert_within(direct, reference.conv(x, w, b, **case.arguments), bound)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_special_values_reach_their_windows_only(case: Case, value: float) -> None:
    """At every position of a tile, alone and next to another tile's."""
    x, w, b = case.arrays()
    for position in [(0, 0), (0, 5), (3, 3), (4, 4), (5, 6), (7, 8), (10, 13), (9, 2)]:
        spoiled = x.copy()
        spoiled[0, 3, position[0], position[1]] = value
        got = gc.conv2d(spoiled, w, b, **case.arguments, algorithm="winograd")
        want = reference.conv(spoiled, w, b, **case.arguments)
        bound = magnitudes(x, w, case) + abs(b)[:, None, None]
        assert_within(got, want, bound, units(case))


def test_special_values_in_the_weight() -> None:
    case = CASES[2]
    x, w, b = case.arrays()
    for value, index in ((np.nan, (3, 2, 0, 1)), (np.inf, (0, 0, 0, 0)), (-np.inf, (39, 11, 2, 2))):
        spoiled = w.copy()
        spoiled[index] = value
        got = gc.conv2d(x, spoiled, b, **case.arguments, algorithm="winograd")
        want = reference.conv(x, spoiled, b, **case.arguments)
        bound = magnitudes(x, w, case) + abs(b)[:, None, None]
        assert_within(got, want, bound, units(case))


def test_transforms_that_overflow() -> None:
    """Inputs near the largest float32: the transforms overflow where the result does not."""
    case = CASES[1]
    x, w, b = case.arrays()
    x, w = (x / abs(x).max() * np.float32(3e38)), w * np.float32(1e-3)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm="winograd")
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(want).max() < 3e38
    assert np.isfinite(got).all()
    assert_within(got, want, magnitudes(x, w, case) + abs(b)[:, None, None], units(case))


@each_case
def test_bits_do_not_depend_on_threads_or_batch(case: Case) -> None:
    x, w, b = case.arrays()

    def call(x: np.ndarray) -> np.ndarray:
        return gc.conv2d(x, w, b, **case.arguments, algorithm="winograd")

    with gc.num_threads(1):
        alone = call(x)
    for threads in (2, 3):
        with gc.num_threads(threads):
            assert_same_bits(call(x), alone)
    for image in range(case.batch):
        assert_same_bits(call(x[image : image + 1]), alone[image : image + 1])


@each_case
def test_epilogue(case: Case) -> None:
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    options = {**case.arguments, "residual": residual}
    bound = magnitudes(x, w, case) + abs(b)[:, None, None] + abs(residual)
    for activation in ("relu", "hardswish"):
        got = gc.conv2d(x, w, b, **options, activation=activation, algorithm="winograd")
        want = reference.conv(x, w, b, **options, activation=activation)
        assert_within(got, want, 1.5 * bound, units(case))


def test_refusals_name_what_can() -> None:
    x, w = np.ones((1, 16, 9, 9), "f4"), np.ones((16, 16, 3, 3), "f4")
    for options in ({"stride": 2}, {"dilation": 2}):
        with pytest.raises(ValueError, match="winograd.*direct"):
            gc.conv2d(x, w, **options, algorithm="winograd")
