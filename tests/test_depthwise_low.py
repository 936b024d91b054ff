"""Depthwise convolution of low maps, whose loops are unrolled, and of maps as wide as a vector."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, Case, assert_within, check_conv, check_epilogue, place

import groupconv as gc
from groupconv import reference

NAME = "depthwise_in_place"
each_kernel = pytest.mark.parametrize("kernel", [3, 5, 7])


def square(height: int, width: int, kernel: int, **changes: object) -> Case:
    return Case((height, width), (kernel, kernel), 5, padding=kernel // 2).but(**changes)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("height", [1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 16, 17])
@each_kernel
def test_every_width(kernel: int, height: int, dtype: np.dtype) -> None:
    """Rows of less than a vector up to several."""
    for width in (1, 3, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33):
        check_conv(square(height, width, kernel), dtype, algorithm=NAME)


@each_kernel
def test_epilogue(kernel: int) -> None:
    for height in (7, 14):
        for width in (7, 14, 16, 20):
            check_epilogue(square(height, width, kernel), algorithm=NAME)


@each_kernel
def test_weights_in_any_layout(kernel: int) -> None:
    for height in (7, 14, 20):
        case = square(height, 14, kernel)
        x, w, b = case.arrays()
        want = gc.conv2d(x, w, b, **case.arguments, algorithm=NAME)
        for layout in ("axes_reversed", "slice", "every_other", "flipped"):
            got = gc.conv2d(x, place(w, layout), b, **case.arguments, algorithm=NAME)
            np.testing.assert_array_equal(got, want)


@each_kernel
def test_padding_below_or_above_alone(kernel: int) -> None:
    for height in (7, 14):
        for padding in ((kernel - 1, 0), (0, kernel - 1)):
            case = square(height, 14, kernel, padding=[padding, (1, kernel - 2)])
            check_conv(case, algorithm=NAME)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_kernel
def test_weights_that_are_not_finite(kernel: int, special: float) -> None:
    """Their products with the zeros of padding are NaN, in rows above and below too."""
    for height, width in ((7, 14), (14, 14), (20, 14), (7, 7), (2, 5), (8, 4)):
        case = square(height, width, kernel)
        x, w, b = case.arrays()
        for place_of in ((0, 0, 0, 0), (1, 0, kernel - 1, 2), (4, 0, kernel // 2, kernel - 1)):
            spoiled = w.copy()
            spoiled[place_of] = special
            got = gc.conv2d(x, spoiled, b, **case.arguments, algorithm=NAME)
            want = reference.conv(x, spoiled, b, **case.arguments)
            bound = reference.error_bound(reference.conv, x, spoiled, b, **case.arguments)
            assert_within(got, want, bound)


@pytest.mark.parametrize(
    ("height", "width"), [(7, 7), (14, 14), (5, 3), (16, 16), (9, 8), (12, 10)]
)
@each_kernel
def test_rows_that_share_vectors_give_the_same_bits(kernel: int, height: int, width: int) -> None:
    """As rows that lie apart: pieces of an input may take another path than the whole."""
    case = square(height, width, kernel)
    x, w, b = case.arrays()
    rows = np.zeros((*x.shape[:-1], 40), x.dtype)[..., :width]
    rows[...] = x
    want = gc.conv2d(rows, w, b, **case.arguments, algorithm=NAME)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm=NAME)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("side", "channels"), [(7, 700), (14, 200)])
def test_many_channels(side: int, channels: int) -> None:
    """More than a call computes, an activation that is no clamp, one kernel not finite."""
    case = square(side, side, 3, groups=channels)
    x, w, b = case.arrays()
    w[channels // 2, 0, 0, 0] = np.inf
    got = gc.conv2d(x, w, b, **case.arguments, activation="sigmoid", algorithm=NAME)
    plain = gc.conv2d(x, w, b, **case.arguments, algorithm="reference")
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_allclose(got, 1 / (1 + np.exp(-plain.astype("f8"))), rtol=1e-4)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 4), (4, 4), (5, 6), (6, 3), (7, 7)], ids=str)
def test_narrow_pieces_give_the_bits_of_the_whole(
    kernel: tuple[int, int], stride: int, dtype: np.dtype
) -> None:
    """Rows that fill half a vector are computed with the lanes of another instruction set."""
    case = Case((23, 70), kernel, 3, stride=stride)
    x, w, b = case.arrays(dtype)
    whole = gc.conv2d(x, w, b, **case.arguments, algorithm=NAME)
    for columns in (1, 3, 4, 7, 8):
        reads = (columns - 1) * stride + kernel[1]
        piece = np.ascontiguousarray(x[..., 4 * stride : 4 * stride + reads])
        got = gc.conv2d(piece, w, b, **case.arguments, algorithm=NAME)
        np.testing.assert_array_equal(got, whole[..., 4 : 4 + columns])
