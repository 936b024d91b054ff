"""Winograd's F(4, 3) along rows: its error bound, infinities and NaN, overflow, the same bits.

One dimension of what `test_winograd` describes: ``A^T [(G w) * (B^T x)]`` for each kernel row,
summed over rows, depths and channels before the last transform. The bound is made of magnitudes
likewise.
"""

from __future__ import annotations

import re
from dataclasses import replace as with_changes
from itertools import product

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
    function,
    guarded,
    place,
)
from test_winograd import Kind, transforms

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import forward_problem

NAME = "winograd_1x4"
AT, G, BT = transforms(Kind(4, 3, (0, 1, -1, 2, -2)))
# Roundings of a product on its way: 4 in either transform before, 5 after, bias, residual.
TRANSFORMS = 15

CASES = [
    Case((7, 7), (3, 3), 2, 32, 32, padding=1),
    Case((14, 14), (3, 3), 2, 16, 16, padding=1),
    Case((12, 13), (3, 3), 3, 20, 24, padding=1),
    Case((9, 14), (3, 3), 4, 8, 8, padding=1),  # two groups share a vector of AVX-512
    Case((10, 7), (3, 3), 3, 8, 8, padding=(2, 1)),
    Case((28, 28), (3, 3), 2, 40, 33, batch=1, padding=1),
    Case((9, 10), (3, 3), 1, 17, 50),
    Case((9, 10), (3, 3), 1, 16, 8, padding=[(2, 0), (1, 3)]),
    Case((9, 10), (3, 3), 1, 16, 40, padding=2, padding_mode="reflect"),
    Case((6, 9), (3, 3), 2, 8, 3, padding=1, padding_mode="circular"),
    Case((29, 35), (3, 3), 1, 48, 70, batch=1, padding=1),
    Case((11, 12), (5, 3), 2, 16, 16, padding=(2, 1)),
    Case((11, 12), (4, 3), 1, 18, 16, padding=(3, 0), dilation=(3, 1)),
    Case((8, 3), (1, 3), 2, 24, 33, padding=(0, 1)),
    Case((1, 1), (3, 3), 1, 33, 34, padding=1),
    Case((2, 5), (3, 3), 1, 8, 16, padding=3),
    Case((30,), (3,), 2, 24, 32, padding=1),
    Case((5, 6, 7), (3, 3, 3), 2, 16, 16, padding=1),
    Case((4, 6, 9), (3, 3, 3), 5, 4, 4, padding=1),  # four groups share a vector of AVX-512
    Case((3, 4, 6), (2, 4, 3), 4, 4, 4, padding=1),
    Case((7, 6, 9), (2, 3, 3), 1, 8, 40, padding=(1, 0, 2), stride=(2, 1, 1), dilation=(2, 2, 1)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
some_cases = pytest.mark.parametrize("case", [*CASES[:5], CASES[11], CASES[18]], ids=str)


def conv(case: Case, *operands: np.ndarray, **options: object) -> np.ndarray:
    """Call the public function with this algorithm."""
    call = function("conv", case.ndim)
    return call(*operands, **case.arguments, **options, algorithm=NAME)


def magnitudes(x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case) -> np.ndarray:
    """Bound the error of each output in unit roundoffs and roundings."""
    pairs = reference.padding_pairs(case.padding, case.size, case.kernel)
    padded = reference.pad(abs(x), pairs, case.padding_mode)
    columns = -(-case.out_size[-1] // 4)
    missing = (0, columns * 4 + 2 - padded.shape[-1])
    padded = reference.pad(padded, [(0, 0)] * (case.ndim - 1) + [missing])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 6, axis=-1)[..., ::4, :]
    data = np.einsum("pj,...xj->...xp", abs(BT), windows)
    taps = np.einsum("pj,...j->...p", abs(G), abs(w))
    total = np.zeros((case.batch, case.out_channels, *case.out_size[:-1], columns, 6))
    stride, dilation = (
        value if isinstance(value, tuple) else (value,) * case.ndim
        for value in (case.stride, case.dilation)
    )
    for tap in product(*map(range, case.kernel[:-1])):
        at = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, s, n in zip(tap, dilation, stride, case.out_size[:-1], strict=False)
        )
        part = data[(slice(None), slice(None), *at)]
        part = part.reshape(case.batch, case.groups, case.in_per_group, *part.shape[2:])
        own = taps[(slice(None), slice(None), *tap)]
        own = own.reshape(case.groups, case.out_per_group, case.in_per_group, 6)
        total += np.einsum("ngc...p,gkcp->ngk...p", part, own).reshape(total.shape)
    tiles = np.einsum("ap,...p->...a", abs(AT), total)
    whole = tiles.reshape(*tiles.shape[:-2], columns * 4)[..., : case.out_size[-1]]
    return whole + abs(b).reshape(-1, *[1] * case.ndim)


def units(case: Case) -> int:
    return min(case.in_per_group * int(np.prod(case.kernel[:-1])) + TRANSFORMS, 64)


@each_case
def test_bound(case: Case) -> None:
    """In every layout, input and output between guards."""
    x, w, b = case.arrays()
    want, bound = reference.conv(x, w, b, **case.arguments), magnitudes(x, w, b, case)
    for layout in LAYOUTS:
        with guarded((case.batch, case.out_channels, *case.out_size), "float32", layout) as out:
            conv(case, place(x, layout), w, b, out=out)
        assert_within(out, want, bound, units(case))


@each_case
def test_typical_error(case: Case) -> None:
    """On normal numbers it stays below 4e-6 of the largest output."""
    x, w, b = case.arrays()
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(conv(case, x, w, b) - want).max() < 4e-6 * abs(want).max()


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@some_cases
def test_other_dtypes(case: Case, dtype: np.dtype) -> None:
    x, w, b = case.arrays(dtype)
    bound = magnitudes(*(array.astype("f8") for array in (x, w, b)), case)
    want = exact(reference.conv, x, w, b, **case.arguments)
    for layout in ("contiguous", "channels_last"):
        assert_within(conv(case, place(x, layout), w, b), want, bound, units(case))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("padding", [0, 1, (2, 1)], ids=str)
@pytest.mark.parametrize("channels", [(1, 16, 16), (2, 9, 20), (2, 33, 48)], ids=str)
def test_transposed(channels: tuple[int, int, int], padding: object, layout: str) -> None:
    """At stride 1 it is a convolution with the kernel turned round, padded by what is left."""
    case = Case((10, 13), (3, 3), *channels, padding=padding)
    x, w, b = case.transposed_arrays()
    with guarded(
        (case.batch, case.out_channels, *case.transposed_out_size), "float32", layout
    ) as out:
        gc.conv_transpose2d(
            place(x, layout), w, b, **case.transposed_arguments, algorithm=NAME, out=out
        )
    turned = w[:, :, ::-1, ::-1].reshape(case.groups, case.in_per_group, *w.shape[1:])
    turned = turned.swapaxes(1, 2).reshape(case.weight_shape)
    pairs = reference.padding_pairs(padding, case.size, case.kernel)
    same = case.but(padding=[(2 - before, 2 - after) for before, after in pairs])
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    assert_within(out, want, magnitudes(x, turned, b, same), units(case))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "case",
    [
        Case((4, 5, 6), (3, 2, 3), 2, 8, 16, padding=(1, 0, 1), dilation=(1, 2, 1)),
        Case((10, 13), (3, 3), 1, 16, 16, padding=(3, 4)),  # takes rows and columns away
        Case((2, 9), (3, 3), 1, 12, 16, padding=(1, 5)),
        Case((9,), (3,), 1, 32, 16, padding=1),
    ],
    ids=str,
)
def test_transposed_elsewhere(case: Case, layout: str) -> None:
    x, w, b = case.transposed_arrays()
    shape = (case.batch, case.out_channels, *case.transposed_out_size)
    with guarded(shape, "float32", layout) as out:
        call = function("conv_transpose", case.ndim)
        call(place(x, layout), w, b, **case.transposed_arguments, algorithm=NAME, out=out)
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    np.testing.assert_allclose(out, want, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@some_cases
def test_special_values_reach_their_windows_only(case: Case, layout: str, value: float) -> None:
    """At every position of a tile, alone and next to another tile's, before an activation too."""
    x, w, b = case.arrays()
    bound = magnitudes(x, w, b, case)
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    for index in [(0, 0), (0, 5), (3, 3), (4, 4), (5, 6), (1, 2)]:
        spoiled = x.copy()
        spoiled[(0, 3, *(0,) * (case.ndim - 2), *index)] = value
        want = reference.conv(spoiled, w, b, **case.arguments)
        assert_within(conv(case, place(spoiled, layout), w, b), want, bound, units(case))
        options = {"residual": place(residual, layout), "activation": "relu"}
        got = conv(case, place(spoiled, layout), w, b, **options)
        want = reference.conv(spoiled, w, b, **case.arguments, **options)
        assert_within(got, want, bound + abs(residual), units(case))


@some_cases
def test_special_values_in_the_weight(case: Case) -> None:
    x, w, b = case.arrays()
    bound = magnitudes(x, w, b, case)
    rest = (0,) * (case.ndim - 1)
    for value, index in ((np.nan, (3, 2, *rest, 1)), (np.inf, (0, 0, *rest, 0))):
        spoiled = w.copy()
        spoiled[index] = value
        want = reference.conv(x, spoiled, b, **case.arguments)
        assert_within(conv(case, x, spoiled, b), want, bound, units(case))


@some_cases
def test_transforms_that_overflow(case: Case) -> None:
    """Inputs near the largest float32: the transforms overflow where the result does not."""
    x, w, b = case.arrays()
    x, w = (x / abs(x).max() * np.float32(3e38)), w * np.float32(1e-3)
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(want).max() < 3e38
    assert_within(conv(case, x, w, b), want, magnitudes(x, w, b, case), units(case))


@each_case
def test_bits_do_not_depend_on_threads_or_batch(case: Case) -> None:
    x, w, b = case.arrays()
    with gc.num_threads(1):
        alone = conv(case, x, w, b)
    for threads in (2, 3):
        with gc.num_threads(threads):
            assert_same_bits(conv(case, x, w, b), alone)
    for image in range(case.batch):
        assert_same_bits(conv(case, x[image : image + 1], w, b), alone[image : image + 1])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@each_case
def test_epilogue(case: Case, layout: str) -> None:
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    bound = magnitudes(x, w, b, case) + abs(residual)
    options = {"residual": place(residual, layout)}
    for activation in ("relu", "hardswish"):
        with guarded((case.batch, case.out_channels, *case.out_size), "float32", layout) as out:
            conv(case, place(x, layout), w, b, **options, activation=activation, out=out)
        want = reference.conv(x, w, b, **case.arguments, **options, activation=activation)
        assert_within(out, want, 1.5 * bound, units(case))  # no steeper than 3/2


def test_layer_prepares_weights() -> None:
    """A layer's prepared weights give the bits of a call that prepares them itself."""
    case = CASES[2]
    x, w, b = case.arrays()
    layer = gc.Conv2d(60, 72, 3, padding=1, groups=3, algorithm=NAME)
    layer.load_state_dict({"weight": w, "bias": b})
    assert_same_bits(layer(x), conv(case, x, w, b))


@pytest.mark.parametrize(
    ("options", "kernel", "why"),
    [
        ({"stride": 2}, (3, 3), "stride 1"),
        ({"stride": (2, 1)}, (3, 3), "stride 1"),
        ({"dilation": 2}, (3, 3), "columns of dilation 1"),
        ({}, (3, 4), "a kernel of 3 columns"),
    ],
    ids=str,
)
def test_refusals(options: dict[str, int], kernel: tuple[int, int], why: str) -> None:
    x, w = np.ones((1, 16, 19, 19), "f4"), np.ones((16, 16, *kernel), "f4")
    with pytest.raises(ValueError, match=f"{NAME}.*{why}.*direct"):
        gc.conv2d(x, w, **options, algorithm=NAME)


def test_few_products_are_refused() -> None:
    """Where its error would be larger than that of the sum itself."""
    x = np.ones((1, 16, 9, 9), "f4")
    for channels, able in ((1, False), (4, False), (8, True)):
        w = np.ones((16, channels, 3, 3), "f4")
        names = algorithms(gc.conv2d, x, w, groups=16 // channels)
        assert (NAME in names) == able
    w = np.ones((16, 16, 1, 3), "f4")
    assert NAME not in algorithms(gc.conv2d, x, w)


def plan(channels: int, size: int, groups: int, rows: int, layout: str = "contiguous") -> Plan:
    x = place(np.zeros((1, channels, size, size), "f4"), layout)
    w = np.zeros((channels, channels // groups, rows, 3), "f4")
    problem = forward_problem(conv_arguments(2, padding="same", groups=groups), x, w)
    return Plan(with_changes(problem, algorithm=NAME))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("channels", "size", "groups", "rows"),
    [
        (64, 56, 1, 3),
        (512, 7, 1, 9),
        (1024, 7, 32, 3),
        (48, 224, 1, 3),
        (96, 300, 2, 9),
        (512, 48, 1, 6),
        (512, 64, 1, 3),
    ],
)
def test_a_thread_needs_less_than_two_mebibytes(
    channels: int, size: int, groups: int, rows: int, layout: str
) -> None:
    text = plan(channels, size, groups, rows, layout).explain()
    assert 0 < int(re.search(r"(\d+) bytes per thread", text)[1]) < 2 << 20


def test_windows_that_would_need_more_are_refused() -> None:
    with pytest.raises(ValueError, match=f"{NAME}.*windows of an output row.*direct"):
        plan(512, 50, 1, 9)
