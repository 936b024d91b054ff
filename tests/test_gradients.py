"""Gradients against the references, and against the convolutions by their adjoint identities."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    KINDS,
    LAYOUTS,
    TRANSFORM_UNITS,
    Case,
    assert_within,
    exact,
    function,
    gradient,
    guarded,
    kind,
    place,
    units_for,
)

import groupconv as gc
from groupconv import reference


def check_input(case: Case, dtype: object = "float32", layout: str = "contiguous") -> None:
    _, w, _ = case.arrays(dtype)
    g = case.output_gradient(dtype)
    with guarded(case.input_shape, dtype, layout) as out:
        got = gradient("conv", case.ndim, "input")(
            case.input_shape, w, place(g, layout), **case.arguments, out=out
        )
        assert got is out
    operands = (case.input_shape, w, g)
    want = exact(reference.conv_input, *operands, **case.arguments)
    bound = reference.error_bound(reference.conv_input, *operands, **case.arguments)
    wide = case.out_per_group >= 8 and case.kernel in ((3, 3), (5, 5)) and case.stride == 1
    assert_within(got, want, bound, TRANSFORM_UNITS if wide else 64)


def check_weight(case: Case, dtype: object = "float32", layout: str = "contiguous") -> None:
    x, _, _ = case.arrays(dtype)
    g = case.output_gradient(dtype)
    with guarded(case.weight_shape, dtype, layout) as out:
        got = gradient("conv", case.ndim, "weight")(
            place(x, layout), case.weight_shape, place(g, layout), **case.arguments, out=out
        )
        assert got is out
    operands = (x, case.weight_shape, g)
    want = exact(reference.conv_weight, *operands, **case.arguments)
    bound = reference.error_bound(reference.conv_weight, *operands, **case.arguments)
    assert_within(got, want, bound, units_for(case.batch, *case.out_size))


def check_transposed(case: Case, dtype: object = "float32", layout: str = "contiguous") -> None:
    x, w, _ = case.transposed_arrays(dtype)
    g = case.output_gradient(dtype, transposed=True)
    arguments = case.transposed_arguments
    with guarded(x.shape, dtype, layout) as out:
        gradient("conv_transpose", case.ndim, "input")(
            x.shape, w, place(g, layout), **arguments, out=out
        )
    want = exact(reference.conv_transpose_input, x.shape, w, g, **arguments)
    bound = reference.error_bound(reference.conv_transpose_input, x.shape, w, g, **arguments)
    assert_within(out, want, bound, units_for(case.out_per_group, *case.kernel))
    with guarded(w.shape, dtype, layout) as out:
        gradient("conv_transpose", case.ndim, "weight")(
            place(x, layout), w.shape, place(g, layout), **arguments, out=out
        )
    want = exact(reference.conv_transpose_weight, x, w.shape, g, **arguments)
    bound = reference.error_bound(reference.conv_transpose_weight, x, w.shape, g, **arguments)
    assert_within(out, want, bound, units_for(case.batch, *case.size))


def check_all(case: Case, dtype: object = "float32", layout: str = "contiguous") -> None:
    check_input(case, dtype, layout)
    check_weight(case, dtype, layout)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "width", [3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 34, 63, 64, 65, 96, 98, 129, 130]
)
def test_tile_edges(width: int, dtype: np.dtype) -> None:
    for out_per_group in (1, 2, 3, 4, 5, 8, 9):
        for in_per_group, kernel in ((1, 3), (3, 1), (4, 4), (9, 2)):
            size = max(width, kernel)
            check_all(Case((size,), (kernel,), 2, in_per_group, out_per_group, batch=2), dtype)


@pytest.mark.parametrize("width", range(1, 21))
def test_rows_of_every_width(width: int) -> None:
    for height, name, kernel, stride in (
        (3, "grouped", 3, 1),
        (6, "depthwise", 3, 1),
        (7, "depthwise", 5, 2),
        (5, "multiplier", 3, 2),
        (4, "dense", 1, 1),
    ):
        case = Case((height, width), (kernel, kernel), **kind(name), padding=kernel // 2)
        check_all(case.but(stride=stride))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_weight_over_rows_that_are_one_in_memory(stride: int, dilation: int) -> None:
    """Rows of stride 0, as numpy.broadcast_to makes them, are as far apart as any others."""
    for height, taps in ((9, 3), (14, 2), (14, 4)):
        case = Case((height, 200), (taps, 3), 4, 1, 1, batch=2, padding=1)
        case = case.but(stride=(stride, 1), dilation=(dilation, 1))
        row = case.draw("input", (2, 4, 1, 200), "float32")
        x, g = np.broadcast_to(row, (2, 4, height, 200)), case.output_gradient("float32")
        shape, arguments = (4, 1, taps, 3), case.arguments
        got = gc.grad.conv2d_weight(x, shape, g, **arguments)
        want = exact(reference.conv_weight, x, shape, g, **arguments)
        bound = reference.error_bound(reference.conv_weight, x, shape, g, **arguments)
        assert_within(got, want, bound, units_for(case.batch, *case.out_size))


PADDINGS = [0, 1, [(2, 0), (1, 3), (0, 1)], 7]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_stride_dilation_padding(ndim: int, name: str, dilation: int, stride: int) -> None:
    for padding in PADDINGS[: 4 if ndim < 3 else 3]:
        case = Case(
            ((17,), (9, 11), (7, 5, 8))[ndim - 1],
            ((4,), (3, 2), (2, 2, 3))[ndim - 1],
            **kind(name),
            batch=2 if ndim < 3 else 1,
            stride=stride,
            dilation=dilation,
            padding=padding[:ndim] if isinstance(padding, list) else padding,
        )
        check_all(case, FLOATS[(stride + dilation + ndim) % 2])


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("name", ["dense", "grouped", "depthwise", "multiplier"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_padding_modes(ndim: int, name: str, mode: str) -> None:
    size, kernel = (6, 5, 7)[:ndim], (3, 2, 4)[:ndim]
    far = [(5, 2), (0, 4), (6, 6)][:ndim]
    for padding, stride in ((1, 1), (far, 1), (far, 3)):
        where = {"stride": stride, "padding": padding, "padding_mode": mode}
        check_all(Case(size, kernel, **kind(name), **where))


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
def test_named_padding(padding: str) -> None:
    for stride, dilation in ((1, 1), (1, 3), (3, 2)):
        check_all(Case((23,), (4,), 2, 2, 3, stride=stride, dilation=dilation, padding=padding))
        if padding != "causal":
            check_all(Case((9, 8), (4, 3), 2, 2, 3, stride=stride, padding=padding))


@pytest.mark.parametrize("name", ["dense", "grouped-odd", "depthwise", "multiplier"])
@pytest.mark.parametrize(
    "case",
    [
        Case((20, 9), (1, 7), stride=(1, 4), padding=(0, 3)),
        Case((13, 13), (11, 11), stride=4, padding=2, batch=1),
        Case((2, 3), (5, 5), padding=4),
        Case((1, 1), (3, 3), padding=1),
        Case((3, 4), (3, 4)),
        Case((4, 5), (2, 2), stride=5, padding=3),  # inputs that no output reads
        Case((12, 12), (1, 1), stride=4),
        Case((3,), (3,), dilation=40, padding=45),
        Case((150,), (128,), padding=64, batch=1),
        Case((5, 3, 33), (1, 3, 3), padding=(0, 1, 1), batch=1),
        Case((2, 2, 2), (3, 4, 5), padding=(3, 4, 5), stride=(1, 2, 3)),
    ],
    ids=str,
)
def test_unusual_geometry(case: Case, name: str) -> None:
    check_all(case.but(**kind(name)))


@pytest.mark.parametrize("size", [9, 10, 11, 12])
def test_input_sizes_that_share_an_output_size(size: int) -> None:
    """With stride 4 all of them give 3 outputs; the last inputs get no gradient at all."""
    case = Case((size, 9), (1, 1), 2, 1, 2, stride=4)
    assert case.out_size == (3, 3)
    check_all(case)
    g = case.output_gradient("float32")
    _, w, _ = case.arrays()
    got = gc.grad.conv2d_input(case.input_shape, w, g, stride=4, groups=2)
    assert (got[:, :, 9:] == 0).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_layouts(ndim: int, name: str, layout: str) -> None:
    size = ((35,), (5, 9), (3, 4, 9))[ndim - 1]
    case = Case(size, (3,) * ndim, **kind(name), padding=1)
    for dtype in FLOATS:
        check_all(case, dtype, layout)
        check_all(case.but(stride=2), dtype, layout)
        check_all(case.but(kernel=(1,) * ndim, padding=0), dtype, layout)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_transposed(ndim: int, name: str, dilation: int, stride: int) -> None:
    case = Case(
        ((9,), (5, 6), (3, 4, 4))[ndim - 1],
        ((4,), (4, 2), (3, 4, 2))[ndim - 1],
        **kind(name),
        batch=2 if ndim < 3 else 1,
        stride=stride,
        dilation=dilation,
    )
    most = max(stride, dilation) - 1  # at dilation 4 and stride 1 more windows fit than inputs
    dtype = FLOATS[(stride + dilation + ndim) % 2]
    check_transposed(case, dtype)
    check_transposed(case.but(padding=1, output_padding=most), dtype)
    check_transposed(case.but(padding=[(2, 0), (0, 1), (1, 0)][:ndim], output_padding=most), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transposed_layouts(layout: str) -> None:
    for name in KINDS:
        case = Case((5, 9), (3, 4), **kind(name), stride=2, padding=1, output_padding=1)
        check_transposed(case, "float32", layout)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_bias(ndim: int) -> None:
    for dtype in FLOATS:
        g = Case((5,) * ndim, (1,) * ndim, 3).draw("gradient", (4, 3, *(5,) * ndim), dtype)
        for name in ("conv", "conv_transpose"):
            got = gradient(name, ndim, "bias")(g)
            assert got.dtype == g.dtype
            want, bound = reference.conv_bias(g), reference.conv_bias(abs(g))
            assert_within(got, want, bound)
            got = gradient(name, ndim, "bias")(g[0])
            want, bound = reference.conv_bias(g[:1]), reference.conv_bias(abs(g[:1]))
            assert_within(got, want, bound)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_without_batch_axis(ndim: int) -> None:
    case = Case((6, 5, 4)[:ndim], (3, 2, 3)[:ndim], 2, 2, 3, batch=1, stride=2, padding=1)
    x, w, _ = case.arrays()
    g = case.output_gradient("float32")
    by_input, by_weight = (gradient("conv", ndim, of) for of in ("input", "weight"))
    got = by_input(x.shape[1:], w, g[0], **case.arguments)
    np.testing.assert_array_equal(got, by_input(x.shape, w, g, **case.arguments)[0])
    got = by_weight(x[0], w.shape, g[0], **case.arguments)
    np.testing.assert_array_equal(got, by_weight(x, w.shape, g, **case.arguments))
    x, w, _ = case.transposed_arrays()
    g = case.output_gradient("float32", transposed=True)
    by_input, by_weight = (gradient("conv_transpose", ndim, of) for of in ("input", "weight"))
    got = by_input(x.shape[1:], w, g[0], **case.transposed_arguments)
    np.testing.assert_array_equal(got, by_input(x.shape, w, g, **case.transposed_arguments)[0])
    got = by_weight(x[0], w.shape, g[0], **case.transposed_arguments)
    np.testing.assert_array_equal(got, by_weight(x, w.shape, g, **case.transposed_arguments))


def test_empty_batch() -> None:
    case = Case((7, 6), (3, 3), 2, 2, 3, batch=0)
    x, w, _ = case.arrays()
    g = case.output_gradient("float32")
    assert gc.grad.conv2d_input(x.shape, w, g, groups=2).shape == x.shape
    got = gc.grad.conv2d_weight(x, w.shape, g, groups=2)
    np.testing.assert_array_equal(got, np.zeros(w.shape, "float32"))
    np.testing.assert_array_equal(gc.grad.conv2d_bias(g), np.zeros(6, "float32"))
    with guarded(w.shape, "float32") as out:
        gc.grad.conv2d_weight(x, w.shape, g, groups=2, out=out)
    np.testing.assert_array_equal(out, np.zeros(w.shape, "float32"))


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, 33])
def test_weight_over_long_batches(batch: int) -> None:
    """Chunks of the batch are summed apart and combined: each length has another last chunk."""
    for case in (
        Case((9, 9), (3, 3), 4, 2, 2, batch=batch, padding=1),
        Case((9, 9), (3, 3), 8, batch=batch, padding=1),
        Case((70,), (5,), 1, 5, 9, batch=batch),
    ):
        check_weight(case)
        check_weight(case, "float64")


# Planes too large for one cache block: they are cut into boxes, of which the last is partial.
SEVERAL_BOXES = [
    Case((1387,), (3,), 1, 64, 5, batch=1),
    Case((2500,), (4,), 1, 33, 3, stride=2, dilation=3, padding=2),
    Case((82, 65), (3, 3), 2, 19, 5, stride=2, padding=1, dilation=3),
    Case((74, 60), (5, 4), 1, 40, 3, batch=1, stride=(2, 1), padding=2),
    Case((150, 131), (3, 3), 3, 9, 2, batch=1, padding=1),
    Case((260, 250), (3, 3), 2, batch=1, padding=1),
    Case((260, 251), (3, 3), 2, batch=1, stride=2, padding=1),
    Case((299, 70), (4, 5), 2, stride=2, padding=[(3, 1), (1, 2)]),
    Case((90, 300), (2, 7), 2, stride=2, padding=(2, 3)),
    Case((11, 40, 43), (2, 3, 3), 1, 10, 2, batch=1, padding=1),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", SEVERAL_BOXES, ids=str)
def test_weight_in_several_boxes(case: Case, dtype: np.dtype) -> None:
    check_weight(case, dtype)


@pytest.mark.parametrize("case", SEVERAL_BOXES, ids=str)
def test_input_in_several_boxes(case: Case) -> None:
    case = case.but(in_per_group=case.out_per_group, out_per_group=case.in_per_group)
    check_input(case, "float64")


def dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a.astype(np.longdouble), b.astype(np.longdouble)))


@pytest.mark.parametrize("seed", range(40))
def test_adjoint_identities(seed: int) -> None:
    """<conv(x, w), g> = <x, conv_input(w, g)> = <w, conv_weight(x, g)>, and so transposed."""
    rng = np.random.default_rng(seed)
    ndim = 1 + seed % 3
    case = Case(
        tuple(rng.integers(4, 9, ndim).tolist()),
        tuple(rng.integers(1, 5, ndim).tolist()),
        *rng.integers(1, 5, 3).tolist(),
        batch=int(rng.integers(1, 4)),
        stride=tuple(rng.integers(1, 4, ndim).tolist()),
        padding=[tuple(pair) for pair in rng.integers(0, 4, (ndim, 2)).tolist()],
    )
    x, w, _ = case.arrays("float64")
    y = function("conv", ndim)(x, w, **case.arguments)
    g = case.draw("gradient", y.shape, "float64")
    dx = gradient("conv", ndim, "input")(x.shape, w, g, **case.arguments)
    dw = gradient("conv", ndim, "weight")(x, w.shape, g, **case.arguments)
    magnitude = dot(abs(g), reference.error_bound(reference.conv, x, w, **case.arguments))
    for other in (dot(x, dx), dot(w, dw)):
        assert abs(dot(y, g) - other) <= 64 * 2.0**-53 * magnitude

    case = case.but(padding=0)
    arguments = case.transposed_arguments
    x, w, _ = case.transposed_arrays("float64")
    y = function("conv_transpose", ndim)(x, w, **arguments)
    g = case.draw("gradient", y.shape, "float64")
    dx = gradient("conv_transpose", ndim, "input")(x.shape, w, g, **arguments)
    dw = gradient("conv_transpose", ndim, "weight")(x, w.shape, g, **arguments)
    magnitude = dot(abs(g), reference.error_bound(reference.conv_transpose, x, w, **arguments))
    for other in (dot(x, dx), dot(w, dw)):
        assert abs(dot(y, g) - other) <= 64 * 2.0**-53 * magnitude


def test_gradients_are_derivatives_of_the_convolution() -> None:
    """Central differences of the float64 convolution, exact but for rounding: it is linear."""
    case = Case((5, 6), (3, 2), 2, 2, 3, batch=2, stride=(2, 1), padding=[(1, 0), (2, 1)])
    x, w, _ = case.arrays("float64")
    g = case.output_gradient("float64")
    dx = gc.grad.conv2d_input(x.shape, w, g, **case.arguments)
    dw = gc.grad.conv2d_weight(x, w.shape, g, **case.arguments)

    def loss(x: np.ndarray, w: np.ndarray) -> float:
        return float((gc.conv2d(x, w, **case.arguments) * g).sum())

    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 0.5
        assert abs(loss(x + step, w) - loss(x - step, w) - dx[index]) < 1e-11
    for index in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[index] = 0.5
        assert abs(loss(x, w + step) - loss(x, w - step) - dw[index]) < 1e-11
