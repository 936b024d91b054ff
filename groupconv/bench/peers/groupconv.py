"""The library itself, as an inference script uses it: a layer object with its weights bound."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

import groupconv
from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.suite import Layer


class Groupconv(Peer):
    """Arrays in PyTorch's default memory order."""

    name = "groupconv"
    distribution = "groupconv"
    modules: ClassVar = ()

    def version(self) -> str:
        return groupconv.__version__

    def accepts(self, layer: Layer) -> bool:
        return True

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        # The thread count is the caller's: the race sets it once, around everything.
        x, arguments = arrays.input, layer.arguments()
        if layer.gradient:
            gradient = getattr(groupconv.grad, layer.op)
            g = arrays.grad_output
            if layer.gradient == "input":
                return Contender(lambda: gradient(x.shape, arrays.weight, g, **arguments), np.array)
            return Contender(lambda: gradient(x, arrays.weight.shape, g, **arguments), np.array)
        kind = "ConvTranspose" if layer.transposed else "Conv"
        module = getattr(groupconv, f"{kind}{layer.ndim}d")
        built = module.from_weight(arrays.weight, arrays.bias, **arguments)
        return Contender(lambda: built(x), np.asarray)


class GroupconvChannelsLast(Groupconv):
    """The input's channels are neighbours in memory, and so are the output's."""

    name = "groupconv_channels_last"

    def accepts(self, layer: Layer) -> bool:
        return layer.op == "conv2d" and layer.dtype == "float32"

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        x = np.ascontiguousarray(arrays.input.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return super().build(
            layer, Arrays(x, arrays.weight, arrays.bias, arrays.grad_output), threads
        )
