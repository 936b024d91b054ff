"""Every wrong argument: one TypeError or ValueError that names it, shows it and says what fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import groupconv as gc

X = np.ones((2, 8, 9, 9), "f4")
W = np.ones((4, 2, 3, 3), "f4")
B = np.ones(4, "f4")
G = np.ones((2, 4, 7, 7), "f4")
UP = np.ones((8, 1, 3, 3), "f4")
RIGHT = {"groups": 4}


def read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def conv(*arrays: Any, **arguments: Any) -> Any:
    return gc.conv2d(*(arrays or (X, W)), **{**RIGHT, **arguments})


def up(*arrays: Any, **arguments: Any) -> Any:
    return gc.conv_transpose2d(*(arrays or (X, UP)), **{**RIGHT, **arguments})


def layer(*positions: Any, **arguments: Any) -> Any:
    return gc.Conv2d(*(positions or (8, 4, 3)), **{**RIGHT, **arguments})


def out(**changes: Any) -> np.ndarray:
    return np.empty(changes.get("shape", (2, 4, 7, 7)), changes.get("dtype", "f4"))


def out_inside(name: str) -> Callable[[], Any]:
    """Call with an `out` in the same memory as one of its inputs."""
    buffer = np.ones(X.size + G.size, "f4")
    result = buffer[2 : 2 + G.size].reshape(G.shape)
    arrays = {"input": X, "weight": W, "bias": B, "residual": G}
    shape, size = arrays[name].shape, arrays[name].size
    arrays[name] = buffer[:size].reshape(shape)
    return lambda: gc.conv2d(**arrays, **RIGHT, out=result)


INTEGERS = {
    "stride": conv,
    "dilation": conv,
    "groups": conv,
    "output_padding": up,
}
NO_INTEGERS = [True, 1.0, "1", None, np.ones(2, int), np.float32(1), np.True_, 1j]
NO_PADDING = [True, 1.5, None, np.ones(2, int), (1, True), ((1, 1), 2), ((1, 2, 3), (1, 2, 3))]


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
@pytest.mark.parametrize("name", INTEGERS)
def test_only_integers_are_integers(name: str, value: object) -> None:
    call = INTEGERS[name]
    right = {"groups": 4}.get(name, 0 if name == "output_padding" else 1)
    call(**{name: right})  # the cache must not take True or 1.0 for the 1 it knows
    call(**{name: np.int16(right)})
    with pytest.raises(TypeError, match=rf"^{name} must be an int"):
        call(**{name: value})
    if name != "groups":
        with pytest.raises(TypeError, match=rf"^{name} must be an int"):
            call(**{name: (right, value)})


@pytest.mark.parametrize("value", NO_PADDING, ids=repr)
@pytest.mark.parametrize("call", [conv, up, layer])
def test_no_padding(call: Callable[..., Any], value: object) -> None:
    call(padding=1)
    call(padding=((1, 1), (1, 1)))
    with pytest.raises(TypeError, match=r"^padding must be an int, .*pair.*'valid', 'same', got "):
        call(padding=value)


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # arrays
    "list": (
        lambda: conv([[1.0]], W),
        TypeError,
        "input must be a NumPy array .* got list.*asarray",
    ),
    "none": (lambda: conv(X, None), TypeError, "weight must be a NumPy array .* got NoneType"),
    "number": (lambda: conv(X, W, 1.0), TypeError, "bias must be a NumPy array .* got float"),
    "masked": (lambda: conv(np.ma.ones(X.shape), W), TypeError, r"input .*mask.*filled\(0\)"),
    "dtype": (lambda: conv(X.astype(int), W), TypeError, "input .*float32, .* got int64: cast it"),
    "complex": (lambda: conv(X, W.astype("c8")), TypeError, "weight .*float32, .* got complex64"),
    "object": (lambda: conv(X.astype(object), W), TypeError, "input .*float32, .* got object"),
    "byte order": (
        lambda: conv(X.astype(">f4"), W),
        TypeError,
        "input has dtype '>f4' of foreign byte order: .*",
    ),
    "mixed": (
        lambda: conv(X.astype("f8"), W),
        TypeError,
        r"input has dtype float64 but weight has float32: .* cast one, .*input.astype\(weight.dtyp",
    ),
    "mixed bias": (
        lambda: conv(X, W, B.astype("f8")),
        TypeError,
        "bias has dtype float64 .*float32",
    ),
    "mixed residual": (
        lambda: conv(residual=G.astype("f2")),
        TypeError,
        "residual has dtype float16 .*float32",
    ),
    "rank": (
        lambda: conv(X[0, 0], W),
        ValueError,
        r"input of conv2d .* 4 .*\(N, C, H, W\) or 3 \(C, H",
    ),
    "rank 1-D": (
        lambda: gc.conv1d(X, W),
        ValueError,
        r"input of conv1d .* 3 .*\(N, C, L\) or 2 \(C, L",
    ),
    "weight rank": (
        lambda: conv(X, W[0]),
        ValueError,
        r"weight of conv2d .*\(K, C/groups, kH, kW\)",
    ),
    "weight rank, transposed": (
        lambda: up(X, UP[0]),
        ValueError,
        r"weight of conv_transpose2d .*\(C, K/groups, kH, kW\).* got shape \(1, 3, 3\)",
    ),
    "no channels": (lambda: conv(X[:, :0], W), ValueError, r"input .*zero.*\(2, 0, 9, 9\)"),
    "no size": (lambda: conv(X[..., :0], W), ValueError, r"input .*zero size.*\(2, 8, 9, 0\)"),
    "no size, empty batch": (lambda: conv(X[:0, ..., :0], W), ValueError, "input .*zero size"),
    "no kernel": (
        lambda: conv(X, W[..., :0]),
        ValueError,
        r"weight .*zero kernel size.*\(4, 2, 3, 0",
    ),
    "no outputs": (lambda: conv(X, W[:0]), ValueError, "weight .*zero channels"),
    "channels": (
        lambda: conv(X, W, groups=2),
        ValueError,
        r"weight of conv2d .*8 input channels and groups=2 its axis 1 must be 4, got .*\(4, 2, 3",
    ),
    "channels, transposed": (
        lambda: up(X[:, :4], UP),
        ValueError,
        r"weight of conv_transpose2d .*4 input channels.*axis 0 must be 4, got .*\(8, 1, 3, 3\)",
    ),
    "bias shape": (lambda: conv(X, W, B[:3]), ValueError, r"bias .*\(4,\) .*got \(3,\)"),
    "bias rank": (lambda: conv(X, W, B[None]), ValueError, r"bias .*\(4,\) .*got \(1, 4\)"),
    "residual shape": (
        lambda: conv(residual=X),
        ValueError,
        r"residual .*\(2, 4, 7, 7\).* got \(2, 8",
    ),
    "residual without batch": (
        lambda: conv(residual=G[0]),
        ValueError,
        r"residual .*\(2, 4, 7, 7\)",
    ),
    # groups
    "groups": (
        lambda: conv(groups=3),
        ValueError,
        "groups=3 .*8 input channels and 4 output channels; valid groups: 1, 2, 4$",
    ),
    "groups of a layer": (
        lambda: gc.Conv2d(8, 4, 5, groups=3),
        ValueError,
        "groups=3 .*8 input channels and 4 output channels; valid groups: 1, 2, 4$",
    ),
    "groups, transposed": (
        lambda: up(groups=3),
        ValueError,
        "groups=3 .*8 input channels.*1 output channels per group.*valid groups: 1, 2, 4, 8$",
    ),
    "groups 0": (lambda: conv(groups=0), ValueError, "groups must be at least 1, got 0"),
    "groups below": (lambda: conv(groups=-4), ValueError, "groups must be at least 1, got -4"),
    # numbers
    "stride 0": (
        lambda: conv(stride=(1, 0)),
        ValueError,
        r"stride must be at least 1, got \(1, 0\)",
    ),
    "stride below": (lambda: conv(stride=-1), ValueError, "stride must be at least 1, got -1"),
    "stride beyond": (lambda: conv(stride=2**40), ValueError, "stride must be at most 2147483647"),
    "stride length": (
        lambda: conv(stride=(1, 1, 1)),
        ValueError,
        "stride .* 2 ints .*got 3 values",
    ),
    "stride of nothing": (lambda: conv(stride=()), ValueError, "stride .* 2 ints .*got 0 values"),
    "dilation 0": (lambda: conv(dilation=0), ValueError, "dilation must be at least 1, got 0"),
    "output_padding": (
        lambda: up(stride=2, output_padding=(1, 2)),
        ValueError,
        r"output_padding .*smaller than stride or dilation.* got \(1, 2\) for stride \(2, 2\)",
    ),
    "output_padding below": (
        lambda: up(output_padding=-1),
        ValueError,
        "output_padding must be at least 0, got -1",
    ),
    # padding
    "padding below": (
        lambda: conv(padding=(0, -1)),
        ValueError,
        r"padding .*at least 0, got \(0, -1\)",
    ),
    "pair below": (lambda: conv(padding=((0, -1), (0, 0))), ValueError, "padding .*at least 0"),
    "padding length": (
        lambda: conv(padding=(1, 1, 1)),
        ValueError,
        "padding .*2 ints.*got 3 values",
    ),
    "pairs": (lambda: conv(padding=((1, 1),) * 3), ValueError, "padding .*1 or 2 .*pairs, got 3"),
    "a pair without its sequence": (
        lambda: gc.conv1d(X[:, :, 0], W[:, :, 0], padding=(1, 2), groups=4),
        ValueError,
        r"padding .*got 2 values.* 1 before and 2 after is padding=\[\(1, 2\)\]",
    ),
    "upper case": (
        lambda: conv(padding="SAME"),
        ValueError,
        "padding .*'valid', 'same', got 'SAME'",
    ),
    "causal": (lambda: conv(padding="causal"), ValueError, "padding='causal' is for conv1d"),
    "causal, transposed": (
        lambda: gc.conv_transpose1d(X[0], UP[..., 0], padding="causal", groups=4),
        ValueError,
        "padding='causal' is for conv1d",
    ),
    "same with output_padding": (
        lambda: up(padding="same", stride=2, output_padding=1),
        ValueError,
        r"output_padding must be 0 with padding='same'.*got \(1, 1\)",
    ),
    "kernel": (
        lambda: conv(dilation=(1, 5)),
        ValueError,
        r"weight does not fit: kernel size \(3, 3\) with dilation \(1, 5\) spans \(3, 11\), ",
    ),
    "nothing left": (
        lambda: up(X[..., :1, :1], UP, padding=2),
        ValueError,
        r"padding .*too large: the output size would be \(-1, -1\)",
    ),
    # padding modes
    "mode": (
        lambda: conv(padding_mode="mirror"),
        ValueError,
        "padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular', got 'mirror'",
    ),
    "no mode": (
        lambda: conv(padding_mode=None),
        TypeError,
        "padding_mode must be a string, got None",
    ),
    "reflect": (
        lambda: conv(padding=((0, 0), (0, 9)), padding_mode="reflect"),
        ValueError,
        r"padding with padding_mode='reflect' must be smaller than .*\(0, 9\)\).*\(9, 9\)",
    ),
    "circular": (
        lambda: conv(padding=10, padding_mode="circular"),
        ValueError,
        "padding with padding_mode='circular' must be at most the input's size",
    ),
    "mode, empty batch": (
        lambda: conv(X[:0], W, padding=10, padding_mode="circular"),
        ValueError,
        "padding with padding_mode='circular' must be at most the input's size",
    ),
    "mode of a transposed layer": (
        lambda: gc.ConvTranspose2d(8, 4, 3, padding_mode="reflect"),
        ValueError,
        "padding_mode must be one of 'zeros', got 'reflect'",
    ),
    # activation and algorithm
    "activation": (
        lambda: conv(activation="swish"),
        ValueError,
        "activation .*'relu'.* got 'swish'",
    ),
    "activation type": (lambda: conv(activation=1), TypeError, "activation .*name.* got 1"),
    "activation list": (
        lambda: conv(activation=["leaky_relu", 0.1]),
        TypeError,
        "activation .*tuple",
    ),
    "activation tuple": (
        lambda: conv(activation=("relu",)),
        ValueError,
        r"activation .*parameter\)",
    ),
    "parameter of relu": (
        lambda: conv(activation=("relu", 1.0)),
        ValueError,
        "activation 'relu' takes no parameter.*'leaky_relu' does",
    ),
    "parameter": (
        lambda: conv(activation=("leaky_relu", "0.1")),
        TypeError,
        "activation parameter of 'leaky_relu' must be a number, got '0.1'",
    ),
    "bool parameter": (
        lambda: conv(activation=("leaky_relu", True)),
        TypeError,
        "activation parameter .* must be a number, got True",
    ),
    "nan parameter": (
        lambda: conv(activation=("leaky_relu", float("nan"))),
        ValueError,
        "activation parameter .* must be finite, got nan",
    ),
    "algorithm": (
        lambda: conv(algorithm="fastest"),
        ValueError,
        "algorithm='fastest' .*direct",
    ),
    "algorithm, empty batch": (
        lambda: conv(X[:0], W, algorithm="fastest"),
        ValueError,
        "algorithm='fastest' .*direct",
    ),
    "algorithm that cannot": (
        lambda: conv(algorithm="pointwise"),
        ValueError,
        "algorithm='pointwise' .*direct",
    ),
    "algorithm type": (lambda: conv(algorithm=1), TypeError, "algorithm must be a string, got 1"),
    # out
    "out type": (lambda: conv(out=[1]), TypeError, "out must be a plain NumPy array, got list"),
    "masked out": (lambda: conv(out=np.ma.ones(1)), TypeError, "out must .*, got MaskedArray"),
    "out shape": (
        lambda: conv(out=out(shape=(2, 4, 9, 9))),
        ValueError,
        r"out must have shape \(2, 4, 7, 7\) .*, got \(2, 4, 9, 9\)",
    ),
    "out dtype": (lambda: conv(out=out(dtype="f8")), TypeError, "out has dtype float64 .* float32"),
    "read-only out": (lambda: conv(out=read_only(out())), ValueError, "out must be writable"),
    "broadcast out": (
        lambda: conv(out=np.lib.stride_tricks.as_strided(out(), G.shape, (0, 196, 28, 4))),
        ValueError,
        r"out must not overlap itself, got strides \(0, 196, 28, 4\)",
    ),
    **{
        f"out in {name}": (
            out_inside(name),
            ValueError,
            rf"out must not share memory with {name}: .*{name}.copy\(\)",
        )
        for name in ("input", "weight", "bias", "residual")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str) -> None:
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=f"^{message}") as caught:
        call()
    assert caught.type is kind


def test_nothing_is_written_when_an_argument_is_wrong() -> None:
    target = np.full(G.shape, 7, "f4")
    with pytest.raises(ValueError, match="bias"):
        conv(X, W, B[:3], out=target)
    assert (target == 7).all()


def test_the_same_mistake_is_refused_every_time() -> None:
    for _ in range(3):
        conv(stride=1)
        with pytest.raises(TypeError, match="stride"):
            conv(stride=True)
        with pytest.raises(TypeError, match="padding_mode"):
            conv(padding_mode=["zeros"])
        with pytest.raises(TypeError, match="algorithm"):
            conv(algorithm={"auto"})
