"""PyTorch's own sample and error inputs of its convolutions, from its operator database."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_within, function

import groupconv as gc
from groupconv import reference

torch = pytest.importorskip("torch")
methods = pytest.importorskip("torch.testing._internal.common_methods_invocations")

OPERATORS = {
    op.name.removeprefix("nn.functional."): op
    for op in methods.op_db
    if op.name.startswith(("nn.functional.conv1", "nn.functional.conv2", "nn.functional.conv3"))
    or op.name.startswith("nn.functional.conv_transpose")
}
CONVOLUTIONS = [name for name in OPERATORS if "transpose" not in name]


def numpy_operands(sample: Any) -> tuple[list[Any], dict[str, Any]]:
    def convert(value: Any) -> Any:
        return value.detach().numpy() if isinstance(value, torch.Tensor) else value

    operands = [convert(value) for value in (sample.input, *sample.args)]
    return operands, {name: convert(value) for name, value in sample.kwargs.items()}


def ours(name: str) -> Any:
    return getattr(gc, name)


def test_the_database_holds_all_six() -> None:
    names = [f"conv{d}d" for d in (1, 2, 3)] + [f"conv_transpose{d}d" for d in (1, 2, 3)]
    assert sorted(OPERATORS) == sorted(names)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_samples(name: str, dtype: torch.dtype) -> None:
    operator = OPERATORS[name]
    samples = list(operator.sample_inputs("cpu", dtype, requires_grad=False))
    assert len(samples) >= 10
    meaning = reference.conv_transpose if "transpose" in name else reference.conv
    for sample in samples:
        wide = sample.transform(lambda v: v.double() if isinstance(v, torch.Tensor) else v)
        want = operator(wide.input, *wide.args, **wide.kwargs).numpy()
        operands, options = numpy_operands(sample)
        got = ours(name)(*operands, **options)
        bound = reference.error_bound(meaning, *operands, **options)
        assert_within(got, want, bound)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_gradients_of_samples(name: str) -> None:
    """Autograd's gradients of every sample, in float64."""
    operator = OPERATORS[name]
    stem, ndim = name[:-2], int(name[-2])
    by_input, by_weight, by_bias = (
        getattr(gc.grad, f"{stem}{ndim}d_{of}") for of in ("input", "weight", "bias")
    )
    meaning = reference.conv_transpose if "transpose" in name else reference.conv
    for sample in operator.sample_inputs("cpu", torch.float64, requires_grad=True):
        y = operator(sample.input, *sample.args, **sample.kwargs)
        g = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
        y.backward(g)
        (x, w, *bias), options = numpy_operands(sample)
        gradients = [sample.input.grad, sample.args[0].grad]
        results = [
            by_input(x.shape, w, g.numpy(), **options),
            by_weight(x, w.shape, g.numpy(), **options),
        ]
        if bias and bias[0] is not None:
            gradients.append(sample.args[1].grad)
            results.append(by_bias(g.numpy()))
        for got, want in zip(results, gradients, strict=True):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-10, atol=1e-10)
        assert meaning(x, w, **options).shape == tuple(y.shape)


# Refused by PyTorch, defined here: 'same' with a stride.
EXTENSIONS = ["padding='same' is not supported for strided convolutions"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_error_inputs(name: str) -> None:
    errors = list(OPERATORS[name].error_inputs("cpu"))
    assert len(errors) >= 10
    for error in errors:
        operands, options = numpy_operands(error.sample_input)
        if error.error_regex in EXTENSIONS:
            got = ours(name)(*operands, **options)
            bound = reference.error_bound(reference.conv, *operands, **options)
            assert_within(got, reference.conv(*operands, **options), bound)
        else:
            with pytest.raises((ValueError, TypeError)):
                ours(name)(*operands, **options)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_tensors_are_accepted_as_they_are(ndim: int) -> None:
    """By DLPack, without a copy; the result is a NumPy array."""
    x = torch.randn((2, 4, *(6,) * ndim), generator=torch.Generator().manual_seed(0))
    w = torch.randn((6, 2, *(3,) * ndim), generator=torch.Generator().manual_seed(1))
    got = function("conv", ndim)(x, w, groups=2)
    assert isinstance(got, np.ndarray)
    np.testing.assert_array_equal(got, function("conv", ndim)(x.numpy(), w.numpy(), groups=2))
    if ndim == 2:
        x = x.to(memory_format=torch.channels_last)
        got = gc.conv2d(x, w, groups=2)
        assert got.transpose(0, 2, 3, 1).flags.c_contiguous
