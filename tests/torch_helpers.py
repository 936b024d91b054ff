"""What the tests of the PyTorch side share: inputs, blocks to fuse, and the comparison."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groupconv.interop.torch import accelerate, report

TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}
X = (2, 8, 9, 7)


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Return a tensor of normal values, the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class Block(nn.Module):
    """A grouped convolution with whatever the test adds."""

    def __init__(self, compute: Callable[..., Any], seed: int = 0, **parts: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)
        for name, part in parts.items():
            self.add_module(name, part)
        self.compute = compute
        shake(self)

    def forward(self, x: Tensor) -> Any:
        return self.compute(self, x)


def shake(model: nn.Module) -> None:
    """Give every batch normalisation statistics that matter."""
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                if part.running_mean is not None:
                    part.running_mean.normal_()
                    part.running_var.uniform_(0.5, 2)
                if part.affine:
                    part.weight.uniform_(0.5, 2)
                    part.bias.normal_()
    model.eval()


def check(model: nn.Module, *inputs: Tensor, calls: int = 2, **kwargs: Any) -> dict[str, str]:
    """Fuse a copy, compare it with the model over a few calls, and return what was fused."""
    fused = accelerate(copy.deepcopy(model), fuse=True)
    for _ in range(calls):
        ours, own = ([x.clone() for x in inputs] for _ in range(2))
        with torch.inference_mode():
            torch.testing.assert_close(fused(*ours, **kwargs), model(*own, **kwargs), **TOLERANCE)
        # Changes of the arguments, where a module makes them, are part of what it does.
        torch.testing.assert_close(ours, own, **TOLERANCE)
    state = report(fused)
    assert not state.refused
    return state.fused
