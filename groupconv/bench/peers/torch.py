"""PyTorch, in its default memory order and in channels_last."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.suite import Layer


def _read(tensor: Any) -> np.ndarray:
    return tensor.contiguous().numpy()


def forward(layer: Layer, x: Any, weight: Any, bias: Any) -> Contender:
    """A forward layer on tensors, without autograd."""
    import torch

    operation = getattr(torch.nn.functional, layer.op)
    arguments = layer.arguments()

    def run() -> Any:
        with torch.inference_mode():
            return operation(x, weight, bias, **arguments)

    return Contender(run, _read)


def backward(layer: Layer, x: Any, weight: Any, grad_output: Any) -> Contender:
    """One gradient on tensors, through the operator that autograd itself calls."""
    import torch

    wanted = [layer.gradient == "input", layer.gradient == "weight", False]
    geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), False)

    def run() -> Any:
        return torch.ops.aten.convolution_backward(
            grad_output, x, weight, None, *geometry, [0] * layer.ndim, layer.groups, wanted
        )

    return Contender(run, lambda gradients: _read(gradients[wanted.index(True)]))


class Torch(Peer):
    name = "torch"
    distribution = "torch"
    modules: ClassVar = ("torch",)

    def accepts(self, layer: Layer) -> bool:
        return True

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        import torch

        torch.set_num_threads(threads)
        x, weight = self._order(torch.from_numpy(arrays.input), torch.from_numpy(arrays.weight))
        if layer.gradient:
            return backward(layer, x, weight, torch.from_numpy(arrays.grad_output))
        return forward(layer, x, weight, torch.from_numpy(arrays.bias))

    def _order(self, *tensors: Any) -> tuple[Any, ...]:
        return tensors


class TorchChannelsLast(Torch):
    name = "torch_channels_last"

    def accepts(self, layer: Layer) -> bool:
        return layer.ndim == 2

    def _order(self, *tensors: Any) -> tuple[Any, ...]:
        import torch

        return tuple(t.contiguous(memory_format=torch.channels_last) for t in tensors)
