"""Halves read and written where they lie: the bits of float32, rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import HALVES, Case, algorithms, assert_same_bits, function, guarded, place

import groupconv as gc
from groupconv import _core

IN_PLACE, LINE, UP = "depthwise_in_place", "depthwise_line", "depthwise_transposed"
each_dtype = pytest.mark.parametrize("dtype", HALVES, ids=str)


def check(case: Case, dtype: np.dtype, name: str, op: str = "conv", **epilogue: Any) -> None:
    """Compare with the same algorithm in float32, where the instruction set has one for halves."""
    transposed = op == "conv_transpose"
    call = function(op, case.ndim)
    arrays = case.transposed_arrays(dtype) if transposed else case.arrays(dtype)
    arguments = case.transposed_arguments if transposed else case.arguments
    check_arrays(call, arrays, dtype, name, **arguments, **epilogue)


def check_arrays(
    call: Any,
    arrays: tuple[np.ndarray, ...],
    dtype: np.dtype,
    name: str,
    **arguments: Any,
) -> None:
    x = place(arrays[0], "contiguous")
    if _core.isa_in_use() != "avx512":
        with pytest.raises(ValueError, match="no microkernels for rows of float16 and bfloat16"):
            call(x, *arrays[1:], **arguments, algorithm=name)
        return
    wide = {
        key: value.astype("float32") if isinstance(value, np.ndarray) else value
        for key, value in arguments.items()
    }
    want = call(*(array.astype("float32") for array in arrays), **wide, algorithm=name)
    with guarded(want.shape, dtype) as out, np.errstate(over="ignore"):
        call(x, *arrays[1:], **arguments, algorithm=name, out=out)
        assert_same_bits(out, want.astype(dtype), str(arguments))


def with_epilogue(case: Case, dtype: np.dtype, name: str, op: str = "conv") -> None:
    size = case.transposed_out_size if op == "conv_transpose" else case.out_size
    residual = case.draw("residual", (case.batch, case.out_channels, *size), dtype)
    check(case, dtype, name, op)
    check(case, dtype, name, op, activation="relu6")
    check(case, dtype, name, op, activation="relu", residual=residual)


@each_dtype
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (7, 1), (3, 2), (5, 2), (7, 2)])
def test_columns(kernel: int, stride: int, dtype: np.dtype) -> None:
    """Rows of less than a vector up to five, a lane more or less."""
    for vectors in range(1, 6):
        for lanes in (8, 16):
            for more in (-1, 0, 1):
                width = stride * (vectors * lanes + more)
                case = Case((19, width), (kernel, kernel), 3, padding=kernel // 2, stride=stride)
                with_epilogue(case, dtype, IN_PLACE)


@each_dtype
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_maps_of_every_width(kernel: int, dtype: np.dtype) -> None:
    """Those that fit a vector, a row or two at a time, and those that are a little wider."""
    for width in range(1, 19):
        for height in (1, 2, width, 2 * width + 1):
            case = Case((height, width), (kernel, kernel), 5, padding=kernel // 2)
            with_epilogue(case, dtype, IN_PLACE)


@each_dtype
@pytest.mark.parametrize(
    "kernel", [(1, 1), (2, 2), (4, 4), (6, 3), (3, 8), (7, 5), (1, 32)], ids=str
)
def test_tiles(kernel: tuple[int, int], dtype: np.dtype) -> None:
    """Kernels that do not roll: tiles of all rows, and of few."""
    for stride in (1, 2):
        for size in ((3, 40), (20, 33), (37, 70)):
            before = (kernel[0] // 2, kernel[1] // 2)
            case = Case(size, kernel, 3, padding=before, stride=stride)
            with_epilogue(case, dtype, IN_PLACE)


@each_dtype
def test_depths_dilation_and_multipliers(dtype: np.dtype) -> None:
    for case in (
        Case((4, 9, 35), (3, 3, 3), 3, padding=1),
        Case((5, 9, 35), (2, 3, 3), 3, padding=1, stride=(1, 2, 2)),
        Case((4, 9, 18), (3, 5, 5), 3, padding=2),
        Case((20, 45), (3, 3), 3, padding=2, dilation=2),
        Case((20, 45), (3, 3), 3, padding=3, dilation=3),
        Case((20, 45), (3, 3), 3, 1, 3, padding=1),
    ):
        with_epilogue(case, dtype, IN_PLACE)


@each_dtype
@pytest.mark.parametrize("kernel", [1, 2, 4, 9, 15, 16, 17, 32])
def test_lines(kernel: int, dtype: np.dtype) -> None:
    for tiles, more in ((1, 0), (2, -1), (2, 1), (3, 5)):
        width = 128 * tiles + more + kernel - 1
        for padding in (0, (kernel - 1, 0), (kernel // 2, 1)):
            case = Case((width,), (kernel,), 2, 1, 2, padding=[padding] if padding else 0)
            check(case, dtype, LINE)
            check(case, dtype, LINE, activation="relu")
        check(Case((width,), (kernel,), 2, dilation=2, padding=1), dtype, LINE)
        check(
            Case((width,), (kernel,), 2, padding=min(1, kernel - 1)), dtype, LINE, "conv_transpose"
        )


@each_dtype
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 4), (5, 5), (3, 4), (8, 8)], ids=str)
def test_transposed_of_stride_2(kernel: tuple[int, int], dtype: np.dtype) -> None:
    for size in ((4, 5), (7, 8), (9, 17), (6, 40)):
        for padding in (0, 1):
            case = Case(size, kernel, 3, 1, 2, stride=2, padding=padding)
            with_epilogue(case, dtype, UP, "conv_transpose")


@each_dtype
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (5, 5), (7, 4)], ids=str)
def test_transposed_of_stride_1(kernel: tuple[int, int], dtype: np.dtype) -> None:
    for size in ((4, 5), (14, 14), (9, 17), (6, 40)):
        for padding in (0, 1):
            case = Case(size, kernel, 3, 1, 2, padding=padding)
            with_epilogue(case, dtype, IN_PLACE, "conv_transpose")


@each_dtype
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_operands_that_are_not_finite(special: float, dtype: np.dtype) -> None:
    """In windows, and in weights, which meet the zeros around too."""
    for case in (
        Case((21, 70), (3, 3), 3, padding=1),
        Case((21, 70), (5, 5), 3, padding=2, stride=2),
        Case((14, 14), (3, 3), 3, padding=1),
        Case((7, 7), (5, 5), 3, padding=2),
    ):
        x, w, b = case.arrays(dtype)
        call, arguments = function("conv", case.ndim), case.arguments
        for where in ((0, 0), (-1, -1), (3, 6)):
            spoiled = x.copy()
            spoiled[:, 1][:, where[0], where[1]] = special
            check_arrays(call, (spoiled, w, b), dtype, IN_PLACE, **arguments)
        spoiled = w.copy()
        spoiled[2, 0, 0, 1] = special
        check_arrays(call, (x, spoiled, b), dtype, IN_PLACE, **arguments)


@each_dtype
def test_what_follows_a_rounded_result_is_refused(dtype: np.dtype) -> None:
    """It would be rounded twice; another algorithm does it, and rounds once."""
    case = Case((14, 20), (3, 3), 4, padding=1)
    x, w, b = case.arrays(dtype)
    names = algorithms(gc.conv2d, x, w, b, **case.arguments, activation="silu")
    assert IN_PLACE not in names
    assert "depthwise_converted" in names
    wide = [array.astype("float32") for array in (x, w, b)]
    want = gc.conv2d(*wide, **case.arguments, activation="silu", algorithm=IN_PLACE)
    got = gc.conv2d(x, w, b, **case.arguments, activation="silu", algorithm="depthwise_converted")
    assert_same_bits(got, want.astype(dtype))
    line = Case((200,), (4,), 4)
    residual = line.draw("residual", (2, 4, *line.out_size), dtype)
    names = algorithms(gc.conv1d, *line.arrays(dtype), **line.arguments, residual=residual)
    assert LINE not in names


@each_dtype
@pytest.mark.parametrize("name", ["direct", "depthwise_packed"])
def test_every_second_element_is_packed(name: str, dtype: np.dtype) -> None:
    """Rows of a vector of every second element, or a few, an element more or less."""
    for width in (*range(1, 37), 62, 63, 64, 65, 66, 127, 128, 129):
        for kernel in (1, 3):
            case = Case((3, width), (1, kernel), 3, padding=(0, kernel // 2), stride=2)
            x, w, b = case.arrays(dtype)
            want = gc.conv2d(
                *(array.astype("float32") for array in (x, w, b)), **case.arguments, algorithm=name
            )
            with guarded(want.shape, dtype) as out:
                x = place(x, "contiguous")
                gc.conv2d(x, w, b, **case.arguments, algorithm=name, out=out)
                assert_same_bits(out, want.astype(dtype), str(case))
