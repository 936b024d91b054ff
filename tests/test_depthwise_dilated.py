"""Depthwise 3x3 kernels whose rows are 2 apart: odd and even rows roll down a band together."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import Case, assert_within, check_conv, check_conv_transpose, guarded, units_for

import groupconv as gc
from groupconv import reference

NAME = "depthwise_in_place"


@pytest.mark.parametrize("padding", [0, 1, 2, (5, 3)], ids=str)
@pytest.mark.parametrize("width", [5, 8, 15, 17, 33])
@pytest.mark.parametrize("height", [*range(5, 14), 29])
def test_sizes(height: int, width: int, padding: object) -> None:
    """Around the edges of a turn of 6 rows and of vectors, with windows outside of the input."""
    case = Case((height, width), (3, 3), 3, batch=1, padding=padding, dilation=2)
    check_conv(case, algorithm=NAME)


@pytest.mark.parametrize("dilation", [(2, 1), (2, 3), (1, 2), (3, 2)], ids=str)
def test_other_dilations_of_columns(dilation: tuple[int, int]) -> None:
    check_conv(Case((12, 21), (3, 3), 3, padding=2, dilation=dilation), algorithm=NAME)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bands(dtype: str) -> None:
    """A channel larger than a band, which begins in rows of either kind."""
    case = Case((151, 160), (3, 3), 2, batch=1, padding=2, dilation=2)
    check_conv(case, dtype, algorithm=NAME)
    check_conv_transpose(case, dtype, algorithm=NAME)


def test_depths() -> None:
    check_conv(Case((4, 9, 18), (1, 3, 3), 3, padding=(0, 2, 2), dilation=2), algorithm=NAME)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_weights_that_are_not_finite(row: int, value: float) -> None:
    """They meet the zeros of the padding too, above and below."""
    case = Case((9, 20), (3, 3), 2, padding=2, dilation=2)
    x, w, b = case.arrays()
    w[1, 0, row, 1] = value
    want = reference.conv(x, w, b, **case.arguments)
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    got = gc.conv2d(x, w, b, **case.arguments, algorithm=NAME)
    assert_within(got, want, bound, units_for(9))


def test_epilogue() -> None:
    case = Case((13, 35), (3, 3), 4, padding=2, dilation=2)
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, 4, *case.out_size))
    options = {**case.arguments, "residual": residual, "activation": "relu"}
    with guarded(residual.shape, "float32") as out:
        gc.conv2d(x, w, b, **options, algorithm=NAME, out=out)
    want = reference.conv(x, w, b, **options)
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments) + abs(residual)
    assert_within(out, want, bound, units_for(9))
