"""Weight gradients from rows that are read where they lie: kernel tiles and the ends of rows."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    Case,
    assert_within,
    exact,
    guarded,
    place,
    units_for,
    weight_gradient_by,
)

from groupconv import reference

NAME = "grad_weight_rows"


def check(case: Case, dtype: object = "float32", x: np.ndarray | None = None) -> None:
    """Compare with the reference: rows of input and gradient between NaN, result between guards."""
    x = case.arrays(dtype)[0] if x is None else x
    g = case.output_gradient(dtype)
    with guarded(case.weight_shape, dtype, "contiguous") as out:
        weight_gradient_by(NAME, case, place(x, "slice"), place(g, "slice"), out)
    want = exact(reference.conv_weight, x, case.weight_shape, g, **case.arguments)
    bound = reference.error_bound(reference.conv_weight, x, case.weight_shape, g, **case.arguments)
    assert_within(out, want, bound, units_for(case.batch, *case.out_size))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 17])
def test_every_tile(columns: int, stride: int, dtype: np.dtype) -> None:
    """Kernel rows that share a row of input or not, over heights of several turns."""
    for rows in (1, 2, 3, 4, 5):
        for height in (rows, rows + 1, rows + 4, 2 * rows + 9):
            case = Case((height, 61), (rows, columns), 2, batch=2, stride=stride)
            check(case.but(padding=[(rows // 2, rows - 1), (columns // 2, 1)]), dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97])
def test_ends_of_rows(width: int, stride: int) -> None:
    """Vectors that lie inside, in part, or not at all, to the left and to the right."""
    for left in (0, 1, 2, 31, 32, 33, 80, 150):
        for right in (0, 1, 3, 70, 200):
            case = Case((5, width), (3, 4), 2, batch=1, stride=stride)
            check(case.but(padding=[(1, 1), (left, right)]))


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_that_lie_outside(stride: int) -> None:
    for above in (0, 1, 2, 5, 6):
        for below in (0, 1, 4, 7):
            for height in range(max(3 - above - below, 1), 6):
                case = Case((height, 40), (3, 3), 2, batch=2, stride=stride)
                check(case.but(padding=[(above, below), (1, 1)]))


@pytest.mark.parametrize("dilation", [(1, 2), (2, 1), (3, 2)])
def test_dilation(dilation: tuple[int, int]) -> None:
    for padding in (0, 2, 5):
        case = Case((17, 70), (3, 5), 2, batch=2, padding=padding, dilation=dilation)
        check(case)
    strided = Case((17, 70), (3, 5), 2, batch=2, stride=2, padding=2)
    check(strided.but(dilation=(dilation[0], 1)))


@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_finite_stays_where_it_is_read(stride: int) -> None:
    """Elements that some kernel columns read, or none, spoil the sums of no others."""
    for width in (31, 32, 33, 64, 75, 76):
        for kernel in ((3, 3), (3, 7), (1, 5)):
            for column in (0, 1, width // 2, width - 2, width - 1):
                case = Case((9, width), kernel, 2, batch=1, stride=stride, padding=1)
                x = case.arrays()[0]
                x[0, 0, 4, column] = np.inf
                x[0, 1, 8, column] = np.nan
                check(case, x=x)


@pytest.mark.parametrize("stride", [1, 2])
def test_long_rows_and_many_images(stride: int) -> None:
    """Sums of several blocks, strips of rows, chunks of the batch."""
    check(Case((3, 9000), (3, 3), 1, batch=1, stride=stride, padding=1))
    check(Case((70, 300), (3, 3), 1, batch=2, stride=stride, padding=1))
    check(Case((20, 33), (5, 5), 3, batch=19, stride=stride, padding=2))
    check(Case((6, 5, 40), (3, 2, 3), 3, 2, 2, batch=3, stride=stride, padding=1))
