"""Winograd's method along rows, and down columns: error bound, infinities and NaN, the same bits.

One dimension of what `test_winograd` describes: ``A^T [(G w) * (B^T x)]`` for each kernel row, or
column, summed over them, depths and channels before the last transform; a stride's phases are
summed up too. The bound is made of magnitudes likewise; down columns it is that of the problem with
rows and columns changed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from test_winograd import Kind, check_transforms, transforms

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import forward_problem

ROWS, COLUMNS = "winograd_1x4", "winograd_4x1"
POINTS = (0, 1, -1, 2, -2)
KINDS = {
    ROWS: Kind(4, 3, POINTS),
    COLUMNS: Kind(4, 3, POINTS),
    "winograd_3x1": Kind(3, 4, POINTS),
    "winograd_2x1": Kind(2, 5, POINTS),
}
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
WIDE_CASES = [  # down columns only: strides along rows, narrow maps
    Case((13, 20), (3, 3), 2, 8, 8, stride=(1, 2), padding=1),
    Case((9, 40), (3, 5), 1, 6, 9, padding=(1, 4), dilation=(1, 2)),
    Case((6, 33), (3, 2), 2, 12, 7, stride=(1, 3), padding=1, padding_mode="replicate"),
    Case((21, 2), (3, 3), 1, 8, 8, padding=1),
    Case((30, 1), (3, 1), 1, 24, 5, padding=(1, 0)),
    Case((5, 70), (3, 1), 1, 24, 5, padding=(1, 0)),
    Case((4, 5, 40), (3, 3, 3), 1, 9, 9, stride=(2, 1, 2), padding=1),
    Case((70, 60), (3, 3), 1, 48, 17, batch=1, padding=1),  # several boxes, and parts of them
    Case((9, 12, 50), (3, 3, 1), 1, 48, 3, batch=1, padding=(1, 1, 0)),
]
STRIDED_CASES = [  # kernels of other heights, and strides: each phase of rows has 3, 4 or 5
    (COLUMNS, Case((29, 30), (5, 5), 2, 8, 8, stride=2, padding=2)),
    (COLUMNS, Case((40, 23), (11, 3), 1, 3, 16, stride=(4, 1), padding=(2, 1))),
    (COLUMNS, Case((20, 21), (6, 2), 1, 12, 9, stride=(2, 1))),
    (COLUMNS, Case((9, 20), (6, 3), 2, 4, 4, stride=(2, 3), padding=[(1, 0), (0, 2)])),
    ("winograd_3x1", Case((31, 40), (7, 7), 1, 3, 17, stride=2, padding=3)),
    ("winograd_3x1", Case((12, 13), (4, 4), 2, 8, 8, padding=[(1, 2), (2, 1)])),
    ("winograd_3x1", Case((26, 9), (8, 1), 1, 9, 8, stride=(2, 1), padding=(3, 0))),
    ("winograd_3x1", Case((9, 8), (7, 3), 1, 4, 8, stride=2, padding=3, padding_mode="reflect")),
    ("winograd_3x1", Case((3, 20, 22), (3, 7, 7), 2, 4, 8, stride=(1, 2, 2), padding=(1, 3, 3))),
    (
        "winograd_3x1",  # boxes of all depths and some rows
        Case((4, 40, 60), (3, 7, 7), 1, 8, 5, batch=1, stride=(1, 2, 2), padding=(1, 3, 3)),
    ),
    ("winograd_2x1", Case((13, 14), (5, 5), 2, 4, 4, padding=2)),
    ("winograd_2x1", Case((9, 8), (5, 3), 1, 16, 16, padding=(4, 1), padding_mode="circular")),
    ("winograd_2x1", Case((40, 10), (10, 2), 1, 5, 6, stride=(2, 1), padding=(0, 1))),
    ("winograd_2x1", Case((8, 7), (5, 5), 1, 3, 20)),
]


def swapped(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.swapaxes(array, -1, -2))


def turned(case: Case) -> Case:
    """Rows and columns change over."""

    def swap(value: object) -> object:
        if isinstance(value, int):
            return value
        return type(value)([*value[:-2], value[-1], value[-2]])

    names = ("size", "kernel", "stride", "padding", "dilation")
    return case.but(**{name: swap(getattr(case, name)) for name in names})


def both(cases: list[Case], more: Sequence[Case] = ()) -> list[tuple[str, Case]]:
    problems = [(ROWS, case) for case in cases]
    problems += [(COLUMNS, turned(case)) for case in cases if case.ndim > 1]
    return problems + [(COLUMNS, case) for case in more]


def each(problems: list[tuple[str, Case]]) -> pytest.MarkDecorator:
    ids = [f"{name}-{case}" for name, case in problems]
    return pytest.mark.parametrize(("name", "case"), problems, ids=ids)


each_problem = each([*both(CASES, WIDE_CASES), *STRIDED_CASES])
some_problems = each([*both([*CASES[:5], CASES[11], CASES[18]]), *STRIDED_CASES[::3]])
each_name = pytest.mark.parametrize("name", [ROWS, COLUMNS])


def conv(name: str, case: Case, *operands: np.ndarray, **options: object) -> np.ndarray:
    """Call the public function with this algorithm."""
    call = function("conv", case.ndim)
    return call(*operands, **case.arguments, **options, algorithm=name)


def bound_of(name: str, x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case) -> np.ndarray:
    """Bound the error of each output in unit roundoffs and roundings."""
    if name == ROWS:
        return magnitudes(x, w, b, case, KINDS[name])
    return swapped(magnitudes(swapped(x), swapped(w), b, turned(case), KINDS[name]))


def magnitudes(x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case, kind: Kind) -> np.ndarray:
    """Of the outputs along rows, whose stride's phases are computed one by one."""
    pairs = reference.padding_pairs(case.padding, case.size, case.kernel)
    padded = reference.pad(abs(x), pairs, case.padding_mode)
    columns = -(-case.out_size[-1] // kind.outputs)
    total = np.zeros((case.batch, case.out_channels, *case.out_size[:-1], columns, 6))
    step = case.stride[-1] if isinstance(case.stride, tuple) else case.stride
    for phase in range(min(step, case.kernel[-1])):
        add_phase(total, padded[..., phase::step], abs(w[..., phase::step]), case, kind)
    tiles = np.einsum("ap,...p->...a", abs(transforms(kind)[0]), total)
    whole = tiles.reshape(*tiles.shape[:-2], columns * kind.outputs)[..., : case.out_size[-1]]
    return whole + abs(b).reshape(-1, *[1] * case.ndim)


def add_phase(total: np.ndarray, padded: np.ndarray, w: np.ndarray, case: Case, kind: Kind) -> None:
    """Add to sums of transformed products at each point of each tile."""
    _, g, bt = (abs(matrix) for matrix in transforms(kind))
    wide = total.shape[-2] * kind.outputs + kind.taps - 1
    ends = [(0, 0)] * (case.ndim - 1)
    padded = reference.pad(padded, [*ends, (0, max(wide - padded.shape[-1], 0))])[..., :wide]
    windows = np.lib.stride_tricks.sliding_window_view(padded, 6, axis=-1)
    data = np.einsum("pj,...xj->...xp", bt, windows[..., :: kind.outputs, :])
    taps = np.einsum("pj,...j->...p", g[:, : w.shape[-1]], w)
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


def units(case: Case) -> int:
    return min(case.in_per_group * int(np.prod(case.kernel)) // 3 + TRANSFORMS, 64)


@pytest.mark.parametrize("name", KINDS)
def test_transforms_compute_a_convolution(name: str) -> None:
    check_transforms(KINDS[name])


@each_problem
def test_bound(name: str, case: Case) -> None:
    """In every layout, input and output between guards."""
    x, w, b = case.arrays()
    want, bound = reference.conv(x, w, b, **case.arguments), bound_of(name, x, w, b, case)
    for layout in LAYOUTS:
        with guarded((case.batch, case.out_channels, *case.out_size), "float32", layout) as out:
            conv(name, case, place(x, layout), w, b, out=out)
        assert_within(out, want, bound, units(case))


@each_problem
def test_typical_error(name: str, case: Case) -> None:
    """On normal numbers it stays below 4e-6 of the largest output."""
    x, w, b = case.arrays()
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(conv(name, case, x, w, b) - want).max() < 4e-6 * abs(want).max()


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@some_problems
def test_other_dtypes(name: str, case: Case, dtype: np.dtype) -> None:
    x, w, b = case.arrays(dtype)
    bound = bound_of(name, *(array.astype("f8") for array in (x, w, b)), case)
    want = exact(reference.conv, x, w, b, **case.arguments)
    for layout in ("contiguous", "channels_last"):
        assert_within(conv(name, case, place(x, layout), w, b), want, bound, units(case))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("padding", [0, 1, (2, 1)], ids=str)
@pytest.mark.parametrize("channels", [(1, 16, 16), (2, 9, 20), (2, 33, 48)], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_transposed(
    name: str, channels: tuple[int, int, int], padding: object, layout: str
) -> None:
    """At stride 1 it is a convolution with the kernel turned round, padded by what is left."""
    case = Case((10, 13), (KINDS[name].taps, 3), *channels, padding=padding)
    x, w, b = case.transposed_arrays()
    with guarded(
        (case.batch, case.out_channels, *case.transposed_out_size), "float32", layout
    ) as out:
        gc.conv_transpose2d(
            place(x, layout), w, b, **case.transposed_arguments, algorithm=name, out=out
        )
    mirrored = w[:, :, ::-1, ::-1].reshape(case.groups, case.in_per_group, *w.shape[1:])
    mirrored = mirrored.swapaxes(1, 2).reshape(case.weight_shape)
    pairs = reference.padding_pairs(padding, case.size, case.kernel)
    same = case.but(
        padding=[
            (taps - 1 - before, taps - 1 - after)
            for taps, (before, after) in zip(case.kernel, pairs, strict=True)
        ]
    )
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    assert_within(out, want, bound_of(name, x, mirrored, b, same), units(case))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@each(
    both(
        [
            Case((4, 5, 6), (3, 2, 3), 2, 8, 16, padding=(1, 0, 1), dilation=(1, 2, 1)),
            Case((10, 13), (3, 3), 1, 16, 16, padding=(3, 4)),  # takes rows and columns away
            Case((2, 9), (3, 3), 1, 12, 16, padding=(1, 5)),
            Case((9,), (3,), 1, 32, 16, padding=1),
        ]
    )
)
def test_transposed_elsewhere(name: str, case: Case, layout: str) -> None:
    x, w, b = case.transposed_arrays()
    shape = (case.batch, case.out_channels, *case.transposed_out_size)
    with guarded(shape, "float32", layout) as out:
        call = function("conv_transpose", case.ndim)
        call(place(x, layout), w, b, **case.transposed_arguments, algorithm=name, out=out)
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    np.testing.assert_allclose(out, want, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@some_problems
def test_special_values_reach_their_windows_only(
    name: str, case: Case, layout: str, value: float
) -> None:
    """At every position of a tile, alone and next to another tile's, before an activation too."""
    x, w, b = case.arrays()
    bound = bound_of(name, x, w, b, case)
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    for index in [(0, 0), (0, 5), (3, 3), (4, 4), (5, 6), (1, 2)]:
        spoiled = x.copy()
        place_of = index if name == ROWS else index[::-1]
        spoiled[(0, case.in_channels // 2, *(0,) * (case.ndim - 2), *place_of)] = value
        want = reference.conv(spoiled, w, b, **case.arguments)
        assert_within(conv(name, case, place(spoiled, layout), w, b), want, bound, units(case))
        options = {"residual": place(residual, layout), "activation": "relu"}
        got = conv(name, case, place(spoiled, layout), w, b, **options)
        want = reference.conv(spoiled, w, b, **case.arguments, **options)
        assert_within(got, want, bound + abs(residual), units(case))


@some_problems
def test_special_values_in_the_weight(name: str, case: Case) -> None:
    x, w, b = case.arrays()
    bound = bound_of(name, x, w, b, case)
    rest = (0,) * (case.ndim - 1)
    for value, index in ((np.nan, (3, 2, *rest, -1)), (np.inf, (0, 0, *rest, 0))):
        spoiled = w.copy()
        spoiled[index] = value
        want = reference.conv(x, spoiled, b, **case.arguments)
        assert_within(conv(name, case, x, spoiled, b), want, bound, units(case))


@some_problems
def test_transforms_that_overflow(name: str, case: Case) -> None:
    """Inputs near the largest float32: the transforms overflow where the result does not."""
    x, w, b = case.arrays()
    x, w = (x / abs(x).max() * np.float32(3e38)), w * np.float32(1e-3)
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(want).max() < 3e38
    assert_within(conv(name, case, x, w, b), want, bound_of(name, x, w, b, case), units(case))


@each_problem
def test_bits_do_not_depend_on_threads_or_batch(name: str, case: Case) -> None:
    """Nor do those of results that wait for their rows: of an activation that is no clamp."""
    x, w, b = case.arrays()
    for options in ({}, {"activation": "hardswish"}):
        with gc.num_threads(1):
            alone = conv(name, case, x, w, b, **options)
        for threads in (2, 3, 5, 8):
            with gc.num_threads(threads):
                assert_same_bits(conv(name, case, x, w, b, **options), alone)
        for image in range(case.batch):
            got = conv(name, case, x[image : image + 1], w, b, **options)
            assert_same_bits(got, alone[image : image + 1])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@each_problem
def test_epilogue(name: str, case: Case, layout: str) -> None:
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    bound = bound_of(name, x, w, b, case) + abs(residual)
    options = {"residual": place(residual, layout)}
    for activation in ("relu", "hardswish"):
        with guarded((case.batch, case.out_channels, *case.out_size), "float32", layout) as out:
            conv(name, case, place(x, layout), w, b, **options, activation=activation, out=out)
        want = reference.conv(x, w, b, **case.arguments, **options, activation=activation)
        assert_within(out, want, 1.5 * bound, units(case))  # no steeper than 3/2


@each_name
def test_layer_prepares_weights(name: str) -> None:
    """A layer's prepared weights give the bits of a call that prepares them itself."""
    case = CASES[2]
    x, w, b = case.arrays()
    layer = gc.Conv2d(60, 72, 3, padding=1, groups=3, algorithm=name)
    layer.load_state_dict({"weight": w, "bias": b})
    assert_same_bits(layer(x), conv(name, case, x, w, b))


@pytest.mark.parametrize(
    ("name", "options", "kernel", "why"),
    [
        (ROWS, {"stride": 2}, (3, 3), "stride 1"),
        (ROWS, {"stride": (2, 1)}, (3, 3), "stride 1"),
        (ROWS, {"dilation": 2}, (3, 3), "columns of dilation 1"),
        (ROWS, {}, (3, 4), "a kernel of 3 columns"),
        (COLUMNS, {"stride": 2}, (3, 3), "a kernel of 3 rows, times the stride"),
        (COLUMNS, {"dilation": (2, 1)}, (3, 3), "rows of dilation 1"),
        (COLUMNS, {}, (4, 3), "a kernel of 3 rows"),
        ("winograd_3x1", {"stride": (2, 1)}, (4, 3), "a kernel of 4 rows, times the stride"),
        ("winograd_3x1", {}, (3, 3), "a kernel of 4 rows"),
        ("winograd_2x1", {}, (6, 3), "a kernel of 5 rows"),
    ],
    ids=str,
)
def test_refusals(name: str, options: dict[str, int], kernel: tuple[int, int], why: str) -> None:
    x, w = np.ones((1, 16, 19, 19), "f4"), np.ones((16, 16, *kernel), "f4")
    with pytest.raises(ValueError, match=f"{name}.*{why}.*direct"):
        gc.conv2d(x, w, **options, algorithm=name)


def test_a_transposed_one_of_stride_2_is_refused() -> None:
    x, w = np.ones((1, 16, 9, 9), "f4"), np.ones((16, 16, 3, 3), "f4")
    for name in (ROWS, COLUMNS):
        with pytest.raises(ValueError, match=f"{name}.*stride 1"):
            gc.conv_transpose2d(x, w, stride=(1, 2), algorithm=name)


@each_name
def test_few_products_are_refused(name: str) -> None:
    """Where its error would be larger than that of the sum itself."""
    x = np.ones((1, 16, 9, 9), "f4")
    for channels, able in ((1, False), (4, False), (8, True)):
        w = np.ones((16, channels, 3, 3), "f4")
        names = algorithms(gc.conv2d, x, w, groups=16 // channels)
        assert (name in names) == able
    w = np.ones((16, 16, 1, 3) if name == ROWS else (16, 16, 3, 1), "f4")
    assert name not in algorithms(gc.conv2d, x, w)


def plan(
    name: str,
    channels: int,
    size: int,
    groups: int,
    kernel: tuple[int, int],
    layout: str = "contiguous",
) -> Plan:
    x = place(np.zeros((1, channels, size, size), "f4"), layout)
    w = np.zeros((channels, channels // groups, *kernel), "f4")
    problem = forward_problem(conv_arguments(2, padding="same", groups=groups), x, w)
    return Plan(with_changes(problem, algorithm=name))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("name", "channels", "size", "groups", "kernel"),
    [
        (ROWS, 64, 56, 1, (3, 3)),
        (ROWS, 512, 7, 1, (9, 3)),
        (ROWS, 1024, 7, 32, (3, 3)),
        (ROWS, 48, 224, 1, (3, 3)),
        (ROWS, 96, 300, 2, (9, 3)),
        (ROWS, 512, 48, 1, (6, 3)),
        (ROWS, 512, 64, 1, (3, 3)),
        (COLUMNS, 64, 56, 1, (3, 3)),
        (COLUMNS, 512, 7, 1, (3, 9)),
        (COLUMNS, 96, 300, 1, (3, 9)),
        (COLUMNS, 512, 50, 1, (3, 9)),
        (COLUMNS, 8, 3000, 1, (3, 3)),
        ("winograd_3x1", 96, 112, 1, (4, 4)),
        ("winograd_2x1", 96, 112, 1, (5, 5)),
    ],
)
def test_a_thread_needs_less_than_two_mebibytes(
    name: str, channels: int, size: int, groups: int, kernel: tuple[int, int], layout: str
) -> None:
    text = plan(name, channels, size, groups, kernel, layout).explain()
    assert 0 < int(re.search(r"(\d+) bytes per thread", text)[1]) < 2 << 20


def test_windows_that_would_need_more_are_refused() -> None:
    with pytest.raises(ValueError, match=f"{ROWS}.*windows of an output row.*direct"):
        plan(ROWS, 512, 50, 1, (9, 3))
    with pytest.raises(ValueError, match=f"{COLUMNS}.*windows of a row.*direct"):
        plan(COLUMNS, 512, 56, 1, (3, 9))
