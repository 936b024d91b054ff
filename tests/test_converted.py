"""Convolutions of halves that are computed in float32, some groups at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import (
    HALVES,
    LAYOUTS,
    Case,
    assert_same_bits,
    check_conv,
    check_conv_transpose,
    guarded,
    place,
)

import groupconv as gc


def name(case: Case) -> str:
    return "depthwise_converted" if case.in_per_group == 1 else "converted"


CASES = [
    Case((14, 14), (3, 3), 70, 1, 1, padding=1),
    Case((7, 7), (5, 5), 33, 1, 2, padding=2),
    Case((9, 20), (3, 3), 5, 1, 3, stride=2, padding=1),
    Case((12, 11), (7, 7), 3, 1, 1, padding=3),
    Case((57, 60), (3, 3), 3, 1, 1, padding=2, dilation=2),
    Case((6, 17), (2, 5), 4, 1, 1, padding=[(0, 1), (3, 2)]),
    Case((40,), (4,), 37, 1, 1, padding=3),
    Case((5, 6, 7), (3, 3, 3), 6, 1, 2, padding=1),
    Case((14, 14), (3, 3), 11, 4, 4, padding=1),
    Case((9, 20), (3, 3), 3, 2, 5, stride=2, padding=1),
    Case((4, 9, 8), (2, 3, 3), 9, 3, 1, padding=1, dilation=(1, 2, 1)),
    Case((12, 12), (5, 5), 1, 3, 3, padding=2),
    Case((50,), (31,), 20, 1, 1, padding=15),
]
TRANSPOSED = [
    Case((7, 9), (3, 3), 40, 1, 1, stride=2, padding=1, output_padding=1),
    Case((6, 5), (4, 4), 3, 1, 2, stride=2, padding=1),
    Case((8, 8), (3, 3), 50, 1, 3, padding=1),
    Case((4, 5, 6), (2, 3, 3), 3, 1, 1, padding=1),
    Case((32,), (4,), 30, 1, 1, stride=2, padding=1),
]
each_dtype = pytest.mark.parametrize("dtype", HALVES, ids=str)


@each_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case: Case, dtype: np.dtype) -> None:
    check_conv(case, dtype, algorithm=name(case))


@each_dtype
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed(case: Case, dtype: np.dtype) -> None:
    check_conv_transpose(case, dtype, algorithm=name(case))


@each_dtype
@pytest.mark.parametrize("layout", ["slice", "misaligned", "channels_last", "every_third_channel"])
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_layouts(case: Case, layout: str, dtype: np.dtype) -> None:
    """Outputs of every kind; inputs whose rows it cannot read are refused."""
    x, w, b = case.arrays(dtype)
    want = gc.conv2d(x, w, b, **case.arguments, algorithm=name(case))
    with guarded(want.shape, dtype, layout) as out:
        assert gc.conv2d(x, w, b, **case.arguments, algorithm=name(case), out=out) is out
    assert_same_bits(out, want)
    if LAYOUTS[layout].order == "last":
        with pytest.raises(ValueError, match="contiguous rows"):
            gc.conv2d(place(x, layout), w, b, **case.arguments, algorithm=name(case))
    else:
        assert_same_bits(
            gc.conv2d(place(x, layout), w, b, **case.arguments, algorithm=name(case)), want
        )


@each_dtype
@pytest.mark.parametrize("layout", ["contiguous", "slice", "channels_last"])
@pytest.mark.parametrize("case", [*CASES[:4], *CASES[8:10]], ids=str)
def test_epilogue(case: Case, layout: str, dtype: np.dtype) -> None:
    """Residual and activation are those of float32, rounded once."""
    x, w, b = case.arrays(dtype)
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size), dtype)
    options: dict[str, Any] = {**case.arguments, "activation": "silu"}
    got = gc.conv2d(x, w, b, **options, residual=place(residual, layout), algorithm=name(case))
    wide = (array.astype("f4") for array in (x, w, b))
    inner = "depthwise_in_place" if case.in_per_group == 1 else "direct"
    want = gc.conv2d(*wide, **options, residual=residual.astype("f4"), algorithm=inner)
    assert_same_bits(got, want.astype(dtype))


@each_dtype
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_pieces(case: Case, dtype: np.dtype) -> None:
    """The bits of a channel depend neither on its neighbours nor on threads nor on the batch."""
    x, w, b = case.arrays(dtype)
    arguments = {**case.arguments, "algorithm": name(case)}
    whole = gc.conv2d(x, w, b, **arguments)
    with gc.num_threads(2):
        assert_same_bits(gc.conv2d(x, w, b, **arguments), whole)
    per_group = case.out_per_group
    for first, last in ((0, 1), (1, case.groups), (case.groups - 2, case.groups)):
        part = slice(first * per_group, last * per_group)
        arguments["groups"] = last - first
        got = gc.conv2d(x[1:, first:last], w[part], b[part], **arguments)
        assert_same_bits(got, whole[1:, part])


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_channels_with_others_between(case: Case) -> None:
    """Whole channels that do not follow each other: input, residual and output in turn."""
    x, w, b = case.arrays("float16")
    shape = (case.batch, case.out_channels, *case.out_size)
    residual = case.draw("residual", shape, "float16")
    want = gc.conv2d(x, w, b, **case.arguments, residual=residual, algorithm=name(case))
    for scattered in range(3):
        arrays = [x, residual, np.zeros(shape, "float16")]
        wide = np.full((case.batch, 2 * arrays[scattered].shape[1], *x.shape[2:]), 7, "float16")
        wide[:, ::2] = arrays[scattered]
        arrays[scattered] = wide[:, ::2]
        source, added, out = arrays
        gc.conv2d(source, w, b, **case.arguments, residual=added, algorithm=name(case), out=out)
        assert_same_bits(out, want)
        assert (wide[:, 1::2] == 7).all()


def test_what_it_refuses() -> None:
    large = Case((800, 800), (3, 3), 2, 1, 1, padding=1, batch=1)
    dense = Case((120, 120), (3, 3), 1, 16, 16, padding=1, batch=1)
    for case, why in ((large, "groups that fit a near cache"), (dense, "several groups")):
        x, w, b = case.arrays("float16")
        with pytest.raises(ValueError, match=why):
            gc.conv2d(x, w, b, **case.arguments, algorithm=name(case))
