"""accelerate(fuse=True): what is fused, that it computes the same, and what must not be fused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_helpers import TOLERANCE, Block, X, check, draw, shake

from groupconv.interop.torch import accelerate, report, restore

ACTIVATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "ReLU": ("relu", nn.ReLU()),
    "ReLU in place": ("relu", nn.ReLU(inplace=True)),
    "ReLU6": ("relu6", nn.ReLU6()),
    "Hardtanh(0, 6)": ("relu6", nn.Hardtanh(0.0, 6.0)),
    "SiLU": ("silu", nn.SiLU()),
    "GELU": ("gelu", nn.GELU()),
    "Hardswish": ("hardswish", nn.Hardswish()),
    "Hardsigmoid": ("hardsigmoid", nn.Hardsigmoid()),
    "Sigmoid": ("sigmoid", nn.Sigmoid()),
    "Tanh": ("tanh", nn.Tanh()),
    "LeakyReLU": ("leaky_relu", nn.LeakyReLU(0.2)),
    "F.relu": ("relu", F.relu),
    "F.relu in place": ("relu", lambda x: F.relu(x, inplace=True)),
    "F.silu": ("silu", F.silu),
    "F.gelu": ("gelu", F.gelu),
    "F.leaky_relu": ("leaky_relu", lambda x: F.leaky_relu(x, 0.3)),
    "F.leaky_relu by name": ("leaky_relu", lambda x: F.leaky_relu(x, negative_slope=0.3)),
    "torch.tanh": ("tanh", torch.tanh),
    "torch.relu_": ("relu", torch.relu_),
    "method": ("sigmoid", lambda x: x.sigmoid()),
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "GELU by tanh": nn.GELU(approximate="tanh"),
    "F.gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "Hardtanh(-1, 1)": nn.Hardtanh(),
    "Softplus": nn.Softplus(),
    "PReLU": nn.PReLU(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    known, activation = ACTIVATIONS[name]
    parts = {"act": activation} if isinstance(activation, nn.Module) else {}
    call = (lambda m, x: m.act(m.norm(m.conv(x)))) if parts else _after_norm(activation)
    assert check(Block(call, **parts), draw(*X)) == {"conv": f"convolution + batch norm + {known}"}


def _after_norm(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda m, x: function(m.norm(m.conv(x)))


@pytest.mark.parametrize("name", OTHERS)
def test_other_activations_stay(name: str) -> None:
    activation = OTHERS[name]
    parts = {"act": activation} if isinstance(activation, nn.Module) else {}
    call = (lambda m, x: m.act(m.norm(m.conv(x)))) if parts else _after_norm(activation)
    assert check(Block(call, **parts), draw(*X)) == {"conv": "convolution + batch norm"}


NORMS = {
    "plain": nn.BatchNorm2d(8),
    "no_affine": nn.BatchNorm2d(8, affine=False),
    "large_eps": nn.BatchNorm2d(8, eps=0.5),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(8, 8, 1),
        nn.ConvTranspose2d(8, 8, 3, stride=2, groups=2),
        nn.ConvTranspose2d(8, 8, 2, groups=8, bias=False),
    ],
    ids=["grouped", "pointwise", "transposed", "transposed_depthwise"],
)
def test_batch_norms(norm: str, conv: nn.Module) -> None:
    model = nn.Sequential(copy.deepcopy(conv), copy.deepcopy(NORMS[norm]), nn.ReLU())
    shake(model)
    assert check(model, draw(*X)) == {"0": "convolution + batch norm + relu"}


def test_batch_norm_in_one_and_three_dimensions() -> None:
    for conv, norm, shape in (
        (nn.Conv1d(8, 8, 3, groups=2), nn.BatchNorm1d(8), (2, 8, 11)),
        (nn.Conv3d(8, 8, 3, groups=8), nn.BatchNorm3d(8), (2, 8, 5, 4, 6)),
    ):
        model = nn.Sequential(conv, norm)
        shake(model)
        assert check(model, draw(*shape)) == {"0": "convolution + batch norm"}


def _add_then_relu(m: Block, x: Tensor) -> Tensor:
    y = m.norm(m.conv(x))
    y += x
    return F.relu(y)


def _drop_then_add(m: Block, x: Tensor) -> Tensor:
    return x + m.drop(m.same(m.norm(m.conv(x))))


def _two_branches(m: Block, x: Tensor) -> Tensor:
    shortcut = m.norm(m.conv(x))
    return torch.relu(torch.add(m.norm2(m.conv2(x)), shortcut))


def _shortcut_last(m: Block, x: Tensor) -> Tensor:
    y = m.norm(m.conv(x)).relu_()
    y = m.norm2(m.conv2(y))
    return y.add_(m.conv3(x)).relu()


def _norm_between_slices(m: Block, x: Tensor) -> Tensor:
    return F.gelu(m.conv(x)[:, :, :-1][..., 1:]).transpose(1, 2)


FUSED: dict[str, tuple[Callable[..., Tensor], dict[str, str]]] = {
    "residual": (_add_then_relu, {"conv": "convolution + batch norm + residual + relu"}),
    "dropout": (_drop_then_add, {"conv": "convolution + batch norm + residual"}),
    "two": (
        _two_branches,
        {
            "conv": "convolution + batch norm + residual + relu",
            "conv2": "convolution + batch norm",
        },
    ),
    "last": (
        _shortcut_last,
        {
            "conv": "convolution + batch norm + relu",
            "conv2": "convolution + batch norm + residual + relu",
        },
    ),
    "sliced": (_norm_between_slices, {"conv": "convolution + gelu"}),
    "activation_only": (lambda m, x: torch.relu(m.conv(x)), {"conv": "convolution + relu"}),
    "zero_pad": (
        lambda m, x: m.norm(m.valid(m.pad(x))),
        {"valid": "zero padding + convolution + batch norm"},
    ),
    "F.pad": (
        lambda m, x: m.norm(m.valid(F.pad(x, (1, 0)))),
        {"valid": "zero padding + convolution + batch norm"},
    ),
    "pad_and_residual": (
        lambda m, x: torch.relu(m.norm(m.valid(m.pad(x))) + m.down(x)),
        {"valid": "zero padding + convolution + batch norm + residual + relu"},
    ),
}


def _parts() -> dict[str, nn.Module]:
    return {
        "conv2": nn.Conv2d(8, 8, 1),
        "conv3": nn.Conv2d(8, 8, 1, groups=2),
        "norm2": nn.BatchNorm2d(8),
        "drop": nn.Dropout(0.5),
        "same": nn.Identity(),
        "pad": nn.ZeroPad2d((0, 1, 1, 0)),
        "valid": nn.Conv2d(8, 8, 3, stride=2, groups=8, padding="valid"),
        "down": nn.AvgPool2d(2, ceil_mode=True),
    }


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", FUSED)
def test_fused(name: str, order: torch.memory_format) -> None:
    compute, expected = FUSED[name]
    size = (2, 8, 8, 8) if "pad" in name else X
    x = draw(*size).contiguous(memory_format=order)
    assert check(Block(compute, **_parts()), x) == expected


def _changes_the_shortcut(m: Block, x: Tensor) -> Tensor:
    y = m.conv(x)
    x = x.mul_(2)
    return torch.relu(y + x)


def _changes_the_input(m: Block, x: Tensor) -> Tensor:
    x = m.same(x * 1)
    y = m.norm(m.conv(x))
    return y + x.relu_()


def _adds_to_the_shortcut(m: Block, x: Tensor) -> Tensor:
    x = x * 1
    y = x.add_(m.conv(x))
    return y + x


def _reads_between(m: Block, x: Tensor) -> Tensor:
    y = m.conv(x)
    return torch.relu(y) + y.mean()


CAREFUL: dict[str, tuple[Callable[..., Tensor], dict[str, str]]] = {
    "shortcut_changed_between": (_changes_the_shortcut, {}),
    "input_changed_between": (_changes_the_input, {"conv": "convolution + batch norm"}),
    "added_to_the_shortcut": (_adds_to_the_shortcut, {}),
    "read_twice": (_reads_between, {}),
    "added_to_itself": (lambda m, x: (y := m.conv(x)) + y, {}),
    "scaled_sum": (lambda m, x: torch.add(m.conv(x), x, alpha=2), {}),
    "sum_with_a_number": (lambda m, x: m.conv(x) + 1, {}),
    "activation_then_norm": (
        lambda m, x: m.norm(torch.relu(m.conv(x))),
        {"conv": "convolution + relu"},
    ),
    "sum_then_norm": (lambda m, x: m.norm(m.conv(x) + x), {"conv": "convolution + residual"}),
    "padding_of_other_values": (lambda m, x: m.valid(F.pad(x, (1, 1), value=1.0)), {}),
    "padding_cut": (lambda m, x: m.valid(F.pad(x, (-1, 1))), {}),
    "padding_of_channels": (lambda m, x: m.conv(F.pad(x[:, 1:], (0, 0, 0, 0, 0, 1))), {}),
    "padding_then_reflection": (lambda m, x: m.mirror(F.pad(x, (1, 1))), {}),
    "one_module_twice": (
        lambda m, x: m.norm(m.conv(torch.relu(m.conv(x)))),
        {"conv": "convolution + batch norm"},
    ),
    "index_by_tensor": (lambda m, x: torch.relu(m.conv(x)[x > 0]), {}),
}


@pytest.mark.parametrize("name", CAREFUL)
def test_careful(name: str) -> None:
    compute, expected = CAREFUL[name]
    mirror = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", groups=8)
    fused = check(Block(compute, mirror=mirror, **_parts()), draw(*X))
    assert fused == expected


def test_a_residual_that_broadcasts() -> None:
    class Broadcasting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, groups=4)

        def forward(self, x: Tensor, r: Tensor) -> Tensor:
            return self.conv(x) + r

    for shape in ((8, 1, 1), (2, 8, 1, 5), (2, 8, 7, 5), (5, 2, 8, 7, 5)):
        assert check(Broadcasting(), draw(*X), draw(*shape)) == {"conv": "convolution + residual"}


def test_statistics_of_the_batch_are_not_folded() -> None:
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    model = Block(lambda m, x: m.other(m.conv(x)), other=norm)
    assert check(model, draw(*X)) == {}


def test_training_uses_the_original() -> None:
    model = Block(lambda m, x: torch.relu(m.norm(m.conv(x))))
    fused = accelerate(copy.deepcopy(model), fuse=True)
    x = draw(*X)
    for part in (model, fused):
        part.train()
        with torch.no_grad():
            part(x)
        part.norm.eval()
        part(x).sum().backward()
    for own, ours in zip(model.state_dict().values(), fused.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, own, **TOLERANCE)
    torch.testing.assert_close(fused.conv.weight.grad, model.conv.weight.grad, rtol=1e-4, atol=1e-4)
    model.eval()
    fused.eval()
    with torch.no_grad():
        torch.testing.assert_close(fused(x), model(x), **TOLERANCE)
        fused.norm.train()
        fused(x)
    assert fused.norm.num_batches_tracked == 2


EDITS: dict[str, Callable[[Any], Any]] = {
    "weight": lambda m: m.conv.weight.mul_(2),
    "bias": lambda m: m.conv.bias.add_(1),
    "mean": lambda m: m.norm.running_mean.add_(1),
    "var": lambda m: m.norm.running_var.mul_(3),
    "scale": lambda m: m.norm.weight.data.mul_(2),
    "shift": lambda m: m.norm.bias.zero_(),
    "eps": lambda m: setattr(m.norm, "eps", 0.7),
    "stride": lambda m: setattr(m.conv, "stride", (2, 2)),
    "load": lambda m: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}),
    "there_and_back": lambda m: m.bfloat16().float(),
    "new_parameter": lambda m: setattr(m.conv, "weight", nn.Parameter(m.conv.weight * 3)),
    "scale_of_the_block": lambda m: m.gain.mul_(5),
    "new_buffer": lambda m: setattr(m, "gain", torch.tensor(7.0)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edits_take_effect(edit: str) -> None:
    model = Block(lambda m, x: torch.relu(m.norm(m.conv(x))) * m.gain)
    model.register_buffer("gain", torch.tensor(2.0))
    fused = accelerate(copy.deepcopy(model), fuse=True)
    x = draw(*X)
    with torch.no_grad():
        for part in (model, fused):
            part(x)
            part(x)
            EDITS[edit](part)
        torch.testing.assert_close(fused(x), model(x), **TOLERANCE)


def test_other_dtypes() -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.bfloat16, 0.05)):
        model = Block(lambda m, x: torch.relu(m.norm(m.conv(x)) + x)).to(dtype)
        fused = accelerate(copy.deepcopy(model), fuse=True)
        x = draw(*X).to(dtype)
        with torch.inference_mode():
            result = fused(x), fused(x)
            for y in result:
                assert y.dtype is dtype
                torch.testing.assert_close(y, model(x), rtol=tolerance, atol=tolerance)
        assert not report(fused).refused


@pytest.mark.parametrize("where", ["conv", "norm", "act"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_hooks_still_run(where: str, when: str) -> None:
    model = Block(lambda m, x: m.act(m.norm(m.conv(x))), act=nn.ReLU())
    x = draw(*X)
    seen = []
    with torch.inference_mode():
        if when == "after":
            accelerate(model, fuse=True)(x)
        getattr(model, where).register_forward_hook(lambda m, a, y: seen.append(y.mean()) or y + 1)
        expected = model(x)
        if when == "before":
            accelerate(model, fuse=True)
        torch.testing.assert_close(model(x), expected, **TOLERANCE)
        model(x)
    assert len(seen) >= 3


def test_copies_and_pickles_stay_fused() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8), nn.ReLU())
    shake(model)
    x = draw(*X)
    accelerate(model, fuse=True)
    with torch.inference_mode():
        expected = model(x)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(other(x), expected)
            other[0].weight.zero_()
            assert not torch.allclose(other(x), expected)
            torch.testing.assert_close(model(x), expected)
            assert report(other).fused == {"0": "convolution + batch norm + relu"}
    restore(model)
    assert type(model) is nn.Sequential
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected, **TOLERANCE)
