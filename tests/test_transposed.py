"""Transposed convolutions against the reference, which is written as a scatter."""

from __future__ import annotations

from itertools import filterfalse

import numpy as np
import pytest
from helpers import (
    FLOATS,
    KINDS,
    LAYOUTS,
    Case,
    algorithms,
    assert_within,
    check_conv_transpose,
    exact,
    function,
    guarded,
    has_own_bound,
    kind,
    place,
    units_for,
)

import groupconv as gc
from groupconv import reference


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 95, 97, 129])
def test_tile_edges(width: int, stride: int, dtype: np.dtype) -> None:
    for out_per_group in range(1, 10):
        case = Case((width,), (4,), 2, 2, out_per_group, batch=1, stride=stride, padding=1)
        check_conv_transpose(case, dtype)


@pytest.mark.parametrize("width", range(1, 21))
def test_rows_of_every_width(width: int) -> None:
    for height, name, kernel, stride in (
        (3, "dense", 3, 1),
        (5, "depthwise", 3, 1),
        (4, "grouped", 4, 2),
        (3, "depthwise", 4, 2),
        (2, "multiplier", 3, 2),
    ):
        case = Case((height, width), (kernel, kernel), **kind(name), batch=1, padding=1)
        check_conv_transpose(case.but(stride=stride))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_stride_dilation_padding(ndim: int, name: str, dilation: int, stride: int) -> None:
    most = max(stride, dilation) - 1
    for padding, output_padding in (
        (0, 0),
        (1, most),
        ([(2, 0), (0, 1), (1, 0)][:ndim], [most, most // 2, 0][:ndim]),
    ):
        case = Case(
            ((9,), (5, 6), (3, 4, 4))[ndim - 1],
            ((4,), (4, 2), (3, 4, 2))[ndim - 1],
            **kind(name),
            batch=2 if ndim < 3 else 1,
            stride=stride,
            dilation=dilation,
            padding=padding,
            output_padding=output_padding,
        )
        check_conv_transpose(case, FLOATS[(stride + dilation + ndim) % 2])


@pytest.mark.parametrize("name", ["dense", "grouped-odd", "depthwise", "multiplier"])
@pytest.mark.parametrize(
    "case",
    [
        Case((1, 1), (3, 3), stride=2, padding=1),
        Case((3, 4), (1, 1), stride=4, output_padding=3),  # outputs that no input reaches
        Case((3, 4), (2, 2), stride=5, padding=[(1, 0), (0, 2)], output_padding=(4, 1)),
        Case((6, 7), (9, 8), padding=6),
        Case((5, 20), (1, 7), stride=(1, 3), padding=(0, 6)),
        Case((20, 5), (6, 1), stride=(4, 1), dilation=(3, 1), padding=[(9, 4), (0, 0)]),
        Case((4, 4), (3, 3), stride=2, dilation=2, padding=1),  # odd outputs see no tap
        Case((5, 4), (4, 4), stride=2, dilation=4, padding=2, output_padding=3),
        Case((8, 9), (3, 3), stride=(3, 1), dilation=(2, 3), padding=[(0, 4), (5, 1)]),
        Case((40,), (32,), stride=16, padding=8, batch=1),
        Case((30,), (16,), stride=8, padding=4, output_padding=7),
        Case((2, 3, 4), (4, 4, 4), stride=2, padding=1, batch=1),
        Case((4, 1, 9), (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), output_padding=(0, 1, 1)),
    ],
    ids=str,
)
def test_unusual_geometry(case: Case, name: str) -> None:
    check_conv_transpose(case.but(**kind(name)))


def test_outputs_beyond_every_input() -> None:
    """Output padding and padding can leave outputs without a single product: the bias alone."""
    case = Case((2,), (2,), 1, 1, 2, stride=7, output_padding=6, batch=1)
    x, w, b = case.transposed_arrays()
    got = gc.conv_transpose1d(x, w, b, **case.transposed_arguments)
    reached = {0, 1, 7, 8}
    for o in set(range(15)) - reached:
        np.testing.assert_array_equal(got[0, :, o], b)


LAYERS = {
    "unet-up": Case((40, 50), (2, 2), 1, 24, 12, batch=1, stride=2),
    "dcgan": Case((16, 16), (4, 4), 1, 32, 16, batch=2, stride=2, padding=1),
    "decoder-depthwise": Case((60, 70), (4, 4), 8, batch=1, stride=2, padding=1),
    "detector-head": Case((80, 90), (2, 2), 1, 12, 1, batch=1, stride=2),
    "hifigan-up": Case((300,), (16,), 1, 24, 12, batch=1, stride=8, padding=4),
    "vocoder-last-up": Case((1500,), (4,), 1, 16, 8, batch=1, stride=2, padding=1),
    "speech-decoder": Case((400,), (16,), 1, 40, 1, batch=1, stride=8),
    "video-up": Case((4, 20, 22), (3, 4, 4), 1, 8, 4, batch=1, stride=(1, 2, 2), padding=1),
    "several-boxes": Case((110, 120), (3, 3), 1, 24, 3, batch=1, padding=1),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_networks(name: str, dtype: np.dtype) -> None:
    """Shapes of real layers (with fewer channels), large enough for blocks and threads."""
    case = LAYERS[name]
    x, w, b = case.transposed_arrays(dtype)
    arguments = case.transposed_arguments
    want = exact(reference.conv_transpose, x, w, b, **arguments)
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **arguments)
    conv_transpose = function("conv_transpose", case.ndim)
    for algorithm in filterfalse(has_own_bound, algorithms(conv_transpose, x, w, b, **arguments)):
        got = conv_transpose(x, w, b, **arguments, algorithm=algorithm)
        assert_within(got, want, bound, units_for(case.in_per_group, *case.kernel))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_layouts(ndim: int, name: str, layout: str) -> None:
    size = ((19,), (5, 9), (2, 3, 9))[ndim - 1]
    case = Case(size, (3,) * ndim, **kind(name), padding=1)
    for dtype in FLOATS:
        check_conv_transpose(case, dtype, layout)
        check_conv_transpose(case.but(stride=2, output_padding=1), dtype, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weight_layouts(layout: str) -> None:
    for case in (Case((5, 11), (4, 3), 3, 4, 5, stride=2), Case((5, 11), (5, 3), 6, padding=2)):
        x, w, b = case.transposed_arrays()
        got = gc.conv_transpose2d(x, place(w, layout), b, **case.transposed_arguments)
        arguments = case.transposed_arguments
        want = reference.conv_transpose(x, w, b, **arguments)
        bound = reference.error_bound(reference.conv_transpose, x, w, b, **arguments)
        assert_within(got, want, bound, units_for(*case.weight_shape[1:]))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_without_batch_axis(ndim: int, name: str) -> None:
    case = Case((4, 5, 3)[:ndim], (3, 2, 4)[:ndim], **kind(name), batch=1, stride=2)
    x, w, b = case.transposed_arrays()
    conv_transpose = function("conv_transpose", ndim)
    got = conv_transpose(x[0], w, b, **case.transposed_arguments)
    assert got.shape == (case.out_channels, *case.transposed_out_size)
    np.testing.assert_array_equal(got, conv_transpose(x, w, b, **case.transposed_arguments)[0])
    with guarded(got.shape, "float32") as out:
        arguments = {**case.transposed_arguments, "residual": got}
        assert conv_transpose(x[0], w, b, **arguments, out=out) is out
    want = reference.conv_transpose(x[0], w, b, **arguments)
    bound = reference.error_bound(reference.conv_transpose, x[0], w, b, **arguments)
    assert_within(out, want, bound)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_empty_batch(ndim: int) -> None:
    case = Case((7,) * ndim, (3,) * ndim, 2, 2, 3, batch=0, stride=2)
    x, w, b = case.transposed_arrays()
    got = function("conv_transpose", ndim)(x, w, b, **case.transposed_arguments)
    assert got.shape == (0, 6, *(15,) * ndim)
    assert got.dtype == np.float32


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "flipped_slice"])
@pytest.mark.parametrize(
    "case",
    [
        Case((7, 9), (3, 3), 1, 16, 16, padding=1),
        Case((7, 9), (4, 4), 4, 4, 4, stride=2, padding=1),
        Case((7, 9), (3, 3), 20, stride=2, padding=1, output_padding=1),
        Case((7, 9), (3, 3), 20, padding=1),
        Case((7, 9), (1, 1), 2, 9, 5),
        Case((7, 9), (2, 2), 2, 9, 5, stride=2),
        Case((30,), (8,), 5, 3, 2, stride=4, padding=2),
        Case((3, 4, 5), (3, 3, 3), 2, 3, 4, stride=2, padding=1),
    ],
    ids=str,
)
def test_every_algorithm(case: Case, layout: str, dtype: np.dtype) -> None:
    x, w, b = case.transposed_arrays(dtype)
    conv_transpose = function("conv_transpose", case.ndim)
    names = algorithms(conv_transpose, place(x, layout), w, b, **case.transposed_arguments)
    assert "reference" in names
    for name in names:
        if not has_own_bound(name):
            check_conv_transpose(case, dtype, layout, algorithm=name)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_is_the_gradient_of_the_convolution(ndim: int, name: str) -> None:
    """The same map by two public names: bits need not agree, the bound must."""
    case = Case((6, 5, 4)[:ndim], (3, 2, 3)[:ndim], **kind(name), stride=2, padding=1)
    x, w, _ = case.transposed_arrays()
    size = (case.batch, case.out_channels, *case.transposed_out_size)
    got = gc.grad.__dict__[f"conv{ndim}d_input"](
        size, w, x, stride=2, padding=1, groups=case.groups
    )
    want = reference.conv_transpose(x, w, **case.transposed_arguments)
    bound = reference.error_bound(reference.conv_transpose, x, w, **case.transposed_arguments)
    assert_within(got, want, bound)
