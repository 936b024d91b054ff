"""OpenVINO's CPU plugin in float32."""

from __future__ import annotations

import io
from typing import Any, ClassVar

from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.peers.onnx_model import serialize
from groupconv.bench.suite import Layer


class OpenVINO(Peer):
    name = "openvino"
    distribution = "openvino"
    modules: ClassVar = ("openvino", "onnx")

    def accepts(self, layer: Layer) -> bool:
        return layer.gradient is None and layer.dtype == "float32"

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        import openvino

        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # the other contenders use the same cores
        }
        model = core.read_model(io.BytesIO(serialize(layer, arrays)))
        request = core.compile_model(model, "CPU", options).create_infer_request()
        request.set_input_tensor(openvino.Tensor(arrays.input, shared_memory=True))

        def run() -> Any:
            request.infer()
            return request

        return Contender(run, lambda done: done.get_output_tensor().data.copy(), keep=arrays)
