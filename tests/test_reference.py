"""The references against arithmetic done by hand, against each other, and against derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import KINDS, Case, kind

from groupconv import reference

SMALL = [
    Case((7,), (3,), **kind("grouped"), stride=2, padding=1),
    Case((9,), (3,), **kind("multiplier"), dilation=3, padding=[(4, 1)]),
    Case((2,), (5,), **kind("dense"), padding=4, batch=1),
    Case((5, 4), (3, 2), **kind("depthwise"), stride=(2, 1), padding=(1, 0)),
    Case((6, 5), (2, 3), **kind("reducing"), dilation=(1, 2), padding=[(0, 2), (3, 1)]),
    Case((4, 5), (3, 3), **kind("grouped-odd"), padding="same", stride=2, batch=1),
    Case((4, 5), (3, 3), 2, 2, 1, padding=2, padding_mode="reflect"),
    Case((4, 3), (3, 3), 2, 2, 1, padding=(2, 1), padding_mode="replicate", stride=2),
    Case((3, 4), (2, 3), 2, 1, 2, padding=[(1, 3), (2, 0)], padding_mode="circular"),
    Case((3, 4, 3), (2, 3, 1), 2, 1, 2, stride=(1, 2, 3), padding=(1, 1, 2)),
]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_einsum_is_the_loop_nest(case: Case) -> None:
    x, w, b = case.arrays("float64")
    loops = reference.conv_by_loops(x, w, b, **case.arguments)
    assert loops.shape == (case.batch, case.out_channels, *case.out_size)
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    assert (abs(loops - reference.conv(x, w, b, **case.arguments)) <= 64 * 2.0**-53 * bound).all()


TRANSPOSED = [
    Case((4,), (3,), **kind("grouped"), stride=3, padding=1, output_padding=2),
    Case((5,), (2,), **kind("multiplier"), dilation=3, padding=[(2, 0)], output_padding=1),
    Case((3, 4), (3, 2), **kind("depthwise"), stride=(2, 1), padding=(1, 0), batch=1),
    Case((3, 2), (2, 3), **kind("reducing"), stride=2, dilation=(1, 2), padding=[(0, 1), (3, 1)]),
    Case((2, 3, 2), (2, 1, 3), 2, 1, 2, stride=(1, 2, 3), padding=(1, 0, 1)),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_scatter_is_the_loop_nest(case: Case) -> None:
    x, w, b = case.transposed_arrays("float64")
    loops = reference.conv_transpose_by_loops(x, w, b, **case.transposed_arguments)
    assert loops.shape == (case.batch, case.out_channels, *case.transposed_out_size)
    taps = reference.conv_transpose(x, w, b, **case.transposed_arguments)
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **case.transposed_arguments)
    assert (abs(loops - taps) <= 64 * 2.0**-53 * bound).all()


def test_by_hand() -> None:
    x = np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])
    w = np.array([[[1.0, -1.0, 0.5]], [[0.0, 1.0, 0.0]]])
    b = np.array([100.0, 0.0])
    for conv in (reference.conv, reference.conv_by_loops):
        assert conv(x, w, b, groups=2).tolist() == [[100.5, 101.0], [20.0, 30.0]]
        assert conv(x, w, None, 2, 1, 1, 2).tolist() == [[0.0, 1.0], [10.0, 30.0]]
        assert conv(x, w, None, 1, [(2, 0)], 2, 2, padding_mode="circular").tolist() == [
            [3 - 1 + 1.5, 4 - 2 + 2.0],
            [10.0, 20.0],
        ]
    w = np.array([[[1.0, -1.0]], [[2.0, 5.0]]])
    for conv in (reference.conv_transpose, reference.conv_transpose_by_loops):
        assert conv(x[:, :2], w, groups=2).tolist() == [[1.0, 1.0, -2.0], [20.0, 90.0, 100.0]]
        assert conv(x[:, :2], w, None, 3, [(1, 0)], 1, 1).tolist() == [
            [-1 + 50.0, 0.0, 2 + 40.0, -2 + 100.0, 0.0]
        ]


def test_one_channel_is_numpy_correlate() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(50), rng.standard_normal(7)
    got = reference.conv(x[None], w[None, None])[0]
    np.testing.assert_allclose(got, np.correlate(x, w, "valid"), rtol=1e-12, atol=1e-14)
    got = reference.conv_transpose(x[None], w[None, None])[0]
    np.testing.assert_allclose(got, np.convolve(x, w, "full"), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", KINDS)
def test_groups_are_separate_convolutions(name: str) -> None:
    case = Case((6, 5), (3, 2), **kind(name), padding=1)
    x, w, b = case.arrays("float64")
    whole = reference.conv(x, w, b, **case.arguments)
    for g in range(case.groups):
        inputs = slice(g * case.in_per_group, (g + 1) * case.in_per_group)
        outputs = slice(g * case.out_per_group, (g + 1) * case.out_per_group)
        part = reference.conv(x[:, inputs], w[outputs], b[outputs], padding=1)
        np.testing.assert_array_equal(whole[:, outputs], part)


def numerical_gradient(loss, array: np.ndarray) -> np.ndarray:
    """Central differences; without rounding error but for the sum, since the loss is linear."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        ahead, behind = array.copy(), array.copy()
        ahead[index] += 0.5
        behind[index] -= 0.5
        gradient[index] = loss(ahead) - loss(behind)
    return gradient


@pytest.mark.parametrize(
    "case", [c for c in SMALL if c.in_channels * c.out_channels < 100], ids=str
)
def test_gradients_are_derivatives(case: Case) -> None:
    x, w, b = case.arrays("float64")
    arguments = case.arguments
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size), "float64")
    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(
        reference.conv_input(x.shape, w, g, **arguments),
        numerical_gradient(lambda v: (g * reference.conv(v, w, b, **arguments)).sum(), x),
        **close,
    )
    np.testing.assert_allclose(
        reference.conv_weight(x, w.shape, g, **arguments),
        numerical_gradient(lambda v: (g * reference.conv(x, v, b, **arguments)).sum(), w),
        **close,
    )
    np.testing.assert_allclose(
        reference.conv_bias(g),
        numerical_gradient(lambda v: (g * reference.conv(x, w, v, **arguments)).sum(), b),
        **close,
    )


@pytest.mark.parametrize("case", TRANSPOSED[1:], ids=str)
def test_transposed_gradients_are_derivatives(case: Case) -> None:
    x, w, b = case.transposed_arrays("float64")
    arguments = case.transposed_arguments
    shape = (case.batch, case.out_channels, *case.transposed_out_size)
    g = case.draw("gradient", shape, "float64")

    def loss(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
        return (g * reference.conv_transpose(x, w, b, **arguments)).sum()

    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(
        reference.conv_transpose_input(x.shape, w, g, **arguments),
        numerical_gradient(lambda v: loss(v, w, b), x),
        **close,
    )
    np.testing.assert_allclose(
        reference.conv_transpose_weight(x, w.shape, g, **arguments),
        numerical_gradient(lambda v: loss(x, v, b), w),
        **close,
    )
    np.testing.assert_allclose(
        reference.conv_transpose_bias(g), numerical_gradient(lambda v: loss(x, w, v), b), **close
    )


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (2, 3), (7, 2)])
def test_same_padding(size: int, stride: int, kernel: int, dilation: int) -> None:
    [(before, after)] = reference.padding_pairs("same", [size], [kernel], stride, dilation)
    assert before <= after <= before + 1
    [out] = reference.output_size([size], [kernel], stride, [(before, after)], dilation)
    assert out == math.ceil(size / stride)
    if after:  # and no more than it takes
        [fewer] = reference.output_size([size], [kernel], stride, [(before, after - 1)], dilation)
        assert fewer == out - 1


def test_padding_forms() -> None:
    pairs = reference.padding_pairs
    assert pairs(2, [5, 5], [3, 3]) == [(2, 2), (2, 2)]
    assert pairs([1], [5, 5], [3, 3]) == [(1, 1), (1, 1)]
    assert pairs((1, 2), [5, 5], [3, 3]) == [(1, 1), (2, 2)]
    assert pairs([(1, 2), (0, 3)], [5, 5], [3, 3]) == [(1, 2), (0, 3)]
    assert pairs("valid", [5, 5], [3, 3]) == [(0, 0), (0, 0)]
    assert pairs("causal", [5], [4], 1, 2) == [(6, 0)]
    with pytest.raises(ValueError, match="'full'"):
        pairs("full", [5], [3])


def test_causal_padding_sees_no_later_input() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((1, 2, 10)), rng.standard_normal((2, 1, 3))
    changed = x.copy()
    changed[..., 6:] = 7
    options = {"padding": "causal", "dilation": 2, "groups": 2}
    before, after = reference.conv(x, w, **options), reference.conv(changed, w, **options)
    assert before.shape == x.shape
    assert (before[..., :6] == after[..., :6]).all()
    assert (before[..., 6:] != after[..., 6:]).all()


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("relu", [-2, 0, 3], [0, 0, 3]),
        ("relu6", [-2, 4, 9], [0, 4, 6]),
        ("leaky_relu", [-2, 0, 3], [-0.02, 0, 3]),
        (("leaky_relu", 0.25), [-2, 0, 3], [-0.5, 0, 3]),
        ("sigmoid", [-800, 0, math.log(3)], [0, 0.5, 0.75]),
        ("tanh", [0, math.atanh(0.5), -900], [0, 0.5, -1]),
        ("silu", [0, math.log(3), -math.log(3)], [0, 0.75 * math.log(3), -0.25 * math.log(3)]),
        ("hardsigmoid", [-4, -3, 0, 1.5, 9], [0, 0, 0.5, 0.75, 1]),
        ("hardswish", [-4, -1.5, 1.5, 4], [0, -0.375, 1.125, 4]),
        ("gelu", [0, 1, -1, 40], [0, 0.8413447460685429, -0.15865525393145707, 40]),
    ],
)
def test_activations_by_hand(name: str, x: list[float], y: list[float]) -> None:
    np.testing.assert_allclose(reference.activate(x, name), y, rtol=1e-14, atol=1e-300)


def test_epilogue_order() -> None:
    x, w = np.array([[1.0, -5.0]]), np.array([[[2.0]]])
    residual = np.array([[-4.0, 20.0]])
    got = reference.conv(x, w, np.array([1.0]), residual=residual, activation="relu6")
    assert got.tolist() == [[0.0, 6.0]]
    got = reference.conv_transpose(x, w, np.array([1.0]), residual=residual, activation="relu")
    assert got.tolist() == [[0.0, 11.0]]


def test_error_bound() -> None:
    case = Case((5, 6), (3, 3), 2, 2, 2, padding=1)
    x, w, b = case.arrays("float64")
    magnitudes = reference.conv(abs(x), abs(w), abs(b), **case.arguments)
    bound = reference.error_bound(
        reference.conv, x, w, b, **case.arguments, activation="sigmoid", residual=-magnitudes
    )
    np.testing.assert_array_equal(bound, 2 * magnitudes)


def test_every_dtype_is_computed_wide() -> None:
    case = Case((9,), (3,), 2, 2, 2)
    for dtype, wide in (("float16", "f8"), ("float32", "f8"), ("float64", "f8"), ("g", "g")):
        x, w, b = case.arrays(dtype)
        got = reference.conv(x, w, b, groups=2)
        assert got.dtype == wide
        again = reference.conv(*(array.astype(wide) for array in (x, w, b)), groups=2)
        np.testing.assert_array_equal(got, again)
