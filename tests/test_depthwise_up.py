"""Depthwise transposed convolutions of stride 2, in place, by pairs of output rows and columns."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    Case,
    assert_same_bits,
    assert_within,
    check_conv_transpose,
    exact,
    guarded,
    units_for,
)

import groupconv as gc
from groupconv import reference

NAME = "depthwise_transposed"
SQUARES = [(k, k) for k in range(2, 9)]
OTHERS = [(2, 3), (3, 2), (3, 8), (7, 4), (8, 5), (5, 2)]


def depthwise(size: tuple[int, int], kernel: tuple[int, int], **options: object) -> Case:
    return Case(size, kernel, 3, 1, 1, **{"batch": 2, "stride": 2, **options})


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("kernel", SQUARES + OTHERS, ids=str)
def test_every_width(kernel: tuple[int, int], dtype: np.dtype) -> None:
    """Around one and two vectors of columns, with odd and even padding and outputs."""
    for width in (2, 4, 7, 8, 9, 15, 16, 17, 19, 31, 32, 33, 35):
        for padding, output_padding in (
            (0, 0),
            (1, 1),
            ((0, 1), 1),
            ((2, 1), (0, 1)),
            ([(0, 0), (0, 1)], 0),  # whole vectors are read, a part of them is stored
        ):
            case = depthwise(
                (5, width), kernel, padding=padding, output_padding=output_padding, batch=1
            )
            check_conv_transpose(case, dtype, algorithm=NAME)


@pytest.mark.parametrize("kernel", SQUARES + OTHERS, ids=str)
def test_every_height(kernel: tuple[int, int]) -> None:
    """Pairs whose first or second row is cropped, and rows that are above or below the input."""
    for height in (1, 2, 3, 4, 9):
        for top in range(kernel[0]):
            for bottom in range(min(kernel[0], 3)):
                case = depthwise(
                    (height, 21), kernel, padding=[(top, bottom), (kernel[1] // 2, 0)], batch=1
                )
                if case.transposed_out_size[0] > 1:
                    check_conv_transpose(case, algorithm=NAME)


@pytest.mark.parametrize("layout", ["slice", "misaligned", "half_aligned", "flipped"])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (7, 7), (3, 6)], ids=str)
def test_layouts(kernel: tuple[int, int], layout: str) -> None:
    """Whatever algorithm takes a layout, results stay inside of their array."""
    check_conv_transpose(depthwise((9, 18), kernel, padding=1), layout=layout)


@pytest.mark.parametrize("width", [5, 16, 23, 32, 40])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (5, 5), (8, 8), (4, 3)], ids=str)
def test_epilogue(kernel: tuple[int, int], width: int) -> None:
    case = depthwise((6, width), kernel, padding=1, output_padding=1)
    x, w, b = case.transposed_arrays()
    shape = (case.batch, case.out_channels, *case.transposed_out_size)
    residual = case.draw("residual", shape)
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **case.transposed_arguments)
    for options in (
        {"residual": residual},
        {"activation": "relu"},
        {"activation": "relu6", "residual": residual},
        {"activation": "silu", "residual": residual},
    ):
        want = exact(reference.conv_transpose, x, w, b, **case.transposed_arguments, **options)
        with guarded(shape, "float32", "contiguous") as out:
            gc.conv_transpose2d(
                x, w, b, **case.transposed_arguments, **options, algorithm=NAME, out=out
            )
        assert_within(out, want, 1.5 * (bound + abs(residual)), units_for(1, *kernel) + 8)


@pytest.mark.parametrize("kernel", [(3, 3), (6, 6), (2, 5)], ids=str)
def test_bands(kernel: tuple[int, int]) -> None:
    """A channel that is cut into bands is the same for any number of threads, activations too."""
    case = depthwise((150, 140), kernel, padding=1, batch=1)
    x, w, b = case.transposed_arrays()
    options = {**case.transposed_arguments, "activation": "hardswish", "algorithm": NAME}
    layer = gc.ConvTranspose2d.from_weight(
        w, b, stride=2, padding=1, groups=3, activation="hardswish", algorithm=NAME
    )
    assert int(layer.plan(x.shape).explain().partition(" bands")[0].split()[-1]) > 1
    want = exact(
        reference.conv_transpose, x, w, b, **case.transposed_arguments, activation="hardswish"
    )
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **case.transposed_arguments)
    with gc.num_threads(1):
        alone = gc.conv_transpose2d(x, w, b, **options)
    assert_within(alone, want, 1.5 * bound, units_for(1, *kernel) + 8)
    for threads in (2, 3):
        with gc.num_threads(threads):
            assert_same_bits(gc.conv_transpose2d(x, w, b, **options), alone)


def test_takes_gradients_of_strided_layers() -> None:
    """The gradient by the input has the bits of the transposed convolution that it is."""
    case = Case((23, 30), (3, 3), 4, 1, 1, stride=2, padding=1)
    x, w, _ = case.arrays()
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size))
    same = {"stride": 2, "padding": 1, "output_padding": (0, 1), "groups": 4, "algorithm": NAME}
    assert_same_bits(
        gc.grad.conv2d_input(x.shape, w, g, **case.arguments), gc.conv_transpose2d(g, w, **same)
    )
