"""Weights prepared once, and again after every kind of edit; copies of accelerated modules."""

from __future__ import annotations

import copy
import io
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch_helpers import draw

from groupconv.interop.torch import Accelerated, accelerate, restore


def _optimiser(module: nn.Module) -> None:
    with torch.enable_grad():
        module(draw(1, 4, 5, 5)).sum().backward()
        torch.optim.Adam(module.parameters(), lr=0.5, foreach=True).step()


def _fused_optimiser(module: nn.Module) -> None:
    with torch.enable_grad():
        module(draw(1, 4, 5, 5)).sum().backward()
        torch.optim.AdamW(module.parameters(), lr=0.5, fused=True).step()


EDITS = {
    "in_place": lambda m: m.weight.mul_(2),
    "bias_in_place": lambda m: m.bias.add_(1),
    "one_element": lambda m: m.weight[1, 1, 1, 1].add_(1),
    "data": lambda m: m.weight.data.mul_(2),
    "new_data": lambda m: setattr(m.weight, "data", m.weight.data * 2),
    "numpy_view": lambda m: np.multiply(m.weight.numpy(), 2, out=m.weight.numpy()),
    "new_parameter": lambda m: setattr(m, "weight", nn.Parameter(m.weight * 2)),
    "no_bias": lambda m: setattr(m, "bias", None),
    "load": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}),
    "assign": lambda m: m.load_state_dict(
        {k: v * 2 for k, v in m.state_dict().items()}, assign=True
    ),
    "initialise": lambda m: nn.init.ones_(m.weight),
    "optimiser": _optimiser,
    "fused_optimiser": _fused_optimiser,
    "stride": lambda m: setattr(m, "stride", (2, 2)),
    "padding": lambda m: setattr(m, "padding", (1, 0)),
}


@pytest.mark.parametrize("size", [(5, 5), (24, 24)], ids=str)
@pytest.mark.parametrize("edit", EDITS)
def test_edits_take_effect(edit: str, size: tuple[int, int]) -> None:
    module = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    x = draw(1, 4, *size)
    with torch.no_grad():
        before = module(x)
        EDITS[edit](module)
        after = module(x)
        expected = restore(module)(x)
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)
    assert before.shape != after.shape or not torch.allclose(before, after)


def test_dtype_of_the_whole_module_changes() -> None:
    module = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    with torch.inference_mode():
        module(draw(1, 4, 5, 5))
        module.double()
        assert module(draw(1, 4, 5, 5, dtype=torch.float64)).dtype is torch.float64
        with pytest.raises(TypeError, match="float32"):
            module(draw(1, 4, 5, 5))


def test_parameters_made_in_inference_mode() -> None:
    with torch.inference_mode():
        module = accelerate(nn.Conv2d(16, 16, 3, groups=2))
        x = draw(1, 16, 24, 24)
        before = module(x)
        module.weight.zero_()
        after = module(x)
    assert before.std() > 0
    assert torch.equal(after, module.bias[:, None, None].expand_as(after))


def test_weight_norm_is_computed_once() -> None:
    module = torch.nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, 5, groups=4), dim=2)
    x = draw(2, 8, 20)
    calls = []
    norm = module.parametrizations.weight[0]
    norm.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        expected = module(x)
        accelerate(module)
        calls.clear()
        torch.testing.assert_close(module(x), expected)
        torch.testing.assert_close(module(x), expected)
        assert len(calls) == 1
        module.parametrizations.weight.original0.mul_(2)
        torch.testing.assert_close(module(x), restore(module)(x))
    module = accelerate(module)
    module(x).sum().backward()
    assert module.parametrizations.weight.original1.grad is not None


@pytest.mark.parametrize("kind", ["spectral_norm", "prune", "own"])
def test_weights_that_are_new_at_each_call(kind: str) -> None:
    module = nn.Conv2d(8, 8, 3, groups=2).eval()
    if kind == "spectral_norm":
        torch.nn.utils.parametrizations.spectral_norm(module)
    elif kind == "prune":
        prune.l1_unstructured(module, "weight", amount=0.5)
    else:
        torch.nn.utils.parametrize.register_parametrization(module, "weight", nn.Tanh())
    x = draw(2, 8, 9, 9)
    with torch.no_grad():
        expected = module(x)
        accelerate(module)
        for _ in range(3):
            torch.testing.assert_close(module(x), expected)
        for parameter in module.parameters():
            parameter.mul_(1.5)
        torch.testing.assert_close(module(x), restore(module)(x))


def test_copies_and_files() -> None:
    module = accelerate(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU()))
    x = draw(1, 4, 7, 7)
    with torch.no_grad():
        expected = module(x)
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        for other in (
            copy.deepcopy(module),
            pickle.loads(pickle.dumps(module)),
            torch.load(file, weights_only=False),
        ):
            assert isinstance(other[0], Accelerated)
            assert other[0].weight is not module[0].weight
            assert torch.equal(other(x), expected)
            other[0].weight.zero_()
            assert not torch.equal(other(x), expected)
        assert torch.equal(module(x), expected)


def test_calls_from_several_threads_while_weights_change() -> None:
    module = accelerate(nn.Conv2d(16, 16, 3, padding=1, groups=2, bias=False))
    x = draw(1, 16, 24, 24)
    ones, twos = torch.ones_like(module.weight), torch.full_like(module.weight, 2)
    with torch.no_grad():
        module.weight.copy_(ones)
        expected = [module(x), module(x) * 2]
    wrong = []
    done = threading.Event()

    def call() -> None:
        with torch.no_grad():
            while not done.is_set():
                result = module(x)
                if not any(torch.allclose(result, e, atol=1e-4) for e in expected):
                    wrong.append(result)

    workers = [threading.Thread(target=call) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in range(50):
        for values in (twos, ones):
            # Whole parameters: values copied in while a call reads them could be of both.
            module.weight = nn.Parameter(values.clone())
    done.set()
    for worker in workers:
        worker.join()
    assert not wrong
