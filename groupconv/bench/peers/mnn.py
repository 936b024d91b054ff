"""MNN, from an ONNX model through its own converter, in high precision."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any, ClassVar

import numpy as np

from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.peers.onnx_model import serialize
from groupconv.bench.suite import Layer


class MNN(Peer):
    name = "mnn"
    distribution = "mnn"
    modules: ClassVar = ("MNN", "_tools", "onnx")

    def accepts(self, layer: Layer) -> bool:
        return layer.gradient is None and layer.dtype == "float32"

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        # The converter's C module: importing MNN.tools, the package around it, installs telemetry.
        import _tools
        import MNN.expr
        import MNN.nn

        runtime = MNN.nn.create_runtime_manager(
            ({"backend": "CPU", "precision": "high", "numThread": threads},)
        )
        with tempfile.TemporaryDirectory() as folder:
            source, target = pathlib.Path(folder, "model.onnx"), pathlib.Path(folder, "model.mnn")
            source.write_bytes(serialize(layer, arrays))
            files = ["--modelFile", str(source), "--MNNModel", str(target)]
            _tools.mnnconvert(["", "-f", "ONNX", *files, "--bizCode", "bench"])
            net = MNN.nn.load_module_from_file(str(target), ["x"], ["y"], runtime_manager=runtime)
        x = MNN.expr.const(arrays.input, layer.input, MNN.expr.NCHW)

        def read(y: Any) -> np.ndarray:
            return np.array(y.read()).reshape(layer.output)  # 1-D comes back with an axis more

        return Contender(lambda: net.forward(x), read, keep=runtime)
