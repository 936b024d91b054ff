"""NaN and infinities reach exactly the outputs whose window holds them, by every algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    HALVES,
    TRANSFORM_UNITS,
    Case,
    algorithms,
    assert_same_bits,
    assert_within,
    function,
    gradient,
    has_own_bound,
    place,
)

import groupconv as gc
from groupconv import reference

CASES = [
    Case((13, 14), (3, 3), 1, 16, 16, batch=1, padding=1),
    Case((13, 14), (3, 3), 2, 8, 9, batch=1, padding=1),
    Case((9, 21), (3, 3), 3, 4, 4, batch=1, padding=1),
    Case((9, 21), (3, 3), 12, batch=1, padding=1),
    Case((9, 21), (5, 5), 12, batch=1, padding=2, stride=2),
    Case((9, 10), (7, 7), 5, batch=1, padding=3),
    Case((9, 11), (3, 3), 2, 3, 4, batch=1, padding=2, dilation=2),
    Case((9, 10), (1, 1), 2, 11, 9, batch=1),
    Case((9, 10), (1, 1), 2, 11, 9, batch=1, stride=2),
    Case((41,), (5,), 3, 2, 4, batch=1, padding=2),
    Case((70,), (9,), 12, batch=1, padding=4, stride=3),
    Case((4, 5, 9), (3, 3, 3), 2, 3, 4, batch=1, padding=1),
]
SPECIALS = {"nan": [np.nan], "inf": [np.inf], "-inf": [-np.inf], "both": [np.inf, -np.inf]}

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_special = pytest.mark.parametrize("special", SPECIALS)


def with_specials(array: np.ndarray, special: str) -> list[np.ndarray]:
    """Copies of an array with the values at its first, last and some inner elements."""
    places = [0, array.size - 1, array.size // 2, array.size // 3, array.size - array.shape[-1]]
    copies = []
    for place_ in places:
        copy = array.copy()
        for step, value in enumerate(SPECIALS[special]):
            copy.flat[(place_ + step) % array.size] = value
        copies.append(copy)
    return copies


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@each_special
@each_case
def test_in_the_input(case: Case, special: str, layout: str) -> None:
    x, w, b = case.arrays()
    conv = function("conv", case.ndim)
    for spoiled in with_specials(x, special):
        want = reference.conv(spoiled, w, b, **case.arguments)
        bound = reference.error_bound(reference.conv, spoiled, w, b, **case.arguments)
        spoiled = place(spoiled, layout)
        for name in algorithms(conv, spoiled, w, b, **case.arguments):
            got = conv(spoiled, w, b, **case.arguments, algorithm=name)
            assert_within(got, want, bound, TRANSFORM_UNITS if has_own_bound(name) else 64)
        got = conv(spoiled, w, b, **case.arguments)
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))


@each_special
@each_case
def test_in_the_weight(case: Case, special: str) -> None:
    """Padding zeros are operands: an infinite weight over padding gives NaN."""
    x, w, b = case.arrays()
    conv = function("conv", case.ndim)
    for spoiled in with_specials(w, special):
        want = reference.conv(x, spoiled, b, **case.arguments)
        bound = reference.error_bound(reference.conv, x, spoiled, b, **case.arguments)
        for name in algorithms(conv, x, spoiled, b, **case.arguments):
            got = conv(x, spoiled, b, **case.arguments, algorithm=name)
            assert_within(got, want, bound, TRANSFORM_UNITS if has_own_bound(name) else 64)


@pytest.mark.parametrize("case", CASES[:8], ids=str)
def test_in_bias_and_residual(case: Case) -> None:
    x, w, b = case.arrays()
    b[1] = np.inf
    residual = np.zeros((1, case.out_channels, *case.out_size), "f4")
    residual[0, :, 0, 0] = np.nan
    residual[0, :, -1, -1] = -np.inf
    conv = function("conv", case.ndim)
    for name in algorithms(conv, x, w, b, **case.arguments):
        got = conv(x, w, b, **case.arguments, residual=residual, algorithm=name)
        want = reference.conv(x, w, b, **case.arguments, residual=residual)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
        assert np.isnan(got[0, 1, -1, -1])


TRANSPOSED = [
    Case((7, 9), (3, 3), 1, 16, 16, batch=1, padding=1),
    Case((7, 9), (4, 4), 3, 4, 4, batch=1, stride=2, padding=1),
    Case((7, 9), (3, 3), 12, batch=1, stride=2, padding=1, output_padding=1),
    Case((7, 9), (2, 2), 2, 5, 3, batch=1, stride=3, output_padding=2),
    Case((7, 9), (1, 1), 2, 5, 3, batch=1),
    Case((30,), (5,), 3, 2, 4, batch=1, stride=2, dilation=3, padding=2),
    Case((3, 4, 5), (3, 3, 3), 2, 3, 4, batch=1, stride=2, padding=1),
]


@each_special
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_in_the_input_of_a_transposed_convolution(case: Case, special: str) -> None:
    x, w, b = case.transposed_arrays()
    arguments = case.transposed_arguments
    conv_transpose = function("conv_transpose", case.ndim)
    for spoiled in with_specials(x, special):
        want = reference.conv_transpose(spoiled, w, b, **arguments)
        bound = reference.error_bound(reference.conv_transpose, spoiled, w, b, **arguments)
        for name in algorithms(conv_transpose, spoiled, w, b, **arguments):
            got = conv_transpose(spoiled, w, b, **arguments, algorithm=name)
            assert_within(got, want, bound, TRANSFORM_UNITS if has_own_bound(name) else 64)


WIDE = [  # depthwise and dense algorithms of their own
    Case((7, 20), (5, 5), 6, batch=2, padding=2),
    Case((2, 40), (3, 3), 6, batch=1, stride=2, padding=1),
    Case((40,), (4,), 12, batch=1, stride=2, padding=1),
    Case((60,), (9,), 12, batch=1, padding=4),
    Case((12, 12), (3, 3), 1, 16, 16, batch=1, padding=1),
    Case((12, 12), (5, 5), 1, 16, 16, batch=1, padding=2),
    Case((300,), (40,), 1, 3, 4, batch=1, padding=20),
]


@each_special
@pytest.mark.parametrize("case", TRANSPOSED + WIDE, ids=str)
def test_in_the_weight_of_a_transposed_convolution(case: Case, special: str) -> None:
    """Nothing lies beside the input: a kernel position that reaches beyond has no product there."""
    x, w, b = case.transposed_arrays()
    arguments = case.transposed_arguments
    conv_transpose = function("conv_transpose", case.ndim)
    layer = getattr(gc, f"ConvTranspose{case.ndim}d")
    for spoiled in with_specials(w, special):
        want = reference.conv_transpose(x, spoiled, b, **arguments)
        bound = reference.error_bound(reference.conv_transpose, x, spoiled, b, **arguments)
        for name in algorithms(conv_transpose, x, spoiled, b, **arguments):
            got = conv_transpose(x, spoiled, b, **arguments, algorithm=name)
            assert_within(got, want, bound, TRANSFORM_UNITS if has_own_bound(name) else 64)
            prepared = layer.from_weight(spoiled, b, **arguments, algorithm=name)
            assert_same_bits(prepared(x), got)


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
def test_in_every_form_of_a_transposed_weight(dtype: np.dtype, special: float) -> None:
    """Types, memory orders, threads; residuals and activations of outputs computed again."""
    case = Case((5, 6), (4, 4), 2, 40, 33, batch=2, stride=2, padding=1)
    x, w, b = case.transposed_arrays(dtype)
    arguments = {**case.transposed_arguments, "activation": ("leaky_relu", 0.2)}
    arguments["residual"] = case.draw("residual", (2, 66, 10, 12), dtype)
    for threads, place_ in enumerate(((0, 0, 0, 0), (3, 2, 0, 3), (70, 32, 3, 1), (0, 3, 0, 3))):
        spoiled = w.copy()
        spoiled[place_] = special
        with np.errstate(invalid="ignore"):
            want = reference.conv_transpose(x, spoiled, b, **arguments)
            bound = reference.error_bound(reference.conv_transpose, x, spoiled, b, **arguments)
        for layout in ("contiguous", "channels_last", "flipped_slice"):
            with gc.num_threads(threads + 1):
                got = gc.conv_transpose2d(x, place(spoiled, layout), b, **arguments)
            assert_within(got, want, bound, 64)
        assert not np.isfinite(want).all()
        assert np.isfinite(want[:, place_[0] // 40 * 33 + place_[1]]).any()


@each_special
@each_case
def test_in_the_weight_of_an_input_gradient(case: Case, special: str) -> None:
    x, w, _ = case.arrays()
    g = case.draw("gradient", (1, case.out_channels, *case.out_size))
    by_input = gradient("conv", case.ndim, "input")
    for spoiled in with_specials(w, special):
        operands = (x.shape, spoiled, g)
        want = reference.conv_input(*operands, **case.arguments)
        bound = reference.error_bound(reference.conv_input, *operands, **case.arguments)
        assert_within(by_input(*operands, **case.arguments), want, bound, TRANSFORM_UNITS)


@each_special
@each_case
def test_in_the_output_gradient(case: Case, special: str) -> None:
    x, w, _ = case.arrays()
    g = case.draw("gradient", (1, case.out_channels, *case.out_size))
    by_input, by_weight = (gradient("conv", case.ndim, of) for of in ("input", "weight"))
    for spoiled in with_specials(g, special):
        operands = (x.shape, w, spoiled)
        got = by_input(*operands, **case.arguments)
        want = reference.conv_input(*operands, **case.arguments)
        bound = reference.error_bound(reference.conv_input, *operands, **case.arguments)
        assert_within(got, want, bound, TRANSFORM_UNITS)
        operands = (x, w.shape, spoiled)
        got = by_weight(*operands, **case.arguments)
        want = reference.conv_weight(*operands, **case.arguments)
        bound = reference.error_bound(reference.conv_weight, *operands, **case.arguments)
        assert_within(got, want, bound)


@each_special
@each_case
def test_in_the_input_of_a_weight_gradient(case: Case, special: str) -> None:
    """An input reaches the taps that read it; whatever fills the ends of vectors must not."""
    x, w, _ = case.arrays()
    g = case.draw("gradient", (1, case.out_channels, *case.out_size))
    by_weight = gradient("conv", case.ndim, "weight")
    for spoiled in with_specials(x, special):
        operands = (spoiled, w.shape, g)
        got = by_weight(*operands, **case.arguments)
        want = reference.conv_weight(*operands, **case.arguments)
        bound = reference.error_bound(reference.conv_weight, *operands, **case.arguments)
        assert_within(got, want, bound)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((7, 7), (3, 3), 1),
        ((14, 14), (5, 5), 1),
        ((7, 9), (7, 7), 1),
        ((8, 14), (3, 3), 2),
        ((9, 30), (5, 5), 2),
        ((3, 5, 11), (3, 3, 3), 1),
        ((4, 6, 18), (2, 3, 3), 2),
    ],
    ids=str,
)
def test_depthwise_rows_and_depths_outside(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: int
) -> None:
    """A weight that is not finite, at each position, over rows and depths of padding too."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 2, *size)).astype("f4")
    conv = function("conv", len(size))
    arguments = {"groups": 2, "stride": stride, "padding": tuple(k // 2 for k in kernel)}
    for position in np.ndindex(kernel):
        for special in (np.inf, np.nan):
            w = rng.standard_normal((2, 1, *kernel)).astype("f4")
            w[(1, 0, *position)] = special
            got = conv(x, w, algorithm="depthwise_in_place", **arguments)
            want = reference.conv(x, w, **arguments)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


def test_an_input_that_no_output_reads_reaches_nothing() -> None:
    x = np.ones((1, 6, 9, 9), "f4")
    x[:, :, 3::4] = np.nan  # stride 4, kernel 3: rows 3 and 7 are skipped
    x[:, :, :, 3::4] = np.inf
    w = np.ones((6, 1, 3, 3), "f4")
    for dense in (False, True):
        groups = 1 if dense else 6
        weight = np.ones((6, 6, 3, 3), "f4") if dense else w
        got = gc.conv2d(x[..., :8, :8], weight, stride=4, groups=groups)
        assert (got == 9 * (6 if dense else 1)).all()


@pytest.mark.parametrize("place_", [(0, 5), (5, 0), (9, 20), (4, 39)])
def test_an_infinite_gradient_over_padding(place_: tuple[int, int]) -> None:
    """The zeros of padding are operands, in rows above and below as in columns beside."""
    x, g = np.ones((1, 8, 10, 40), "f4"), np.ones((1, 8, 10, 40), "f4")
    g[(0, 0, *place_)] = np.inf
    for dtype in ("f4", "f8", "f2"):
        got = gc.grad.conv2d_weight(
            x.astype(dtype), (8, 1, 3, 3), g.astype(dtype), padding=1, groups=8
        )
        want = reference.conv_weight(x, (8, 1, 3, 3), g, padding=1, groups=8)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [17, 33, 60])
def test_an_input_that_no_output_reads_reaches_no_weight_gradient(width: int, stride: int) -> None:
    """The last vector of a row of output gradients ends before the row of inputs does."""
    g = np.ones((2, 5, 6, width), "f4")
    read = (width - 1) * stride + 3
    x = np.full((2, 5, 5 * stride + 3, read + 9), np.nan, "f4")
    x[..., :read] = 1
    x = x[..., : read + stride - 1]  # with stride 2, no window holds the last column
    got = gc.grad.conv2d_weight(x, (5, 1, 3, 3), g, stride, groups=5)
    assert (got == 2 * 6 * width).all()


def test_values_that_overflow() -> None:
    """Sums past the largest float32 are infinite, as by any other order of adding."""
    x, w = np.full((1, 4, 5, 5), 3e38, "f4"), np.ones((4, 4, 3, 3), "f4")
    with np.errstate(all="raise"):  # the overflow is the caller's affair, silently
        assert np.isposinf(gc.conv2d(x, w, padding=1)).all()
        assert np.isneginf(gc.conv2d(x, -w, padding=1)).all()
