"""float16 and bfloat16 storage: computed in float32, rounded once, to nearest even."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    HALVES,
    KINDS,
    LAYOUTS,
    STORAGE,
    Case,
    algorithms,
    assert_same_bits,
    assert_within,
    check_conv,
    check_conv_transpose,
    function,
    gradient,
    has_own_bound,
    kind,
    place,
    units_for,
)

import groupconv as gc
from groupconv import reference

halves = pytest.mark.parametrize("dtype", HALVES, ids=str)


def every_value(dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of a half type, subnormals and infinities among them, and its many NaN.

    -0 is left out: added to the sum's initial 0 it is 0.
    """
    bits = np.arange(2**16, dtype="u2")
    bits = bits[bits != 0x8000]
    values = bits.view(dtype)
    with np.errstate(invalid="ignore"):
        nan = np.isnan(values)
    return values[~nan], values[nan]


@halves
def test_every_value_passes_unchanged(dtype: np.dtype) -> None:
    """A kernel of 1 is the identity, and a kernel (0, 1, 0) too where its window is finite."""
    numbers, nan = every_value(dtype)
    one = np.ones((1, 1, 1), dtype)
    assert_same_bits(gc.conv1d(numbers[None, None], one).ravel(), numbers)
    assert_same_bits(gc.conv1d(numbers[:, None, None], one).ravel(), numbers)
    ones = np.ones((len(numbers), 1, 1), dtype)
    groups = len(numbers)
    assert_same_bits(gc.conv1d(numbers[None, :, None], ones, groups=groups).ravel(), numbers)
    with np.errstate(invalid="ignore"):
        assert np.isnan(gc.conv1d(nan[None, None], one)).all()
        finite = numbers[np.isfinite(numbers)]
    padded = gc.conv1d(finite[None, None], np.array([[[0, 1, 0]]], dtype), padding=1)
    assert_same_bits(padded.ravel(), finite)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.filterwarnings("ignore:overflow encountered in multiply")
@halves
def test_every_value_is_rounded_to_nearest_even(dtype: np.dtype) -> None:
    """Products of two half numbers are exact in float32, so the result has one right rounding.

    Among them are ties, results that overflow, and subnormal results.
    """
    x, _ = every_value(dtype)
    x = x[np.isfinite(x)]
    ulp = 2 * STORAGE[dtype.name]
    for factor in (1 + ulp, 1.5, 3.0, -1 - 3 * ulp, 2.0**-5, 2.0**-9 * 1.25, 300.0):
        w = np.array([[[factor]]], dtype)
        exact_product = x.astype("f4") * w.astype("f4").ravel() + np.float32(0)  # as bias
        got = gc.conv1d(x[None, None], w).ravel()
        assert_same_bits(got, exact_product.astype(dtype), f"times {factor}")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@halves
def test_convolution(dtype: np.dtype, ndim: int, name: str) -> None:
    size = ((37,), (6, 19), (3, 4, 17))[ndim - 1]
    case = Case(size, (3,) * ndim, **kind(name), padding=1)
    for other in (case, case.but(stride=2), case.but(kernel=(1,) * ndim), case.but(dilation=2)):
        check_conv(other, dtype)
        check_conv_transpose(other.but(output_padding=0), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@halves
def test_layouts(dtype: np.dtype, layout: str) -> None:
    for name in KINDS:
        case = Case((5, 19), (3, 3), **kind(name), padding=1)
        check_conv(case, dtype, layout)
        check_conv(case.but(kernel=(1, 1), padding=0), dtype, layout)
        check_conv_transpose(case.but(stride=2), dtype, layout)


@halves
def test_every_algorithm(dtype: np.dtype) -> None:
    for case in (
        Case((13, 14), (3, 3), 2, 8, 8, padding=1),
        Case((13, 14), (3, 3), 12, padding=1),
        Case((9, 10), (1, 1), 2, 11, 9),
        Case((70,), (9,), 5, 2, 3, padding=4),
    ):
        x, w, b = case.arrays(dtype)
        for layout in ("contiguous", "channels_last"):
            conv = function("conv", case.ndim)
            for name in algorithms(conv, place(x, layout), w, b, **case.arguments):
                if not has_own_bound(name):
                    check_conv(case, dtype, layout, algorithm=name)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@halves
def test_padding_modes(dtype: np.dtype, mode: str) -> None:
    for name in ("grouped", "depthwise"):
        check_conv(Case((6, 7), (3, 4), **kind(name), padding=3, padding_mode=mode), dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", KINDS)
@halves
def test_gradients(dtype: np.dtype, name: str, stride: int) -> None:
    case = Case((6, 19), (3, 3), **kind(name), padding=1, stride=stride)
    x, w, _ = case.arrays(dtype)
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size), dtype)
    for of, operands, terms in (
        ("input", (x.shape, w, g), (case.out_per_group, 3, 3)),
        ("weight", (x, w.shape, g), (case.batch, *case.out_size)),
    ):
        got = gradient("conv", 2, of)(*operands, **case.arguments)
        assert got.dtype == dtype
        operation = getattr(reference, f"conv_{of}")
        want = operation(*operands, **case.arguments)
        bound = reference.error_bound(operation, *operands, **case.arguments)
        assert_within(got, want, bound, units_for(*terms))
    got = gc.grad.conv2d_bias(g)
    assert got.dtype == dtype
    assert_within(got, reference.conv_bias(g), reference.conv_bias(abs(g)))


@halves
def test_residual_bias_and_activation_are_rounded_once(dtype: np.dtype) -> None:
    """Adding in storage precision would lose the small bias before the large residual cancels."""
    small = np.array([2.0**-6], dtype)
    x = np.array([[[256.0]]], dtype)
    got = gc.conv1d(x, np.ones((1, 1, 1), dtype), small, residual=-x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, small[0])
    leaky = gc.conv1d(x, -np.ones((1, 1, 1), dtype), activation=("leaky_relu", 2.0**-16))
    np.testing.assert_array_equal(leaky.astype("f4"), -(2.0**-8))


def test_float64_is_not_computed_in_float32() -> None:
    x = np.array([[1.0, 2.0**-40, -1.0]])
    for weight in (np.ones((1, 1, 3)), np.ones((2, 1, 3))):
        assert (gc.conv1d(x, weight) == 2.0**-40).all()
    g = gc.grad.conv1d_weight(x, (1, 1, 1), np.ones((1, 3)))
    assert g == 2.0**-40
