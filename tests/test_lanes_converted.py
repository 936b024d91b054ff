"""Halves in channels_last arrays, computed in float32 some vectors of channels at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import HALVES, Case, assert_same_bits, check_conv, guarded, place

import groupconv as gc
from groupconv import _core

NAME = "lanes_converted"

CASES = [
    Case((7, 7), (3, 3), 70, padding=1),
    Case((40, 41), (3, 3), 150, padding=1, batch=1),  # several units, the last one smaller
    Case((9, 20), (5, 5), 37, 1, 1, stride=2, padding=2),
    Case((12, 9), (3, 3), 9, 4, 4, padding=1),
    Case((8, 9), (3, 2), 21, 2, 3, padding=(2, 1), dilation=(2, 1)),
    Case((5, 6, 7), (2, 3, 3), 20, 1, 2, padding=1),
    Case((40,), (4,), 37, padding=3),
]
each_dtype = pytest.mark.parametrize("dtype", HALVES, ids=str)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def accepted(case: Case) -> bool:
    """A vector of the instruction set holds two groups at least."""
    lanes = {"avx512": 16, "avx2": 8}.get(_core.isa_in_use(), 4)
    return 2 * max(case.in_per_group, case.out_per_group) <= lanes


@each_dtype
@each_case
def test_forward(case: Case, dtype: np.dtype) -> None:
    if not accepted(case):
        x, w, b = case.arrays(dtype)
        with pytest.raises(ValueError, match="too wide"):
            gc.conv2d(place(x, "channels_last"), w, b, **case.arguments, algorithm=NAME)
        return
    for layout in ("channels_last", "channels_last_slice"):
        check_conv(case, dtype, layout, algorithm=NAME)


@each_dtype
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "slice"])
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_epilogue(case: Case, layout: str, dtype: np.dtype) -> None:
    """Residual and activation are those of float32, rounded once; the output lies anyhow."""
    x, w, b = case.arrays(dtype)
    shape = (case.batch, case.out_channels, *case.out_size)
    residual = case.draw("residual", shape, dtype)
    options: dict[str, Any] = {**case.arguments, "activation": "silu"}
    with guarded(shape, dtype, layout) as out:
        gc.conv2d(
            place(x, "channels_last"),
            w,
            b,
            **options,
            residual=place(residual, layout),
            algorithm=NAME,
            out=out,
        )
    wide = [place(x.astype("f4"), "channels_last"), w.astype("f4"), b.astype("f4")]
    last = place(residual.astype("f4"), "channels_last")
    want = gc.conv2d(*wide, **options, residual=last, algorithm="channel_lanes")
    assert_same_bits(out, want.astype(dtype))


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_pieces(case: Case) -> None:
    """The bits of a channel depend neither on its neighbours nor on threads nor on the batch."""
    x, w, b = case.arrays("float16")
    x = place(x, "channels_last")
    arguments = {**case.arguments, "algorithm": NAME}
    whole = gc.conv2d(x, w, b, **arguments)
    with gc.num_threads(2):
        assert_same_bits(gc.conv2d(x, w, b, **arguments), whole)
    part = slice(16, case.groups)
    arguments["groups"] = case.groups - 16
    assert_same_bits(gc.conv2d(x[:, part], w[part], b[part], **arguments), whole[:, part])


def test_it_is_chosen() -> None:
    layer = gc.Conv2d(96, 96, kernel_size=3, groups=96, padding=1, dtype="float16")
    assert layer.plan((1, 96, 56, 56), channels_last=True).algorithm == NAME


def test_what_it_refuses() -> None:
    large = Case((700, 700), (3, 3), 64, padding=1, batch=1)
    wide = Case((6, 7), (3, 3), 2, 16, 16, padding=1)
    for case, layout, why in (
        (CASES[0], "contiguous", "channels_last"),
        (large, "channels_last", "near cache"),
        (wide, "channels_last", "too wide"),
        (CASES[0].but(padding_mode="circular"), "channels_last", "zeros"),
    ):
        x, w, b = case.arrays("float16")
        with pytest.raises(ValueError, match=why):
            gc.conv2d(place(x, layout), w, b, **case.arguments, algorithm=NAME)
