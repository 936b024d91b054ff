"""Depthwise and narrow groups, channels in the lanes, by square kernels: read in place."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import FLOATS, Case, assert_same_bits, assert_within, check_conv, guarded, place

import groupconv as gc
from groupconv import reference

NAME = "channel_lanes"
each_kernel = pytest.mark.parametrize("kernel", [3, 5, 7])
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def check(case: Case, dtype: np.dtype | str = "float32", layout: str = "channels_last") -> None:
    check_conv(case, dtype, layout, algorithm=NAME)


def square(kernel: int, height: int, width: int, channels: int, **changes: object) -> Case:
    return Case((height, width), (kernel, kernel), channels, padding=kernel // 2).but(**changes)


def plan_of(case: Case) -> str:
    x, w, b = case.arrays()
    layer = gc.Conv2d.from_weight(w, b, **case.arguments, algorithm=NAME)
    return layer.plan(x.shape, channels_last=True).explain()


def test_it_reads_in_place() -> None:
    assert "in place" in plan_of(square(3, 9, 11, 24))
    assert "in place" in plan_of(square(5, 7, 9, 128, stride=2))
    assert "in place" in plan_of(square(3, 9, 11, 24, in_per_group=2, out_per_group=2))
    assert "strips" in plan_of(square(3, 9, 11, 1024))  # columns collide in the cache
    assert "strips" in plan_of(Case((9, 11), (3, 5), 24))


@each_dtype
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13])
@each_kernel
def test_rows_around_a_tile(kernel: int, height: int, dtype: np.dtype) -> None:
    for stride in (1, 2):
        for channels in (16, 21):
            check(square(kernel, height, 10, channels, stride=stride), dtype)


@each_dtype
@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 7, 8, 11, 33])
@each_kernel
def test_widths(kernel: int, width: int, dtype: np.dtype) -> None:
    for stride in (1, 2):
        check(square(kernel, 6, width, 19, stride=stride), dtype)
        check(square(kernel, 9, width + kernel, 32, stride=stride, padding=0), dtype)


@each_dtype
@pytest.mark.parametrize("channels", [1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 40])
def test_channels(channels: int, dtype: np.dtype) -> None:
    for kernel, stride in ((3, 2), (5, 1), (7, 1)):
        check(square(kernel, 9, 9, channels, stride=stride), dtype)


@each_kernel
def test_padding_on_every_side(kernel: int) -> None:
    for stride in (1, 2):
        for padding in ([(0, kernel - 1), (1, 2)], [(2, 0), (kernel, 0)], [(9, 9), (8, 9)]):
            check(square(kernel, 8, 9, 20, stride=stride, padding=padding))


@each_dtype
@pytest.mark.parametrize("dilation", [2, 3, (2, 1), (1, 4), (9, 9)], ids=str)
@each_kernel
def test_dilation(kernel: int, dilation: int | tuple[int, int], dtype: np.dtype) -> None:
    by = np.broadcast_to(dilation, 2)
    padding = [(int(d) * (kernel // 2),) * 2 for d in by]
    for height, width in ((5, 8), (11, 13)):
        case = square(kernel, height, width, 21, padding=padding, dilation=dilation)
        check(case, dtype)


@each_dtype
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kinds", [(5, 4, 4), (9, 2, 3), (3, 8, 1), (7, 1, 2), (33, 1, 4)], ids=str)
def test_groups_that_share_vectors(
    kinds: tuple[int, int, int], stride: int, dtype: np.dtype
) -> None:
    for height in (3, 4, 9):
        case = Case((height, 10), (3, 3), *kinds, stride=stride, padding=1)
        check(case, dtype)
        if stride == 1:
            check(case.but(dilation=2, padding=2), dtype)


def test_blocks_of_vectors() -> None:
    """Rows so wide that a second-level cache does not hold a tile of all of their channels."""
    check(square(3, 9, 400, 65, batch=1))
    check(square(5, 9, 300, 48, batch=1, stride=2))


def blocks(kernel: int, stride: int, width: int, **changes: object) -> Case:
    """A map of so many channels that its columns go in blocks."""
    return square(kernel, 6, width, 277, batch=1, stride=stride, **changes)


def columns_of(case: Case) -> int:
    """Columns of a block."""
    found = re.search(r"tiles of \d+ rows, (\d+) columns", plan_of(case))
    assert found
    return int(found[1])


@each_dtype
@pytest.mark.parametrize("width", [1, 16, 19, 29, 57, 64])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_blocks_of_columns(kernel: int, stride: int, width: int, dtype: np.dtype) -> None:
    case = blocks(kernel, stride, width)
    if width > 56:
        assert columns_of(case) < case.out_size[1]
    check(case, dtype)
    check(case.but(padding=[(1, 1), (0, kernel + 2)]), dtype)


@pytest.mark.parametrize("dilation", [2, 3, 4])
def test_blocks_of_columns_apart(dilation: int) -> None:
    case = blocks(3, 1, 83, dilation=dilation, padding=dilation)
    assert columns_of(case) * dilation < 80
    check(case)


def test_blocks_of_columns_of_groups() -> None:
    for stride in (1, 2):
        case = Case((6, 61), (3, 3), 70, 2, 2, stride=stride, padding=1)
        assert columns_of(case) < case.out_size[1]
        check(case)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_finish_their_columns(stride: int, activation: str) -> None:
    """Residuals and activations, and what is not finite: the bits of columns in other blocks."""
    case = blocks(3, stride, 70, padding=0)
    x, w, b = case.arrays()
    x[0, 0, 3, 20], x[0, -1, 2, 40] = np.inf, np.nan
    residual = case.draw("residual", (1, 277, *case.out_size))
    x, residual = place(x, "channels_last"), place(residual, "channels_last")
    options = {**case.arguments, "activation": activation, "algorithm": NAME}
    whole = gc.conv2d(x, w, b, residual=residual, **options)
    for first, last in ((0, 3), (5, 14), (1, 31), (20, 34)):
        part = gc.conv2d(
            x[..., first * stride : (last - 1) * stride + 3],
            w,
            b,
            residual=residual[..., first:last],
            **options,
        )
        assert_same_bits(part, whole[..., first:last])


@each_dtype
def test_layouts(dtype: np.dtype) -> None:
    for layout in ("channels_last", "channels_last_slice", "axes_reversed"):
        check(square(3, 9, 9, 24), dtype, layout)


@pytest.mark.parametrize("activation", ["relu", "relu6", "gelu", ("leaky_relu", 0.2)], ids=str)
def test_epilogue(activation: object) -> None:
    for kernel, height, channels in ((3, 6, 21), (5, 5, 16), (7, 4, 40)):
        case = square(kernel, height, 9, channels)
        x, w, b = case.arrays()
        residual = case.draw("residual", (2, channels, height, 9))
        options = {**case.arguments, "activation": activation}
        want = reference.conv(
            *(array.astype("f8") for array in (x, w, b)),
            residual=residual.astype("f8"),
            **options,
        )
        bound = reference.error_bound(reference.conv, x, w, b, **case.arguments) + abs(residual)
        x, last = place(x, "channels_last"), place(residual, "channels_last")
        with guarded(want.shape, x.dtype, "channels_last") as out:
            gc.conv2d(x, w, b, residual=last, **options, out=out, algorithm=NAME)
        assert_within(out, want, bound)


@each_kernel
def test_what_is_not_finite(kernel: int) -> None:
    """It stays in its window; a weight that is not finite meets the zeros of the padding."""
    for height, channels in ((9, 21), (4, 32)):
        case = square(kernel, height, 11, channels)
        x, w, b = case.arrays()
        x[1, 0, 3, 8], x[0, -1, 0, 10] = np.inf, np.nan
        for spoilt in (w, np.where(np.arange(w.size).reshape(w.shape) == kernel, np.inf, w)):
            last = place(x, "channels_last")
            got = gc.conv2d(last, spoilt, b, **case.arguments, algorithm=NAME)
            want = reference.conv(x, spoilt, b, **case.arguments)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


def test_bits_do_not_depend_on_place() -> None:
    """Rows of a taller map, images of a larger batch and more threads: the same sums."""
    for kernel in (3, 5, 7):
        case = square(kernel, 20, 12, 24, padding=0)
        x, w, b = case.arrays()
        x = place(x, "channels_last")
        options = {**case.arguments, "algorithm": NAME}
        whole = gc.conv2d(x, w, b, **options)
        for top in range(4):
            rows = np.s_[:, :, top : top + kernel + 4]
            part = gc.conv2d(x[rows], w, b, **options)
            assert_same_bits(part, whole[:, :, top : top + 5])
        assert_same_bits(gc.conv2d(x[1:], w, b, **options), whole[1:])
        with gc.num_threads(2):
            assert_same_bits(gc.conv2d(x, w, b, **options), whole)
