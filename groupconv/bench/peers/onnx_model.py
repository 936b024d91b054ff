"""A model of one convolution in ONNX's format, for the peers that read it."""

from __future__ import annotations

from typing import Any

from groupconv.bench.arrays import Arrays
from groupconv.bench.suite import Layer

# Releases that every runtime of the last years reads.
_OPSET, _IR_VERSION = 17, 9


def serialize(layer: Layer, arrays: Arrays) -> bytes:
    """One Conv or ConvTranspose node from ``x`` to ``y`` with its weights inside."""
    from onnx import helper, numpy_helper

    attributes: dict[str, Any] = {
        "group": layer.groups,
        "strides": layer.stride,
        "pads": layer.padding * 2,
        "dilations": layer.dilation,
        "kernel_shape": layer.weight[2:],
    }
    if layer.transposed:
        attributes["output_padding"] = layer.output_padding
    kind = "ConvTranspose" if layer.transposed else "Conv"
    element = helper.np_dtype_to_tensor_dtype(arrays.input.dtype)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "weight", "bias"], ["y"], **attributes)],
        layer.name,
        [helper.make_tensor_value_info("x", element, layer.input)],
        [helper.make_tensor_value_info("y", element, layer.output)],
        [
            numpy_helper.from_array(arrays.weight, "weight"),
            numpy_helper.from_array(arrays.bias, "bias"),
        ],
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized
