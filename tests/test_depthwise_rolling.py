"""Depthwise convolution that rolls down columns of vectors: one alone or two side by side."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, Case, check_conv, check_epilogue

import groupconv as gc

NAME = "depthwise_in_place"
each_kernel = pytest.mark.parametrize(
    ("kernel", "stride"), [(3, 1), (5, 1), (7, 1), (3, 2), (5, 2)]
)


def square(height: int, width: int, kernel: int, stride: int, **changes: object) -> Case:
    case = Case((height, width), (kernel, kernel), 3, padding=kernel // 2, stride=stride)
    return case.but(**changes)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_kernel
def test_every_number_of_columns(kernel: int, stride: int, dtype: np.dtype) -> None:
    """Rows of less than a vector up to five, a lane more or less."""
    for vectors in range(1, 6):
        for lanes in (4, 8, 16):
            for more in (-1, 0, 1):
                width = stride * (vectors * lanes + more)
                check_conv(square(19, width, kernel, stride), dtype, algorithm=NAME)


@each_kernel
def test_every_padding(kernel: int, stride: int) -> None:
    """Windows that begin and end anywhere beside a row, up to windows of padding alone."""
    for width in (9, 31, 33, 64, 67):
        for before in range(kernel + 2):
            for after in (0, 1, kernel - 1, kernel + 1, 28):
                case = square(13, width, kernel, stride, padding=[(1, 2), (before, after)])
                check_conv(case, algorithm=NAME)


@each_kernel
def test_epilogue(kernel: int, stride: int) -> None:
    for height, width in ((26, 58), (40, 35), (22, 20), (12, 126), (19, 150), (75, 30)):
        check_epilogue(square(height, width, kernel, stride), algorithm=NAME)


@each_kernel
def test_pieces_give_the_bits_of_the_whole(kernel: int, stride: int) -> None:
    """Columns that meet other neighbours in the registers are added in the same order."""
    case = square(25, 72 * stride, kernel, stride, padding=0)
    x, w, b = case.arrays()
    whole = gc.conv2d(x, w, b, **case.arguments, algorithm=NAME)
    for first in (0, 4, 20, 36):
        for columns in (5, 17, 30):
            reads = (columns - 1) * stride + kernel
            piece = np.ascontiguousarray(x[..., first * stride : first * stride + reads])
            got = gc.conv2d(piece, w, b, **case.arguments, algorithm=NAME)
            wide = got.shape[-1]
            np.testing.assert_array_equal(got, whole[..., first : first + wide])


@pytest.mark.parametrize("special", [np.nan, np.inf])
@each_kernel
def test_inputs_that_are_not_finite_spoil_their_windows_alone(
    kernel: int, stride: int, special: float
) -> None:
    case = square(21, 70, kernel, stride)
    x, w, _ = case.arrays()
    for column in (0, 1, 30, 31, 32, 33, 34, 63, 64, 69):
        spoiled = x.copy()
        spoiled[..., 10, column] = special
        got = gc.conv2d(spoiled, w, **case.arguments, algorithm=NAME)
        want = gc.conv2d(spoiled, w, **case.arguments, algorithm="reference")
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))


@pytest.mark.parametrize("special", [np.nan, np.inf])
@each_kernel
def test_weights_that_are_not_finite_meet_the_zeros_around(
    kernel: int, stride: int, special: float
) -> None:
    case = square(21, 70 * stride, kernel, stride)
    x, w, _ = case.arrays()
    for row, column in ((0, 0), (0, 1), (kernel - 1, kernel - 1), (kernel // 2, 0)):
        spoiled = w.copy()
        spoiled[1, 0, row, column] = special
        got = gc.conv2d(x, spoiled, **case.arguments, algorithm=NAME)
        want = gc.conv2d(x, spoiled, **case.arguments, algorithm="reference")
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
