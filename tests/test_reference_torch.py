"""The references against PyTorch in float64: two independent readings of the same definitions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import KINDS, Case, kind

from groupconv import reference

torch = pytest.importorskip("torch")
F = torch.nn.functional


def leaf(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).requires_grad_()


def assert_close(got: np.ndarray, want: torch.Tensor) -> None:
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-11, atol=1e-11)


CASES = [
    Case((11,), (3,)),
    Case((11,), (4,), stride=3, padding=2),
    Case((5,), (3,), dilation=3, padding=4),
    Case((9, 8), (3, 3), padding=1),
    Case((9, 8), (2, 3), stride=(2, 3), padding=(0, 2), dilation=(2, 1)),
    Case((6, 7), (1, 1)),
    Case((5, 6, 7), (3, 1, 2), stride=(1, 2, 2), padding=(1, 0, 1)),
    Case((4, 5, 4), (2, 2, 2), dilation=(1, 2, 3)),
]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_gradients(case: Case, name: str) -> None:
    case = case.but(**kind(name))
    x, w, b = case.arrays("float64")
    arguments = {key: value for key, value in case.arguments.items() if key != "padding_mode"}
    tensors = leaf(x), leaf(w), leaf(b)
    y = getattr(F, f"conv{case.ndim}d")(*tensors, **arguments)
    assert_close(reference.conv(x, w, b, **arguments), y)
    g = case.draw("gradient", tuple(y.shape), "float64")
    y.backward(torch.from_numpy(g))
    assert_close(reference.conv_input(x.shape, w, g, **arguments), tensors[0].grad)
    assert_close(reference.conv_weight(x, w.shape, g, **arguments), tensors[1].grad)
    assert_close(reference.conv_bias(g), tensors[2].grad)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "case",
    [
        Case((5,), (3,)),
        Case((5,), (4,), stride=3, padding=2, output_padding=2),
        Case((5,), (3,), dilation=4, padding=1, output_padding=3),
        Case((4, 5), (3, 3), stride=2, padding=1, output_padding=1),
        Case((4, 3), (2, 3), stride=(2, 3), dilation=(3, 1), output_padding=(2, 0)),
        Case((3, 2, 4), (2, 3, 1), stride=(1, 2, 3), padding=(0, 1, 0), output_padding=(0, 1, 2)),
    ],
    ids=str,
)
def test_transposed_and_gradients(case: Case, name: str) -> None:
    case = case.but(**kind(name))
    x, w, b = case.transposed_arrays("float64")
    tensors = leaf(x), leaf(w), leaf(b)
    y = getattr(F, f"conv_transpose{case.ndim}d")(*tensors, **case.transposed_arguments)
    assert_close(reference.conv_transpose(x, w, b, **case.transposed_arguments), y)
    g = case.draw("gradient", tuple(y.shape), "float64")
    y.backward(torch.from_numpy(g))
    arguments = case.transposed_arguments
    assert_close(reference.conv_transpose_input(x.shape, w, g, **arguments), tensors[0].grad)
    assert_close(reference.conv_transpose_weight(x, w.shape, g, **arguments), tensors[1].grad)
    assert_close(reference.conv_transpose_bias(g), tensors[2].grad)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_padding_modes(mode: str, ndim: int) -> None:
    case = Case((5, 4, 6)[:ndim], (3, 2, 3)[:ndim], 2, 2, 1, stride=2, padding_mode=mode)
    case = case.but(padding=[(3, 2), (1, 3), (0, 4)][:ndim])
    x, w, b = case.arrays("float64")
    tensors = leaf(x), leaf(w), leaf(b)
    reversed_pairs = [cells for pair in reversed(case.padding) for cells in pair]
    padded = F.pad(tensors[0], reversed_pairs, mode=mode)
    y = getattr(F, f"conv{ndim}d")(padded, *tensors[1:], 2, groups=2)
    assert_close(reference.conv(x, w, b, **case.arguments), y)
    g = case.draw("gradient", tuple(y.shape), "float64")
    y.backward(torch.from_numpy(g))
    assert_close(reference.conv_input(x.shape, w, g, **case.arguments), tensors[0].grad)
    assert_close(reference.conv_weight(x, w.shape, g, **case.arguments), tensors[1].grad)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_same(ndim: int, kernel: int) -> None:
    case = Case((6,) * ndim, (kernel,) * ndim, 2, 1, 2, padding="same", dilation=3)
    x, w, b = case.arrays("float64")
    tensors = map(torch.from_numpy, (x, w, b))
    y = getattr(F, f"conv{ndim}d")(*tensors, padding="same", dilation=3, groups=2)
    assert_close(reference.conv(x, w, b, **case.arguments), y)


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activations(name: str) -> None:
    x = np.concatenate([np.linspace(-40, 40, 2001), [0.0, -0.0, np.inf, -np.inf, np.nan]])
    want = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    np.testing.assert_allclose(
        reference.activate(x, name), want(torch.from_numpy(x)).numpy(), rtol=1e-13, atol=1e-14
    )
    if name == "leaky_relu":
        want = F.leaky_relu(torch.from_numpy(x), 0.3).numpy()
        np.testing.assert_allclose(reference.activate(x, (name, 0.3)), want, rtol=1e-15)
