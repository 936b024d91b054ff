"""The network of `groupconv.demo.training` and its training, in PyTorch, to compare."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from groupconv.demo.network import Array
from groupconv.demo.training import (
    EPSILON,
    LEARNING_RATE,
    MEAN_KEPT,
    NEW_SHARE,
    SQUARE_KEPT,
    VARIANCE_FLOOR,
    Block,
    Chain,
    Classifier,
    Convolution,
    Layer,
    batches,
)

try:
    import torch
except ModuleNotFoundError as error:
    raise ImportError("the comparison needs PyTorch: pip install 'groupconv[torch]'") from error


class _Block(torch.nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + super().forward(x))


def twin(layer: Layer) -> torch.nn.Module:
    """Return a PyTorch module that computes what a layer does, with copies of its parameters."""
    match layer:
        case Convolution():
            outputs, inputs, *kernel = layer.weight.value.shape
            inputs *= layer.arguments["groups"]
            convolution = torch.nn.Conv2d(inputs, outputs, kernel, bias=False, **layer.arguments)
            normalization = torch.nn.BatchNorm2d(outputs, VARIANCE_FLOOR, NEW_SHARE)
            _copy(layer, [convolution.weight, normalization.weight, normalization.bias])
            activation = [torch.nn.ReLU()] if layer.relu else []
            return torch.nn.Sequential(convolution, normalization, *activation)
        case Classifier():
            linear = torch.nn.Linear(layer.weight.value.shape[1], layer.weight.value.shape[0])
            _copy(layer, [linear.weight, linear.bias])
            return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), linear)
        case Block():
            return _Block(*map(twin, layer.layers))
        case Chain():
            return torch.nn.Sequential(*map(twin, layer.layers))
    raise TypeError(f"no twin for {layer!r}")


@torch.no_grad()
def _copy(layer: Layer, parameters: list[torch.Tensor]) -> None:
    for ours, theirs in zip(layer.parameters(), parameters, strict=True):
        theirs.copy_(torch.from_numpy(ours.value))


def train(
    module: torch.nn.Module, images: Array, labels: Array, epochs: int, seed: int = 0
) -> Iterator[float]:
    """Train a module as :func:`groupconv.demo.training.train` trains a network."""
    optimizer = torch.optim.Adam(
        module.parameters(), lr=LEARNING_RATE, betas=(MEAN_KEPT, SQUARE_KEPT), eps=EPSILON
    )
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for epoch in batches(len(images), epochs, seed):
        losses = []
        for batch in map(torch.from_numpy, epoch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(module(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        yield float(np.mean(losses))
