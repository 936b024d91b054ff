"""LiteRT (TensorFlow Lite) with XNNPACK, from a model of one convolution written here."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.suite import Layer

_FILE_IDENTIFIER, _SCHEMA_VERSION = b"TFL3", 3


class _Model:
    """Collects tensors and operators of one graph and writes it as a flatbuffer."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # number 0 means: no data
        self._codes: list[Any] = []
        self._operators: list[Any] = []

    def tensor(self, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        schema, buffer, kind = self._schema, 0, self._schema.TensorType.FLOAT32
        if data is not None:
            buffer = len(self._buffers)
            self._buffers.append(schema.BufferT(np.frombuffer(data.tobytes(), np.uint8)))
            if data.dtype == np.int32:
                kind = schema.TensorType.INT32
        self._tensors.append(schema.TensorT(list(shape), kind, buffer))
        return len(self._tensors) - 1

    def constant(self, data: np.ndarray) -> int:
        return self.tensor(data.shape, data)

    def operator(
        self, code: str, options: str, inputs: list[int], shape: tuple[int, ...], **fields: int
    ) -> int:
        """Append an operator; returns the number of its output."""
        schema, output = self._schema, self.tensor(shape)
        self._codes.append(schema.OperatorCodeT(builtinCode=getattr(schema.BuiltinOperator, code)))
        self._operators.append(
            schema.OperatorT(
                len(self._operators),
                inputs,
                [output],
                getattr(schema.BuiltinOptions, options),
                getattr(schema, f"{options}T")(**fields),
            )
        )
        return output

    def serialize(self, source: int, target: int) -> bytes:
        import flatbuffers

        schema, builder = self._schema, flatbuffers.Builder()
        graph = schema.SubGraphT(self._tensors, [source], [target], self._operators)
        model = schema.ModelT(_SCHEMA_VERSION, self._codes, [graph], buffers=self._buffers)
        builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())


def _two_dimensional(layer: Layer, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Input (N, H, W, C), weight (K, R, S, C/groups) and geometry; height 1 where it is 1-D."""
    geometry = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    x, weight = arrays.input, arrays.weight
    if layer.ndim == 1:
        x, weight = x[:, :, None], weight[:, :, None]
        neutral = {"stride": 1, "padding": 0, "dilation": 1}
        geometry = {key: (neutral[key], *value) for key, value in geometry.items()}
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)), weight.transpose(0, 2, 3, 1), geometry


def _serialize(layer: Layer, arrays: Arrays) -> tuple[bytes, np.ndarray]:
    """The model's bytes, and the input in its order."""
    x, weight, geometry = _two_dimensional(layer, arrays)
    (sh, sw), (ph, pw), (dh, dw) = (geometry[k] for k in ("stride", "padding", "dilation"))
    model = _Model()
    source = last = model.tensor(x.shape)
    if ph or pw:  # a PAD, which XNNPACK fuses into what follows: CONV_2D itself pads only "same"
        n, h, w, c = x.shape
        pads = np.array([(0, 0), (ph, ph), (pw, pw), (0, 0)], np.int32)
        padded = (n, h + 2 * ph, w + 2 * pw, c)
        last = model.operator("PAD", "PadOptions", [last, model.constant(pads)], padded)
    from ai_edge_litert import schema_py_generated as schema

    fields = {"padding": schema.Padding.VALID, "strideH": sh, "strideW": sw}
    fields |= {"dilationHFactor": dh, "dilationWFactor": dw}
    code, options = "CONV_2D", "Conv2DOptions"
    if layer.groups == layer.input[1] > 1:
        code, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
        weight = weight.transpose(3, 1, 2, 0)
        fields["depthMultiplier"] = layer.weight[0] // layer.groups
    n, k, *size = layer.output
    output = (n, *((1, *size) if layer.ndim == 1 else size), k)
    inputs = [last, model.constant(weight), model.constant(arrays.bias)]
    last = model.operator(code, options, inputs, output, **fields)
    return model.serialize(source, last), x


class LiteRT(Peer):
    name = "litert"
    distribution = "ai-edge-litert"
    modules: ClassVar = ("ai_edge_litert", "flatbuffers")

    def accepts(self, layer: Layer) -> bool:
        return layer.op in ("conv1d", "conv2d") and layer.dtype == "float32"

    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        from ai_edge_litert.interpreter import Interpreter

        content, x = _serialize(layer, arrays)
        net = Interpreter(model_content=content, num_threads=threads)
        net.allocate_tensors()
        net.set_tensor(net.get_input_details()[0]["index"], x)
        index = net.get_output_details()[0]["index"]

        def read(_: None) -> np.ndarray:
            return net.get_tensor(index).transpose(0, 3, 1, 2).reshape(layer.output)

        return Contender(net.invoke, read, keep=content)
