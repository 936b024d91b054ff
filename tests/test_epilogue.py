"""Bias, residual and activation in the store: a few ulp from float64, by every algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    HALVES,
    LAYOUTS,
    TRANSFORM_UNITS,
    Case,
    algorithms,
    assert_within,
    exact,
    finfo,
    function,
    guarded,
    has_own_bound,
    place,
    units_for,
)

import groupconv as gc
from groupconv import reference

ACTIVATIONS = [*reference.ACTIVATIONS, ("leaky_relu", 0.2), ("leaky_relu", -1.5)]
SMOOTH = ["sigmoid", "tanh", "silu", "gelu"]

# No activation here is steeper than hard swish (3/2) but the leaky one, by its own slope: an error
# of its argument grows by that factor at most.
STEEPEST = 1.5

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)


def apply(activation: object, x: np.ndarray) -> np.ndarray:
    """The library's activation alone: a convolution that multiplies by 1 and adds nothing."""
    return gc.conv1d(x[None, None], np.ones((1, 1, 1), x.dtype), activation=activation).ravel()


def samples(dtype: np.dtype) -> np.ndarray:
    """Numbers of all magnitudes and both signs, denser where activations bend."""
    info = finfo(dtype)
    largest = np.log2(float(info.max)) - 1
    smallest = np.log2(float(info.smallest_subnormal))
    powers = 2.0 ** np.linspace(smallest, largest, 4001)
    bends = np.linspace(-20, 20, 8001)
    tails = np.linspace(-800, 800, 4001)
    special = [0.0, -0.0, 3.0, -3.0, 6.0, float(info.tiny), float(info.eps)]
    return np.concatenate([powers, -powers, bends, tails, special]).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_activation
def test_accuracy(activation: object, dtype: np.dtype) -> None:
    """Within 4 ulp of the result; gelu of 4 ulp of its argument, whose digits 1 + erf loses."""
    x = samples(dtype)
    got = apply(activation, x)
    want = exact(reference.activate, x, activation)
    eps = finfo(dtype).eps
    scale = abs(x).astype(want.dtype) if activation == "gelu" else abs(want)
    # Results below the normal range keep fewer digits.
    allowed = 4 * eps * scale + float(finfo(dtype).tiny)
    error = abs(got.astype(want.dtype) - want)
    worst = int(np.argmax(error - allowed))
    assert (error <= allowed).all(), (
        f"f({x[worst]!r}) = {got[worst]!r}, exactly {want[worst]!r}: "
        f"{float(error[worst] / (eps * scale[worst])):.2g} ulp"
    )


@pytest.mark.parametrize(
    "activation", ["relu", "relu6", "leaky_relu", ("leaky_relu", 0.2)], ids=str
)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_piecewise_linear_ones_are_exact(activation: object, dtype: np.dtype) -> None:
    x = samples(dtype)
    slope = {"leaky_relu": 0.01, ("leaky_relu", 0.2): 0.2}.get(activation)
    if slope is None:
        want = np.clip(x, 0, 6 if activation == "relu6" else np.inf)
    else:
        want = np.where(x > 0, x, dtype.type(slope) * x)
    np.testing.assert_array_equal(apply(activation, x), want)


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@each_activation
def test_special_values(activation: object, dtype: np.dtype) -> None:
    """Infinities give the limit where the formula has one, NaN stays NaN, as in the definition."""
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0], dtype)
    want = reference.activate(x, activation)
    got = apply(activation, x).astype("f8")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=2.0**-7 if dtype in HALVES else 1e-6)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bounded_ones_stay_within_their_bounds(dtype: np.dtype) -> None:
    x = samples(dtype)
    for name, least, most in (("sigmoid", 0, 1), ("tanh", -1, 1), ("hardsigmoid", 0, 1)):
        got = apply(name, x)
        assert got.min() >= least, name
        assert got.max() <= most, name


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_types_are_rounded_once(dtype: np.dtype, name: str) -> None:
    x = samples(dtype)
    want = reference.activate(x, name)
    got = apply(name, x)
    scale = abs(x.astype("f8")) if name == "gelu" else abs(want)
    assert_within(got, want, scale, 8)


CASES = [
    Case((13, 14), (3, 3), 1, 16, 16, padding=1),
    Case((13, 14), (3, 3), 2, 8, 9, padding=1),
    Case((9, 21), (3, 3), 3, 4, 4, padding=1),
    Case((9, 21), (3, 3), 12, padding=1),
    Case((9, 21), (5, 5), 3, 1, 2, padding=2, stride=2),
    Case((9, 10), (1, 1), 2, 11, 9),
    Case((70,), (9,), 5, 2, 3, padding=4),
    Case((4, 5, 9), (3, 3, 3), 2, 3, 4, padding=1),
]


def assert_activated(got, operation, operands, arguments, activation, terms) -> None:
    want = exact(operation, *operands, **arguments, activation=activation)
    bound = reference.error_bound(operation, *operands, **arguments)
    slope = max(STEEPEST, abs(activation[1])) if isinstance(activation, tuple) else STEEPEST
    before = exact(operation, *operands, **arguments)
    # The sum's error through the steepest slope, and the activation's own few ulp.
    assert_within(got, want, slope * bound + 4 * abs(before) + 4 * abs(want), terms)


@each_activation
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_algorithm(case: Case, activation: object) -> None:
    """conv + bias + residual + activation, the output between guards."""
    shape = (case.batch, case.out_channels, *case.out_size)
    conv = function("conv", case.ndim)
    for dtype, layout in (
        ("float32", "contiguous"),
        ("float32", "channels_last"),
        ("float64", "slice"),
    ):
        x, w, b = case.arrays(dtype)
        residual = case.draw("residual", shape, dtype)
        arguments = {**case.arguments, "residual": place(residual, layout)}
        x = place(x, layout)
        for name in algorithms(conv, x, w, b, **arguments):
            with guarded(shape, dtype, layout) as out:
                conv(x, w, b, **arguments, activation=activation, algorithm=name, out=out)
            terms = TRANSFORM_UNITS if has_own_bound(name) else units_for(*w.shape[1:])
            assert_activated(out, reference.conv, (x, w, b), arguments, activation, terms)


@each_activation
def test_transposed(activation: object) -> None:
    for case in (
        Case((5, 9), (4, 4), 3, 4, 4, stride=2, padding=1),
        Case((5, 9), (3, 3), 8, padding=1),
        Case((5, 9), (2, 2), 2, 3, 5, stride=3, output_padding=2),
        Case((30,), (5,), 2, 3, 2, dilation=2),
    ):
        x, w, b = case.transposed_arrays()
        shape = (case.batch, case.out_channels, *case.transposed_out_size)
        arguments = {**case.transposed_arguments, "residual": case.draw("residual", shape)}
        conv_transpose = function("conv_transpose", case.ndim)
        for name in algorithms(conv_transpose, x, w, b, **arguments):
            with guarded(shape, "float32") as out:
                conv_transpose(x, w, b, **arguments, activation=activation, algorithm=name, out=out)
            operands, terms = (x, w, b), units_for(case.in_per_group, *case.kernel)
            terms = TRANSFORM_UNITS if has_own_bound(name) else terms
            assert_activated(out, reference.conv_transpose, operands, arguments, activation, terms)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_residual_layouts(layout: str) -> None:
    """The residual may lie otherwise than the output, or be broadcast."""
    for case in CASES[2:6]:
        x, w, b = case.arrays()
        residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
        row = np.broadcast_to(residual[:1, :1, :1], residual.shape)
        for values in (place(residual, layout), row):
            arguments = {**case.arguments, "residual": values}
            got = gc.conv2d(x, w, b, **arguments, activation="relu")
            terms = units_for(*w.shape[1:])
            assert_activated(got, reference.conv, (x, w, b), arguments, "relu", terms)


def test_residual_is_added_before_the_activation() -> None:
    x, w = np.full((1, 1, 1, 40), -1, "f4"), np.ones((1, 1, 1, 1), "f4")
    residual = np.full_like(x, 3)
    assert (gc.conv2d(x, w, residual=residual, activation="relu") == 2).all()
    assert (gc.conv2d(x, w, residual=-residual, activation="relu") == 0).all()
    assert (gc.conv2d(x, w, np.array([9], "f4"), activation="relu6") == 6).all()
