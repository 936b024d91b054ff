"""Depthwise kernels of some depths: one vector of columns alone, or up to four side by side."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, Case, check_conv, check_epilogue

import groupconv as gc

NAME = "depthwise_in_place"
each_stride = pytest.mark.parametrize("stride", [1, 2])


def volume(
    depth: int, height: int, width: int, stride: int, depths: int = 3, **changes: object
) -> Case:
    case = Case((depth, height, width), (depths, 3, 3), 2, batch=1, padding=(depths // 2, 1, 1))
    return case.but(stride=(1, stride, stride)).but(**changes)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_stride
def test_every_number_of_columns(stride: int, dtype: np.dtype) -> None:
    """Rows of less than a vector up to five, a lane more or less."""
    for vectors in range(1, 6):
        for lanes in (4, 8, 16):
            for more in (-1, 0, 1):
                width = stride * (vectors * lanes + more)
                check_conv(volume(3, 7, width, stride), dtype, algorithm=NAME)


@each_stride
def test_every_padding(stride: int) -> None:
    """Windows of padding alone too: of rows, of columns and of depths."""
    for width in (31, 33, 64, 67):
        for before in range(5):
            for after in (0, 1, 2, 28):
                padding = [(2, 3), (2, 1), (before, after)]
                case = volume(4, 9, width, stride, padding=padding)
                check_conv(case, algorithm=NAME)


@pytest.mark.parametrize("depths", [2, 3, 4, 5, 7])
@each_stride
def test_every_number_of_depths(depths: int, stride: int) -> None:
    for width in (20, 40, 75, 140):
        check_conv(volume(8, 10, width, stride, depths), algorithm=NAME)


@each_stride
def test_strides_and_dilation_of_the_depth(stride: int) -> None:
    """Depths that are skipped are other planes, which change nothing within a plane."""
    for case in (
        volume(9, 12, 50, stride).but(stride=(2, stride, stride)),
        volume(9, 12, 50, stride, dilation=(2, 1, 1), padding=(2, 1, 1)),
        volume(9, 12, 50, stride, out_per_group=2),
    ):
        check_conv(case, algorithm=NAME)


@each_stride
def test_epilogue(stride: int) -> None:
    for height, width in ((12, 58), (20, 35), (7, 126), (30, 20)):
        check_epilogue(volume(4, height, width, stride), algorithm=NAME)


@each_stride
def test_pieces_give_the_bits_of_the_whole(stride: int) -> None:
    """Columns that meet other neighbours in the registers are added in the same order."""
    case = volume(5, 14, 72 * stride, stride, padding=(1, 0, 0))
    x, w, b = case.arrays()
    whole = gc.conv3d(x, w, b, **case.arguments, algorithm=NAME)
    for first in (0, 4, 20, 36):
        for columns in (5, 17, 30):
            reads = (columns - 1) * stride + 3
            piece = np.ascontiguousarray(x[..., first * stride : first * stride + reads])
            got = gc.conv3d(piece, w, b, **case.arguments, algorithm=NAME)
            wide = got.shape[-1]
            np.testing.assert_array_equal(got, whole[..., first : first + wide])


@pytest.mark.parametrize("special", [np.nan, np.inf])
@each_stride
def test_values_that_are_not_finite_spoil_their_windows_alone(stride: int, special: float) -> None:
    """In the input; and in the weights, whose products with padding count."""
    case = volume(4, 9, 70, stride)
    x, w, _ = case.arrays()
    spoiled = []
    for column in (0, 1, 30, 31, 32, 33, 34, 63, 64, 69):
        spoiled.append((x.copy(), w))
        spoiled[-1][0][..., 1, 5, column] = special
    for tap in np.ndindex(3, 3, 3):
        spoiled.append((x, w.copy()))
        spoiled[-1][1][(0, 0, *tap)] = special
    for x, w in spoiled:
        got = gc.conv3d(x, w, **case.arguments, algorithm=NAME)
        want = gc.conv3d(x, w, **case.arguments, algorithm="reference")
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
