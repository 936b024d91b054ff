"""Wrong arguments of layers, gradients and settings: one error that helps, as elsewhere."""

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


def layer(*positions: Any, **arguments: Any) -> Any:
    return gc.Conv2d(*(positions or (8, 4, 3)), **{"groups": 4, **arguments})


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # layers
    "in_channels": (lambda: layer(8.0, 4, 3), TypeError, "in_channels must be an int, got 8.0"),
    "out_channels": (lambda: layer(8, 0, 3), ValueError, "out_channels must be at least 1, got 0"),
    "kernel_size": (lambda: layer(8, 4, (3, 0)), ValueError, "kernel_size .*at least 1"),
    "kernel_size type": (
        lambda: layer(8, 4, "3"),
        TypeError,
        "kernel_size must be an int or .*2 ints",
    ),
    "bias": (lambda: layer(bias=B), TypeError, "bias must be True or False, got ndarray of shape"),
    "dtype of a layer": (
        lambda: layer(dtype="int8"),
        TypeError,
        "dtype must be float32.* got '|i1'",
    ),
    "no dtype": (lambda: layer(dtype=None), TypeError, "dtype must be float32.* got None"),
    "unknown dtype": (lambda: layer(dtype="f32"), TypeError, "dtype must be float32.* got 'f32'"),
    "rng": (lambda: layer(rng=1.5), TypeError, "rng must be None, an int seed or .*, got 1.5"),
    "seed": (lambda: layer(rng=-1), ValueError, "rng as a seed must not be negative, got -1"),
    "weight of a layer": (
        lambda: gc.Conv2d.from_weight(W, groups=3),
        ValueError,
        "groups=3 .*6 input channels and 4 output channels; valid groups: 1, 2$",
    ),
    "bias of a layer": (
        lambda: gc.Conv2d.from_weight(W, B.astype("f8")),
        TypeError,
        r"bias must have the layer's dtype float32, got float64: .*astype\('float32'\)",
    ),
    "input of a layer": (
        lambda: layer()(X.astype("f8")),
        TypeError,
        r"input has dtype float64 but weight has float32: .*input.astype\(weight.dtype\)",
    ),
    "channels of a layer": (
        lambda: layer()(X[:, :4]),
        ValueError,
        "weight of conv2d .*4 input chan",
    ),
    "output_size": (
        lambda: gc.ConvTranspose2d(8, 4, 3, stride=2)(X, output_size=(19, 21)),
        ValueError,
        r"output_size must be from \(19, 19\) to \(20, 20\) .*\(9, 9\), got \(19, 21\)",
    ),
    "output_size length": (
        lambda: gc.ConvTranspose2d(8, 4, 3, stride=2)(X, output_size=(19,)),
        ValueError,
        r"output_size must have 2 entries \(H, W\) or be the whole output shape, got \(19,\)",
    ),
    "output_size with same": (
        lambda: gc.ConvTranspose2d(8, 4, 3, stride=2, padding="same")(X, output_size=(18, 18)),
        ValueError,
        "output_size cannot be chosen with padding='same'",
    ),
    "output_size type": (
        lambda: gc.ConvTranspose2d(8, 4, 3, stride=2)(X, output_size=19),
        TypeError,
        r"output_size must be a tuple of ints \(H, W\), got 19",
    ),
    "plan": (
        lambda: layer().plan((0, 8, 9, 9)),
        ValueError,
        r"input_shape .*batch .*\(0, 8, 9, 9\)",
    ),
    "plan of a number": (lambda: layer().plan(9), TypeError, "input_shape must be a tuple of ints"),
    "plan of another rank": (lambda: layer().plan((9,)), ValueError, "input of conv2d must have 4"),
    # gradients
    "grad_output": (
        lambda: gc.grad.conv2d_input(X.shape, W, G[..., :6], groups=4),
        ValueError,
        r"grad_output must have shape \(2, 4, 7, 7\) .*conv2d.*\(2, 8, 9, 9\).*, got \(2, 4, 7, 6",
    ),
    "grad_output without batch": (
        lambda: gc.grad.conv2d_weight(X, W.shape, G[0], groups=4),
        ValueError,
        r"grad_output must have shape \(2, 4, 7, 7\)",
    ),
    "input_size": (
        lambda: gc.grad.conv2d_input((9, 9), W, G, groups=4),
        ValueError,
        r"input_size of conv2d must have 4 dimensions \(N, C, H, W\)",
    ),
    "input_size type": (
        lambda: gc.grad.conv2d_input(None, W, G, groups=4),
        TypeError,
        "input_size must be a tuple of ints .*, got None",
    ),
    "input_size below": (
        lambda: gc.grad.conv2d_input((-2, 8, 9, 9), W, G, groups=4),
        ValueError,
        "input_size must not hold negative sizes",
    ),
    "weight_size": (
        lambda: gc.grad.conv2d_weight(X, (4, 8, 3, 3), G, groups=4),
        ValueError,
        r"weight_size of conv2d .*axis 1 must be 2, got shape \(4, 8, 3, 3\)",
    ),
    "weight_size type": (
        lambda: gc.grad.conv2d_weight(X, (4, 2, 3, 3.0), G, groups=4),
        TypeError,
        "weight_size must be a tuple of ints",
    ),
    "mixed gradients": (
        lambda: gc.grad.conv2d_weight(X, W.shape, G.astype("f8"), groups=4),
        TypeError,
        "grad_output has dtype float64 but input has float32",
    ),
    "mode of a gradient": (
        lambda: gc.grad.conv2d_input(X.shape, W, G, groups=4, padding_mode="mirror"),
        ValueError,
        "padding_mode must be one of",
    ),
    "out of a gradient": (
        lambda: gc.grad.conv2d_weight(X, W.shape, G, groups=4, out=np.empty_like(G)),
        ValueError,
        r"out must have shape \(4, 2, 3, 3\) \(weight_size\)",
    ),
    "bias gradient": (lambda: gc.grad.conv2d_bias(B), ValueError, "grad_output of conv2d .*4 dim"),
    "bias gradient dtype": (
        lambda: gc.grad.conv2d_bias(G.astype(int)),
        TypeError,
        "grad_output must have dtype float32",
    ),
    # threads and configuration
    "threads 0": (lambda: gc.set_num_threads(0), ValueError, "n must be .*from 1 to 1024, got 0"),
    "threads": (lambda: gc.num_threads(2.0), TypeError, "n must be .*from 1 to 1024, got 2.0"),
    "too many threads": (lambda: gc.num_threads(10**6), ValueError, "n must be .*got 1000000"),
    "config": (lambda: gc.show_config("json"), ValueError, "mode must be one of 'stdout', 'dicts'"),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str) -> None:
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=f"^{message}") as caught:
        call()
    assert caught.type is kind
