"""Convolutions in one, two and three dimensions against the reference, around every edge."""

from __future__ import annotations

from itertools import filterfalse, product

import numpy as np
import pytest
from helpers import (
    FLOATS,
    KINDS,
    LAYOUTS,
    Case,
    algorithms,
    assert_within,
    check_conv,
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

# A register tile is 1..8 output channels by up to 8 vectors of 4, 8 or 16 lanes (half for float64):
# the last tile of a row of positions is exact, one short or one over.
LANES = {"float32": (4, 8, 16), "float64": (2, 4, 8)}
WIDTHS = {
    name: sorted({lanes * v + e for lanes in choice for v in range(1, 9) for e in (-1, 0, 1)})
    for name, choice in LANES.items()
}
TILE_EDGES = [(name, width) for name in LANES for width in WIDTHS[name]]


@pytest.mark.parametrize(("dtype", "width"), TILE_EDGES)
def test_tile_edges(dtype: str, width: int) -> None:
    for out_per_group in range(1, 10):
        case = Case((width,), (3,), 2, 2, out_per_group, batch=1, padding=1)
        check_conv(case, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("algorithm", ["direct", "reference"])
@pytest.mark.parametrize("width", range(1, 36))
def test_rows_of_every_width(width: int, algorithm: str, dtype: np.dtype) -> None:
    """Rows follow one another in the flat layout: each width puts the row ends in other lanes."""
    for height, out_per_group in ((1, 3), (2, 8), (5, 4)):
        case = Case((height, width), (3, 3), 2, 3, out_per_group, batch=1, padding=1)
        check_conv(case, dtype, algorithm=algorithm)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("width", range(1, 36))
def test_depthwise_rows_of_every_width(width: int, dtype: np.dtype) -> None:
    for height, kernel, stride in ((1, 3, 1), (6, 3, 1), (7, 5, 1), (9, 3, 2), (4, 7, 2)):
        case = Case(
            (height, width), (kernel, kernel), 3, batch=1, stride=stride, padding=kernel // 2
        )
        check_conv(case, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("out_per_group", [1, 2, 7, 8, 9, 16, 17, 24, 25, 33])
@pytest.mark.parametrize("in_per_group", [1, 2, 3, 4, 8, 15, 16, 17, 40])
def test_pointwise_channels(in_per_group: int, out_per_group: int, dtype: np.dtype) -> None:
    for size in ((1, 1), (3, 5), (7, 7), (11, 12)):
        check_conv(Case(size, (1, 1), 2, in_per_group, out_per_group), dtype)


PADDINGS = [0, 1, [(2, 0), (1, 3), (0, 1)], 7]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_stride_dilation_padding(ndim: int, name: str, dilation: int, stride: int) -> None:
    for padding in PADDINGS:
        case = Case(
            ((17,), (9, 11), (7, 5, 8))[ndim - 1],
            ((4,), (3, 2), (2, 2, 3))[ndim - 1],
            **kind(name),
            batch=2 if ndim < 3 else 1,
            stride=stride,
            dilation=dilation,
            padding=padding[:ndim] if isinstance(padding, list) else padding,
        )
        check_conv(case, FLOATS[(stride + dilation + ndim) % 2])


@pytest.mark.parametrize("name", ["dense", "grouped-odd", "depthwise", "multiplier"])
@pytest.mark.parametrize(
    "case",
    [
        Case((20, 9), (1, 7), stride=(1, 4), padding=(0, 3)),
        Case((9, 20), (7, 1), stride=(3, 1), padding=[(5, 2), (0, 0)]),
        Case((12, 13), (2, 5), stride=(2, 1), dilation=(3, 2), padding=(4, 1)),
        Case((13, 13), (11, 11), stride=4, padding=2, batch=1),
        Case((19, 22), (15, 15), padding=7, batch=1),
        Case((2, 3), (5, 5), padding=4),
        Case((1, 1), (3, 3), padding=1),
        Case((3, 4), (3, 4)),
        Case((4, 4), (2, 2), stride=5, padding=3),
        Case((200,), (128,), padding=64, batch=1),
        Case((3,), (3,), dilation=40, padding=45),
        Case((5, 3, 33), (1, 3, 3), padding=(0, 1, 1), batch=1),
        Case((6, 6, 6), (5, 5, 5), padding=2, batch=1),
        Case((2, 2, 2), (3, 4, 5), padding=(3, 4, 5), stride=(1, 2, 3)),
    ],
    ids=str,
)
def test_unusual_geometry(case: Case, name: str) -> None:
    """Kernels that are not square, long, larger than the input, or smaller than their padding."""
    check_conv(case.but(**kind(name)))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("name", ["dense", "grouped", "depthwise", "multiplier"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_padding_modes(ndim: int, name: str, mode: str) -> None:
    size, kernel = (6, 5, 7)[:ndim], (3, 2, 4)[:ndim]
    reach = {"reflect": [(5, 2), (0, 4), (6, 6)], "circular": [(6, 2), (5, 4), (7, 0)]}
    far = reach.get(mode, [(9, 2), (0, 8), (3, 3)])[:ndim]
    for padding, stride, dilation in ((1, 1, 1), (far, 1, 1), (far, 2, 1), (far, 3, 2)):
        where = {"stride": stride, "dilation": dilation, "padding": padding, "padding_mode": mode}
        for dtype in FLOATS:
            check_conv(Case(size, kernel, **kind(name), **where), dtype)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
def test_named_padding(ndim: int, padding: str) -> None:
    if padding == "causal" and ndim > 1:  # refused, as test_errors shows
        padding = [(2, 1)] * ndim
    for stride, dilation, kernel in product((1, 2, 3), (1, 2), (1, 2, 3)):
        case = Case((8, 7, 9)[:ndim], (kernel,) * ndim, 2, 2, 3, batch=1)
        check_conv(case.but(padding=padding, stride=stride, dilation=dilation))


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 4, 9])
def test_same_gives_the_size_divided_by_the_stride(kernel: int, stride: int, size: int) -> None:
    case = Case((size, 2 * size), (kernel, kernel), 2, 1, 1, stride=stride, padding="same")
    check_conv(case)
    x, w, _ = case.arrays()
    y = gc.conv2d(x, w, stride=stride, padding="same", groups=2)
    assert y.shape[2:] == (-(-size // stride), -(-2 * size // stride))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_layouts(ndim: int, name: str, layout: str) -> None:
    """Input and output in every layout, each between NaN, for kernels 3 and 1 and for stride 2."""
    size = ((35,), (6, 19), (3, 4, 17))[ndim - 1]
    case = Case(size, (3,) * ndim, **kind(name), padding=1)
    for dtype in FLOATS:
        check_conv(case, dtype, layout)
        check_conv(case.but(kernel=(1,) * ndim, padding=0), dtype, layout)
        check_conv(case.but(stride=2), dtype, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weight_layouts(layout: str) -> None:
    for case in (Case((9, 21), (3, 3), 3, 4, 5, padding=1), Case((9, 21), (5, 3), 6, padding=2)):
        x, w, b = case.arrays()
        got = gc.conv2d(x, place(w, layout), b, **case.arguments)
        want = gc.conv2d(x, w, b, **case.arguments)
        bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
        assert_within(got, want.astype("f8"), bound, 2 * units_for(*w.shape[1:]))
        strided_bias = np.repeat(b, 3)[::3][::-1]
        got = gc.conv2d(x, w, strided_bias, **case.arguments)
        np.testing.assert_array_equal(
            got, gc.conv2d(x, w, np.ascontiguousarray(strided_bias), **case.arguments)
        )


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", ["dense", "grouped", "depthwise"])
def test_broadcast_inputs(name: str, axes: tuple[int, ...]) -> None:
    """Views of stride 0, as numpy.broadcast_to makes them, in the input, weight and residual."""
    for kernel in ((1, 1), (3, 3)):
        case = Case((5, 18), kernel, **kind(name), batch=3)
        x, w, b = case.arrays()
        view = np.broadcast_to(x[tuple(slice(1 if a in axes else None) for a in range(4))], x.shape)
        taps = np.broadcast_to(w[tuple(slice(1 if a in axes else None) for a in range(4))], w.shape)
        assert 0 in view.strides
        residual = np.broadcast_to(np.float32(0.5), (3, case.out_channels, *case.out_size))
        options = {**case.arguments, "residual": residual}
        want = reference.conv(view, taps, b, **options)
        bound = reference.error_bound(reference.conv, view, taps, b, **options)
        assert_within(gc.conv2d(view, taps, b, **options), want, bound, units_for(*w.shape[1:]))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_without_batch_axis(ndim: int, name: str) -> None:
    case = Case((7, 6, 5)[:ndim], (3, 2, 3)[:ndim], **kind(name), batch=1, padding=1)
    x, w, b = case.arrays()
    conv = function("conv", ndim)
    got = conv(x[0], w, b, **case.arguments)
    assert got.shape == (case.out_channels, *case.out_size)
    np.testing.assert_array_equal(got, conv(x, w, b, **case.arguments)[0])
    with guarded(got.shape, "float32") as out:
        assert conv(x[0], w, b, **case.arguments, residual=got, out=out) is out
    want = reference.conv(x[0], w, b, **case.arguments, residual=got)
    bound = reference.error_bound(reference.conv, x[0], w, b, **case.arguments, residual=got)
    assert_within(out, want, bound, units_for(*w.shape[1:]))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_empty_batch(ndim: int) -> None:
    case = Case((7,) * ndim, (3,) * ndim, 2, 2, 3, batch=0, stride=2)
    x, w, b = case.arrays()
    got = function("conv", ndim)(x, w, b, **case.arguments)
    assert got.shape == (0, 6, *(3,) * ndim)
    assert got.dtype == np.float32
    with pytest.raises(ValueError, match="groups"):
        function("conv", ndim)(x, w, b, groups=3)


def test_without_bias_and_with_residual() -> None:
    for name in KINDS:
        case = Case((6, 21), (3, 3), **kind(name), padding=1)
        x, w, b = case.arrays()
        residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
        for options in ({}, {"bias": b}, {"residual": residual}, {"bias": b, "residual": residual}):
            got = gc.conv2d(x, w, **case.arguments, **options)
            want = reference.conv(x, w, **case.arguments, **options)
            bound = reference.error_bound(reference.conv, x, w, **case.arguments, **options)
            assert_within(got, want, bound, units_for(*w.shape[1:]))


EVERY_ALGORITHM = [
    Case((13, 14), (3, 3), 1, 16, 16, padding=1),
    Case((13, 14), (3, 3), 2, 8, 12, padding=1),
    Case((9, 30), (3, 3), 4, 4, 4, padding=1),
    Case((9, 30), (3, 3), 24, padding=1),
    Case((9, 30), (5, 5), 17, stride=2, padding=2),
    Case((9, 10), (1, 1), 2, 20, 12),
    Case((9, 10), (1, 1), 2, 7, 5, stride=2),
    Case((41,), (5,), 3, 2, 4, stride=2, padding=2),
    Case((70,), (9,), 12, padding=4),
    Case((4, 5, 9), (3, 3, 3), 2, 3, 4, padding=1),
    Case((4, 5, 9), (3, 3, 3), 8, padding=1),
]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "flipped_slice"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", EVERY_ALGORITHM, ids=str)
def test_every_algorithm(case: Case, dtype: np.dtype, layout: str) -> None:
    x, w, b = case.arrays(dtype)
    conv = function("conv", case.ndim)
    names = algorithms(conv, place(x, layout), w, b, **case.arguments)
    assert {"direct", "reference"} <= set(names)
    for name in names:
        if not has_own_bound(name):
            check_conv(case, dtype, layout, algorithm=name)


LAYERS = {
    "resnext50-stage2": Case((28, 28), (3, 3), 4, 8, 8, batch=1, padding=1),
    "regnet-grouped-stride2": Case((29, 29), (3, 3), 3, 8, 8, batch=1, stride=2, padding=1),
    "alexnet-conv2": Case((27, 27), (5, 5), 2, 6, 16, batch=1, padding=2),
    "stem": Case((65, 65), (7, 7), 1, 3, 16, batch=1, stride=2, padding=3),
    "mobilenet-depthwise": Case((56, 56), (3, 3), 24, batch=1, padding=1),
    "mobilenet-depthwise-stride2": Case((57, 57), (3, 3), 24, batch=1, stride=2, padding=1),
    "convnext-depthwise": Case((28, 28), (7, 7), 16, batch=1, padding=3),
    "replknet-depthwise": Case((32, 32), (31, 31), 2, batch=1, padding=15),
    "small-map": Case((7, 7), (3, 3), 1, 24, 24, batch=3, padding=1),
    "expand": Case((14, 14), (1, 1), 1, 96, 160, batch=1),
    "project-stride2": Case((15, 15), (1, 1), 1, 64, 128, batch=1, stride=2),
    "wav2vec2-positional": Case((50,), (128,), 4, 12, 12, batch=1, padding=64),
    "mamba-causal": Case((64,), (4,), 96, batch=2, padding="causal"),
    "x3d-depthwise": Case((4, 20, 20), (3, 3, 3), 12, batch=1, padding=1),
    "deeplab-dilated": Case((33, 33), (3, 3), 1, 24, 12, batch=1, padding=12, dilation=12),
    "unet-last": Case((130, 150), (3, 3), 1, 12, 3, batch=1, padding=1),
    "unet-float64-boxes": Case((82, 65), (3, 3), 1, 40, 5, batch=1, stride=2, padding=1),
    "wavenet": Case((9000,), (2,), 1, 8, 8, batch=1, dilation=64, padding="causal"),
    "speech-encoder": Case((16000,), (16,), 1, 1, 12, batch=1, stride=8, padding=4),
    "large-image-depthwise": Case((300, 310), (5, 5), 2, batch=1, padding=2),
    "wide-pointwise": Case((5, 7), (1, 1), 1, 700, 130, batch=1),
    "video": Case((9, 40, 43), (3, 3, 3), 1, 8, 4, batch=1, padding=1),
    "r3d-stem": Case((4, 24, 24), (3, 7, 7), 1, 3, 8, batch=1, stride=(1, 2, 2), padding=(1, 3, 3)),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_networks(name: str, dtype: np.dtype) -> None:
    """Shapes of real layers (with fewer channels), large enough for blocks and threads."""
    case = LAYERS[name]
    x, w, b = case.arrays(dtype)
    want = exact(reference.conv, x, w, b, **case.arguments)
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    conv = function("conv", case.ndim)
    for algorithm in filterfalse(has_own_bound, algorithms(conv, x, w, b, **case.arguments)):
        got = conv(x, w, b, **case.arguments, algorithm=algorithm)
        assert_within(got, want, bound, units_for(*w.shape[1:]))
