"""ncnn, from its text and binary model format, with every low-precision option off."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any, ClassVar

import numpy as np

from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.suite import Layer

_MAGIC = 7767517  # first line of every text model
_FLOAT32_WEIGHTS = np.uint32(0)  # tag before the weights: stored as they are


def _model(layer: Layer, arrays: Arrays) -> tuple[str, bytes]:
    """Text and weights of a network of one input and one convolution."""
    kernel, stride = layer.weight[2:], layer.stride
    fields = {
        0: layer.weight[0],
        1: kernel[1],
        11: kernel[0],
        2: layer.dilation[1],
        12: layer.dilation[0],
        3: stride[1],
        13: stride[0],
        4: layer.padding[1],
        14: layer.padding[0],
        5: 1,  # has a bias
        6: arrays.weight.size,
    }
    kind = "Convolution"
    if layer.groups > 1:
        kind, fields[7] = "ConvolutionDepthWise", layer.groups
    written = " ".join(f"{key}={value}" for key, value in fields.items())
    text = f"{_MAGIC}\n2 2\nInput x 0 1 x\n{kind} conv 1 1 x y {written}\n"
    weights = _FLOAT32_WEIGHTS.tobytes() + arrays.weight.tobytes() + arrays.bias.tobytes()
    return text, weights


class NCNN(Peer):
    name = "ncnn"
    distribution = "ncnn"
    modules: ClassVar = ("ncnn",)

    def accepts(self, layer: Layer) -> bool:
        # Its blobs have no batch axis.
        return layer.op == "conv2d" and layer.dtype == "float32" and layer.input[0] == 1

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads = threads
        for option in ("fp16_storage", "fp16_arithmetic", "fp16_packed", "bf16_storage"):
            setattr(net.opt, f"use_{option}", False)
        text, weights = _model(layer, arrays)
        with tempfile.TemporaryDirectory() as folder:
            param, binary = pathlib.Path(folder, "model.param"), pathlib.Path(folder, "model.bin")
            param.write_text(text)
            binary.write_bytes(weights)
            net.load_param(str(param))
            net.load_model(str(binary))
        x = ncnn.Mat(arrays.input[0]).clone()

        def run() -> Any:
            extractor = net.create_extractor()
            extractor.input("x", x)
            return extractor.extract("y")[1]

        return Contender(run, lambda y: np.array(y)[None], keep=net)
