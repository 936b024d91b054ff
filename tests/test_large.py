"""Index arithmetic beyond 2^31 elements, on arrays that have addresses but hardly any memory."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from helpers import Case, assert_within, function, gradient

import groupconv as gc
from groupconv import reference

FAR = 2**31 + 1000  # elements between neighbours of the axis under test


def sparse(shape: tuple[int, ...], axis: int, dtype: str = "f4") -> np.ndarray:
    """Array whose neighbours along one axis are more than 2^31 elements apart.

    Its gigabytes are reserved addresses; only the pages in use become memory.
    """
    itemsize = np.dtype(dtype).itemsize
    strides = [0] * len(shape)
    step = 1
    for other in reversed([a for a in range(len(shape)) if a != axis]):
        strides[other] = step * itemsize
        step *= shape[other]
    assert step < FAR
    strides[axis] = FAR * itemsize
    length = (shape[axis] - 1) * FAR * itemsize + step * itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    memory = mmap.mmap(-1, length, flags=flags)
    return np.ndarray(shape, dtype, memory, strides=strides)


def spread(array: np.ndarray, axis: int) -> np.ndarray:
    """Copy an array into `sparse` memory."""
    copy = sparse(array.shape, axis, array.dtype.str)
    copy[...] = array
    return copy


CASE = Case((4, 5), (2, 3), 2, 2, 2, batch=2, padding=1)
axes = pytest.mark.parametrize("axis", range(4))
kernels = pytest.mark.parametrize("kernel", [(2, 3), (1, 1), (3, 3)], ids=str)


@kernels
@axes
def test_convolution(axis: int, kernel: tuple[int, int]) -> None:
    for groups in (2, 4):
        per_group = 4 // groups
        case = CASE.but(kernel=kernel, groups=groups, in_per_group=per_group)
        case = case.but(out_per_group=per_group, stride=1 if groups == 2 else 2)
        x, w, b = case.arrays()
        out = sparse((case.batch, 4, *case.out_size), axis)
        residual = spread(case.draw("residual", out.shape), axis)
        for name in ("auto", "reference"):
            options = {**case.arguments, "residual": residual}
            gc.conv2d(spread(x, axis), w, b, **options, out=out, algorithm=name)
            want = reference.conv(x, w, b, **options)
            bound = reference.error_bound(reference.conv, x, w, b, **options)
            assert_within(out, want, bound)
            out[...] = 0


@axes
def test_weight(axis: int) -> None:
    x, w, b = CASE.arrays()
    got = gc.conv2d(x, spread(w, axis), b, **CASE.arguments)
    bound = reference.error_bound(reference.conv, x, w, b, **CASE.arguments)
    assert_within(got, reference.conv(x, w, b, **CASE.arguments), bound)


@pytest.mark.parametrize("stride", [1, 2])
@axes
def test_transposed_and_gradients(axis: int, stride: int) -> None:
    case = CASE.but(stride=stride)
    x, w, b = case.transposed_arrays()
    out = sparse((case.batch, 4, *case.transposed_out_size), axis)
    gc.conv_transpose2d(spread(x, axis), w, b, **case.transposed_arguments, out=out)
    want = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **case.transposed_arguments)
    assert_within(out, want, bound)

    x, w, _ = case.arrays()
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size))
    out = sparse(x.shape, axis)
    gc.grad.conv2d_input(x.shape, w, spread(g, axis), **case.arguments, out=out)
    operands = (x.shape, w, g)
    bound = reference.error_bound(reference.conv_input, *operands, **case.arguments)
    assert_within(out, reference.conv_input(*operands, **case.arguments), bound)
    out = sparse(w.shape, axis)
    far_x, far_g = spread(x, axis), spread(g, axis)
    gc.grad.conv2d_weight(far_x, w.shape, far_g, **case.arguments, out=out)
    operands = (x, w.shape, g)
    bound = reference.error_bound(reference.conv_weight, *operands, **case.arguments)
    assert_within(out, reference.conv_weight(*operands, **case.arguments), bound)
    np.testing.assert_allclose(
        gc.grad.conv2d_bias(far_g), reference.conv_bias(g), rtol=1e-6, atol=1e-6
    )


def test_more_than_2_to_31_elements_in_a_row() -> None:
    """A wide image of which a huge stride reads little: positions themselves pass 2^31."""
    rows = np.array([1.0, 2.0, 4.0], "f4")
    w = np.arange(9, dtype="f4").reshape(1, 1, 3, 3)
    x = np.broadcast_to(rows[:, None], (1, 1, 3, 2**31 + 5))
    got = gc.conv2d(x, w, stride=(1, 2**28))
    assert got.shape == (1, 1, 1, 9)
    assert (got == (w[0, 0] * rows[:, None]).sum()).all()


def test_more_than_2_to_31_elements_in_the_channels() -> None:
    channels = 2**15
    x = np.broadcast_to(np.float32(1), (1, channels, 256, 257))
    assert x.size > 2**31
    w = np.ones((1, channels, 1, 1), "f4")
    assert (gc.conv2d(x, w, stride=8) == channels).all()


def test_more_than_2_to_31_elements_in_the_batch() -> None:
    x = np.broadcast_to(np.arange(200, dtype="f4"), (60_000, 1, 200, 200))
    assert x.size > 2**31
    got = gc.conv2d(x, np.ones((1, 1, 3, 3), "f4"), stride=198)
    assert got.shape == (60_000, 1, 1, 1)
    assert (got == 9).all()


@pytest.mark.parametrize("ndim", [1, 3])
def test_other_dimensions(ndim: int) -> None:
    case = Case((5,) * ndim, (3,) * ndim, 2, 1, 2, padding=1)
    x, w, b = case.arrays()
    out = sparse((case.batch, case.out_channels, *case.out_size), ndim + 1)
    function("conv", ndim)(spread(x, ndim + 1), w, b, **case.arguments, out=out)
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    assert_within(out, reference.conv(x, w, b, **case.arguments), bound)
    got = gradient("conv", ndim, "input")(
        x.shape, w, spread(out.copy(), ndim + 1), **case.arguments
    )
    operands = (x.shape, w, out.copy())
    bound = reference.error_bound(reference.conv_input, *operands, **case.arguments)
    assert_within(got, reference.conv_input(*operands, **case.arguments), bound)
