"""Direct convolution without padding: all of the input but its end is read where it lies."""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import sys

import numpy as np
import pytest
from helpers import FLOATS, Case, assert_same_bits, check_conv, check_epilogue, function

import groupconv as gc

NAME = "direct"


def explained(case: Case, dtype: object = "float32", *, channels_last: bool = False) -> str:
    _, w, b = case.arrays(dtype)
    layer = getattr(gc, f"Conv{case.ndim}d").from_weight(w, b, **case.arguments, algorithm=NAME)
    return str(layer.plan(case.input_shape, channels_last=channels_last).explain())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_maps_of_every_width(kernel: int, dtype: np.dtype) -> None:
    """Around tiles' edges; smaller maps than a vector reach over several groups."""
    for width in (*range(kernel, 20), 31, 32, 33, 47, 100):
        for height in (kernel, kernel + 3):
            case = Case((height, width), (kernel, kernel), 3, 2, 3)
            check_conv(case, dtype, algorithm=NAME)


@pytest.mark.parametrize(
    "case",
    [
        Case((40,), (5,), 4, 3, 2),
        Case((5, 7, 18), (2, 3, 3), 3, 2, 2),
        Case((12, 25), (3, 4), 2, 3, 5, dilation=(2, 3)),
        Case((9, 9), (3, 3), 1, 4, 6, batch=3),
        Case((9, 9), (3, 3), 5, 4, 1, batch=1),
        Case((30, 41), (5, 5), 2, 1, 9),
    ],
    ids=str,
)
def test_shapes(case: Case) -> None:
    assert "maps in place" in explained(case)
    check_conv(case, algorithm=NAME)
    check_epilogue(case, algorithm=NAME)


def test_only_where_the_input_is_laid_out_as_planes() -> None:
    case = Case((12, 20), (3, 3), 4, 3, 2)
    assert "maps in place" in explained(case)
    assert "maps in place" in explained(case, "float64")
    assert "maps in place" not in explained(case, channels_last=True)
    assert "maps in place" not in explained(case, "float16")
    for changes in ({"padding": 1}, {"stride": 2}, {"padding": ((0, 0), (1, 0))}):
        assert "maps in place" not in explained(case.but(**changes))


def test_bits_are_those_of_packed_planes() -> None:
    """An input with gaps is packed; so is a group alone, as the last one."""
    case = Case((15, 22), (3, 3), 5, 3, 4)
    x, w, b = case.arrays()
    conv = function("conv", 2)
    whole = conv(x, w, b, **case.arguments, algorithm=NAME)
    for batch, axis in itertools.product((1, 2), range(4)):
        every_second = (slice(None),) * axis + (slice(None, None, 2),)
        apart = np.repeat(x[:batch], 2, axis)[every_second]
        assert_same_bits(conv(apart, w, b, **case.arguments, algorithm=NAME), whole[:batch])
    for g in range(case.groups):
        ins, outs = slice(3 * g, 3 * g + 3), slice(4 * g, 4 * g + 4)
        for n in range(case.batch):
            alone = conv(x[n : n + 1, ins], w[outs], b[outs], algorithm=NAME)
            assert_same_bits(alone, whole[n : n + 1, outs])


def test_not_finite_values_stay_in_their_windows() -> None:
    case = Case((11, 17), (3, 3), 4, 2, 3)
    x, w, b = case.arrays()
    conv = function("conv", 2)
    clean = conv(x, w, b, **case.arguments, algorithm=NAME)
    x[0, 3, 10, 16], x[1, 0, 0, 0] = np.nan, np.inf
    got = conv(x, w, b, **case.arguments, algorithm=NAME)
    touched = np.zeros(got.shape, bool)
    touched[0, 3:6, 8:, 14:] = touched[1, :3, :1, :1] = True
    assert not np.isfinite(got[touched]).any()
    assert_same_bits(got[~touched], clean[~touched])


@pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by mprotect")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nothing_behind_the_input_is_read(dtype: np.dtype) -> None:
    """The last element's page is the last one that may be read."""
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for case in (
        Case((3, 3), (3, 3), 40, 1, 1, batch=1),
        Case((1, 1), (1, 1), 40, 1, 2, batch=2),
        Case((4, 5), (2, 2), 7, 1, 3, batch=2),
        Case((20, 21), (3, 3), 3, 2, 5, batch=2),
        Case((20, 21), (3, 3), 1, 2, 5, batch=1),
        Case((65,), (4,), 3, 2, 5, batch=2),
    ):
        x, w, b = case.arrays(dtype)
        used = math.ceil(x.nbytes / mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, used + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert protect(start + used, mmap.PAGESIZE, 0) == 0
        at_the_end = np.frombuffer(memory, dtype, x.size, used - x.nbytes).reshape(x.shape)
        at_the_end[:] = x
        conv = function("conv", case.ndim)
        got = conv(at_the_end, w, b, **case.arguments, algorithm=NAME)
        assert_same_bits(got, conv(x, w, b, **case.arguments, algorithm=NAME))
        assert protect(start + used, mmap.PAGESIZE, mmap.PROT_READ) == 0
