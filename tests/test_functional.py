"""The functions' manners: what they accept, where they write, in which memory order they answer."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import BFLOAT16, FLOATS, HALVES, assert_within, units_for

import groupconv as gc
from groupconv import reference
from groupconv._calls import FUNCTION_CALLS

RNG = np.random.default_rng(11)
CONVS = [gc.conv1d, gc.conv2d, gc.conv3d]
TRANSPOSED = [gc.conv_transpose1d, gc.conv_transpose2d, gc.conv_transpose3d]
PER_NDIM = list(zip((1, 2, 3), CONVS, TRANSPOSED, strict=True))


def draw(*shape: int, dtype: Any = "f4") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def last(array: np.ndarray) -> np.ndarray:
    """The same array, batched or not, with channels last in memory."""
    channel = 1 if array.ndim == 4 else 0
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, channel, -1)), -1, channel)


X, W, B = draw(2, 8, 9, 10), draw(12, 2, 3, 3), draw(12)
WANT = gc.conv2d(X, W, B, groups=4)
UP, G = draw(8, 3, 3, 3), draw(*WANT.shape)


class OnlyArray:
    """An object of a library that knows NumPy but no DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array


class OnlyDLPack:
    """An object of a library that knows DLPack but no NumPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


# --- signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [*CONVS, *TRANSPOSED], ids=lambda f: f.__name__)
def test_arguments_have_pytorchs_order(function: Any) -> None:
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    tail = ["dilation", "groups"]
    if function in TRANSPOSED:
        tail = ["output_padding", "groups", "dilation"]
    assert positional == ["input", "weight", "bias", "stride", "padding", *tail]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients_have_the_order_of_their_convolution(ndim: int) -> None:
    for name in (f"conv{ndim}d", f"conv_transpose{ndim}d"):
        forward = list(inspect.signature(getattr(gc, name)).parameters)
        for of, arrays in (
            ("input", ["input_size", "weight", "grad_output"]),
            ("weight", ["input", "weight_size", "grad_output"]),
        ):
            ours = list(inspect.signature(getattr(gc.grad, f"{name}_{of}")).parameters)
            left_out = {"activation", "residual", "algorithm"}
            assert ours == arrays + [p for p in forward[3:] if p not in left_out]


@pytest.mark.parametrize("name", [n for n in gc.__all__ if n not in ("__version__", "grad")])
def test_public_names_are_documented(name: str) -> None:
    text = inspect.getdoc(getattr(gc, name))
    assert text is not None
    assert len(text) > 200
    assert "Examples\n--------\n>>> " in text
    assert "Parameters\n" in text or "Returns\n" in text
    assert not any(mark in text for mark in ("<size>", "<d>", "<raises>"))


@pytest.mark.parametrize("name", gc.grad.__all__)
def test_gradients_are_documented(name: str) -> None:
    text = inspect.getdoc(getattr(gc.grad, name))
    assert all(
        f"{section}\n---" in text for section in ("Parameters", "Returns", "Raises", "Notes")
    )


# --- what is accepted ---------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDLPack], ids=lambda c: c.__name__)
def test_arrays_of_other_libraries(wrap: Any) -> None:
    np.testing.assert_array_equal(gc.conv2d(wrap(X), wrap(W), wrap(B), groups=4), WANT)
    got = gc.grad.conv2d_weight(wrap(X), W.shape, wrap(G), groups=4)
    np.testing.assert_array_equal(got, gc.grad.conv2d_weight(X, W.shape, G, groups=4))


def test_pytorch_tensors() -> None:
    torch = pytest.importorskip("torch")
    x, w, b = map(torch.from_numpy, (X, W, B))
    np.testing.assert_array_equal(gc.conv2d(x, w, b, groups=4), WANT)
    with pytest.raises(TypeError, match=r"^weight of type Parameter cannot be read .*detach"):
        gc.conv2d(x, torch.nn.Parameter(w), groups=4)
    with pytest.raises(TypeError, match=r"^input of type Tensor cannot be read .*BFloat16"):
        gc.conv2d(x.bfloat16(), w, groups=4)
    with pytest.raises(ValueError, match=r"^out must not share memory with input"):
        gc.conv2d(x, w, groups=4, out=X.reshape(-1)[: WANT.size // 2].reshape(1, *WANT.shape[1:]))


def test_subclasses_and_files(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "x", "f4", "w+", shape=X.shape)
    mapped[...] = X
    target = np.memmap(tmp_path / "y", "f4", "w+", shape=WANT.shape)
    got = gc.conv2d(mapped, W, B, groups=4, out=target)
    assert got is target
    np.testing.assert_array_equal(target, WANT)
    assert type(gc.conv2d(mapped, W, B, groups=4)) is np.ndarray


def test_read_only_and_misaligned_arrays() -> None:
    records = np.zeros(X.shape, [("pad", "i1"), ("value", "f4")])
    records["value"] = X
    assert not records["value"].flags.aligned
    bias = np.repeat(B, 2)[::2]
    read_only = W.view()
    read_only.flags.writeable = False
    got = gc.conv2d(records["value"], read_only, bias, groups=4)
    np.testing.assert_array_equal(got, WANT)
    result = np.zeros(WANT.shape, [("pad", "i1"), ("value", "f4")])
    assert gc.conv2d(X, W, B, groups=4, out=result["value"]).base is result
    np.testing.assert_array_equal(result["value"], WANT)
    assert (result["pad"] == 0).all()


def test_numpy_integers_and_short_sequences() -> None:
    want = gc.conv2d(X, W, B, (2, 2), (1, 1), (1, 1), 4)
    for one, two, four in ((np.int8(1), np.uint64(2), np.int64(4)), ([1], [2], 4), ((1,), (2,), 4)):
        np.testing.assert_array_equal(gc.conv2d(X, W, B, two, one, one, four), want)


@pytest.mark.parametrize(("ndim", "conv", "up"), PER_NDIM)
def test_unbatched_is_a_batch_of_one(ndim: int, conv: Any, up: Any) -> None:
    x, w, b = draw(6, *[7] * ndim), draw(4, 3, *[3] * ndim), draw(4)
    y = conv(x, w, b, groups=2, activation="silu")
    np.testing.assert_array_equal(y, conv(x[None], w, b, groups=2, activation="silu")[0])
    target, residual = np.empty_like(y), draw(*y.shape)
    want = conv(x[None], w, b, groups=2, residual=residual[None])[0]
    assert conv(x, w, b, groups=2, residual=residual, out=target) is target
    np.testing.assert_array_equal(target, want)

    w = draw(6, 2, *[3] * ndim)
    np.testing.assert_array_equal(up(x, w, b, 2, groups=2), up(x[None], w, b, 2, groups=2)[0])
    kinds = ((f"conv{ndim}d", (4, 3, *[3] * ndim), {}), (f"conv_transpose{ndim}d", w.shape, {}))
    for name, shape, arguments in kinds:
        weight = draw(*shape)
        g = draw(*getattr(gc, name)(x, weight, groups=2, **arguments).shape)
        by_input, by_weight, by_bias = (
            getattr(gc.grad, f"{name}_{of}") for of in ("input", "weight", "bias")
        )
        np.testing.assert_array_equal(
            by_input(x.shape, weight, g, groups=2),
            by_input(x[None].shape, weight, g[None], groups=2)[0],
        )
        np.testing.assert_array_equal(
            by_weight(x, shape, g, groups=2), by_weight(x[None], shape, g[None], groups=2)
        )
        np.testing.assert_array_equal(by_bias(g), by_bias(g[None]))


@pytest.mark.parametrize(("ndim", "conv", "up"), PER_NDIM)
def test_empty_batch(ndim: int, conv: Any, up: Any) -> None:
    x, w = np.empty((0, 4, *[6] * ndim), "f4"), draw(6, 2, *[3] * ndim)
    y = conv(x, w, groups=2)
    assert (y.shape, y.dtype) == ((0, 6, *[4] * ndim), np.float32)
    target = np.empty_like(y)
    assert conv(x, w, groups=2, residual=y, out=target) is target
    assert up(x, draw(4, 3, *[3] * ndim), stride=2, groups=2).shape == (0, 6, *[13] * ndim)
    grad = gc.grad
    for mode in ("zeros", "reflect"):
        by_input = getattr(grad, f"conv{ndim}d_input")
        assert by_input(x.shape, w, y, groups=2, padding_mode=mode).shape == x.shape
    got = getattr(grad, f"conv{ndim}d_weight")(x, w.shape, y, groups=2)
    np.testing.assert_array_equal(got, np.zeros_like(w))
    target = np.ones_like(w)
    getattr(grad, f"conv{ndim}d_weight")(x, w.shape, y, groups=2, out=target)
    assert (target == 0).all()
    np.testing.assert_array_equal(getattr(grad, f"conv{ndim}d_bias")(y), np.zeros(6))


# --- where results go ---------------------------------------------------------------------------


def channels_last_of(array: np.ndarray) -> bool:
    return np.moveaxis(array, -array.ndim + (array.ndim == 4), -1).flags.c_contiguous


def test_results_lie_in_memory_like_their_input() -> None:
    for x in (last(X), last(X)[:, :, ::1, 1:], last(X)[:1], last(X[0]), last(X[0])[None]):
        y = gc.conv2d(x, W, B, groups=4)
        assert channels_last_of(y)
        np.testing.assert_allclose(y, gc.conv2d(x.copy("C"), W, B, groups=4), rtol=1e-4, atol=1e-4)
    for x in (X, X[:, :, ::-1], last(X)[:, ::-1], X.swapaxes(2, 3).copy().swapaxes(2, 3)):
        assert gc.conv2d(x, W, B, groups=4).flags.c_contiguous
    assert gc.conv2d(X, last(W), B, groups=4).flags.c_contiguous
    assert channels_last_of(gc.conv_transpose2d(last(X), UP, groups=4))
    assert channels_last_of(gc.grad.conv2d_input(X.shape, W, last(G), groups=4))
    wide = gc.conv2d(X, W, padding=1, groups=4)
    for mode in ("reflect", "zeros"):
        arguments = {"padding": 1, "groups": 4, "padding_mode": mode}
        assert channels_last_of(gc.grad.conv2d_input(X.shape, W, last(wide), **arguments))
    assert gc.grad.conv2d_weight(last(X), W.shape, last(G), groups=4).flags.c_contiguous


def test_out_decides_the_memory_order() -> None:
    for x in (X, last(X)):
        for target in (np.empty_like(WANT), last(np.empty_like(WANT)), np.empty_like(WANT)[::-1]):
            strides = target.strides
            assert gc.conv2d(x, W, B, groups=4, out=target) is target
            assert target.strides == strides
            np.testing.assert_allclose(target, WANT, rtol=1e-4, atol=1e-4)


def test_out_beside_the_input_in_one_buffer() -> None:
    buffer = np.zeros((2, 8 + 12, 9, 10), "f4")
    x, target = buffer[:, :8], buffer[:, 8:, 1:-1, 1:-1]
    x[...] = X
    gc.conv2d(x, W, B, groups=4, out=target)
    np.testing.assert_allclose(target, WANT, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_out_of_gradients(mode: str) -> None:
    arguments = {"padding": 2, "groups": 4, "padding_mode": mode}
    g = draw(*gc.conv2d(X, W, **arguments).shape)
    for like, call in (
        (X, lambda out: gc.grad.conv2d_input(X.shape, W, g, **arguments, out=out)),
        (W, lambda out: gc.grad.conv2d_weight(X, W.shape, g, **arguments, out=out)),
    ):
        want = call(None)
        for target in (np.empty_like(like), last(np.empty_like(like))[..., ::-1, :]):
            assert call(target) is target
            np.testing.assert_allclose(target, want, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"^out must not share memory with grad_output"):
        gc.grad.conv2d_input(g.shape, np.ones((12, 12, 1, 1), "f4"), g, out=g)


# --- what is computed ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
@pytest.mark.parametrize("activation", [None, *reference.ACTIVATIONS, ("leaky_relu", 0.3)])
def test_residual_comes_before_the_activation(dtype: np.dtype, activation: Any) -> None:
    x, w, b, residual = (array.astype(dtype) for array in (X, W, B, draw(*WANT.shape)))
    arguments = {"groups": 4, "residual": residual, "activation": activation}
    got = gc.conv2d(x, w, b, **arguments)
    want = reference.conv(x, w, b, **arguments)
    bound = reference.error_bound(reference.conv, x, w, b, groups=4, residual=residual)
    # The activations' own rounding and slopes: none is steeper than 1.5 (hardswish), or off by
    # more than a few units of its result, which is smaller than the bound plus 3 (relu6's knee).
    assert_within(got, want, bound + 3, units_for(2, 9) * 2)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [2, ((1, 0), (0, 3)), "same"])
@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
def test_input_gradients_fold_their_borders(mode: str, padding: Any, dtype: np.dtype) -> None:
    x, w = draw(2, 4, 5, 6, dtype=dtype), draw(6, 2, 3, 4, dtype=dtype)
    arguments = {"stride": (1, 2), "padding": padding, "groups": 2, "padding_mode": mode}
    g = draw(*gc.conv2d(x, w, **arguments).shape, dtype=dtype)
    got = gc.grad.conv2d_input(x.shape, w, g, **arguments)
    want = reference.conv_input(x.shape, w, g, **arguments)
    bound = reference.conv_input(x.shape, abs(w), abs(g), **arguments)
    # A cell gathers what was copied from it along both axes, at most all of the padding.
    assert_within(got, want, bound, units_for(3, 12, 4))


def test_bias_gradients_are_summed_beyond_their_precision() -> None:
    for dtype in (*FLOATS, *HALVES):
        g = np.full((3, 2, 64, 64), 0.1, dtype)
        want = g.astype("f8").sum(axis=(0, 2, 3)).astype(dtype)
        np.testing.assert_array_equal(gc.grad.conv2d_bias(g), want)
        assert gc.grad.conv_transpose2d_bias(last(g)).dtype == dtype


def test_calls_are_cached_within_bounds() -> None:
    for length in range(3, 3 + 2 * FUNCTION_CALLS.capacity):
        gc.conv1d(np.ones((1, length), "f4"), np.ones((1, 1, 3), "f4"))
    assert len(FUNCTION_CALLS) == FUNCTION_CALLS.capacity
    before = set(FUNCTION_CALLS)
    gc.conv1d(np.zeros((1, length), "f4"), np.zeros((1, 1, 3), "f4"))
    assert set(FUNCTION_CALLS) == before


def test_bfloat16_needs_no_package_to_be_refused_or_named() -> None:
    if BFLOAT16:
        assert (
            gc.conv2d(X.astype(BFLOAT16[0]), W.astype(BFLOAT16[0]), groups=4).dtype == BFLOAT16[0]
        )
    with pytest.raises(
        TypeError, match=r"^input must have dtype float32, .* or bfloat16, got uint16"
    ):
        gc.conv2d(X.view("u2")[..., :10], W, groups=4)
