"""ONNX Runtime, CPU provider, with input and output bound ahead of the calls."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.peers.onnx_model import serialize
from groupconv.bench.suite import Layer

_ERRORS_ONLY = 3


class ONNXRuntime(Peer):
    name = "onnxruntime"
    distribution = "onnxruntime"
    modules: ClassVar = ("onnxruntime", "onnx")

    def accepts(self, layer: Layer) -> bool:
        return layer.gradient is None and layer.dtype == "float32"

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        session = onnxruntime.InferenceSession(
            serialize(layer, arrays), options, providers=["CPUExecutionProvider"]
        )
        x = onnxruntime.OrtValue.ortvalue_from_numpy(arrays.input)
        y = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(layer.output, layer.dtype))
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)

        def run() -> Any:
            session.run_with_iobinding(binding)
            return y

        return Contender(run, lambda value: value.numpy(), keep=x)
