"""Joining convolutions with what follows them: batch normalization, scaling, sums, activations.

Constant factors and terms per channel go into weights and bias; a sum and an activation go into the
convolution, which applies them before it stores a result. All other nodes stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from groupconv.interop.onnx._convolution import FUSED_DOMAIN
from groupconv.interop.onnx._graph import Array, Graph, attributes_of, replace_nodes

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish"}
# What the product of a value and this function of it is called.
_GATED = {"sigmoid": "silu", "hardsigmoid": "hardswish"}
# The version since which BatchNormalization trains only if it says so.
_INFERS_BY_DEFAULT = 7


def fuse(model: ModelProto) -> ModelProto:
    """Return a model in which convolutions do what followed them.

    Parameters
    ----------
    model : ModelProto
        Is left as it is.

    Returns
    -------
    ModelProto
        With nodes ``FusedConv`` and ``FusedConvTranspose`` of a domain that `Evaluator` knows.
        Values that were inside of a fused node are gone.
    """
    fused_model = infer_shapes(model)
    graph = Graph(fused_model)
    fused = {}
    for index, node in enumerate(graph.nodes):
        if node.op_type in _CONVOLUTIONS and graph.free(index):
            chain = _join(graph, index)
            if chain is not None and len(chain.taken) > 1:
                graph.taken.update(chain.taken)
                fused[chain.taken[-1]] = chain
    nodes = []
    for index, node in enumerate(graph.nodes):
        if index in fused:
            made, weights = fused[index].made()
            nodes.append(made)
            fused_model.graph.initializer.extend(weights)
        elif index not in graph.taken:
            nodes.append(node)
    replace_nodes(fused_model.graph, nodes)
    fused_model.opset_import.append(helper.make_opsetid(FUSED_DOMAIN, 1))
    return fused_model


@dataclass
class _Chain:
    """A convolution and what is joined to it: nodes in order, the last one's output."""

    node: NodeProto
    weight: Array
    taken: list[int]
    output: str
    shift: Array
    scale: Array = field(init=False)
    residual: str = ""
    activation: str = ""
    parameter: float | None = None

    def __post_init__(self) -> None:
        self.scale = np.ones_like(self.shift)

    def transform(self, scale: Array, shift: Array) -> None:
        """Apply a factor and a term per channel to the output."""
        self.scale = self.scale * scale
        self.shift = self.shift * scale + shift

    def made(self) -> tuple[NodeProto, list[TensorProto]]:
        """Return the one node for all, and its weight and bias."""
        arrays = {
            f"{self.output}/weight": self._scaled_weight(),
            f"{self.output}/bias": self.shift.astype(self.weight.dtype),
        }
        node = helper.make_node(
            f"Fused{self.node.op_type}",
            [self.node.input[0], *arrays, self.residual],
            [self.output],
            self.node.name,
            domain=FUSED_DOMAIN,
            activation=self.activation or None,
            activation_parameter=self.parameter,
        )
        node.attribute.extend(self.node.attribute)
        return node, [numpy_helper.from_array(array, name) for name, array in arrays.items()]

    def _scaled_weight(self) -> Array:
        weight = self.weight
        spatial = (1,) * (weight.ndim - 2)
        if self.node.op_type == "Conv":
            return (weight * self.scale.reshape(-1, 1, *spatial)).astype(weight.dtype)
        # A transposed convolution's weight has its output channels second, those of one group.
        scale = self.scale.reshape(-1, 1, weight.shape[1], *spatial)
        by_group = weight.reshape(len(scale), -1, *weight.shape[1:])
        return (by_group * scale).astype(weight.dtype).reshape(weight.shape)


def _join(graph: Graph, index: int) -> _Chain | None:
    """Join to a convolution what follows it, as far as that goes; its weight must be constant."""
    node = graph.nodes[index]
    weight, bias = (graph.constant(name) if name else None for name in (*node.input[1:], "")[:2])
    if weight is None or (bias is None and any(node.input[2:])):
        return None
    groups = attributes_of(node).get("group", 1)
    channels = len(weight) if node.op_type == "Conv" else weight.shape[1] * groups
    shift = np.zeros(channels) if bias is None else bias.astype(np.float64)
    chain = _Chain(node, weight, [index], node.output[0], shift)
    while _join_affine(graph, chain):
        pass
    _join_residual(graph, chain)
    if not _join_activation(graph, chain):
        _join_gate(graph, chain)
    return chain


def _extend(graph: Graph, chain: _Chain, *taken: int) -> None:
    chain.taken.extend(taken)
    chain.output = graph.output(taken[-1])


# Factors and terms per channel. ------------------------------------------------------------------


def _join_affine(graph: Graph, chain: _Chain) -> bool:
    index = graph.only_reader(chain.output)
    if index is None:
        return False
    node = graph.nodes[index]
    if node.op_type == "BatchNormalization":
        change = _batch_normalization(graph, node)
    else:
        change = _arithmetic(graph, node, chain)
    if change is None:
        return False
    chain.transform(*change)
    _extend(graph, chain, index)
    return True


def _batch_normalization(graph: Graph, node: NodeProto) -> tuple[Array, Array] | None:
    attributes = attributes_of(node)
    trains = attributes.get("training_mode", 0) or len(node.output) > 1
    if trains or graph.opset < _INFERS_BY_DEFAULT or not attributes.get("spatial", 1):
        return None
    constants = [graph.constant(name) for name in node.input[1:]]
    arrays = [constant.astype(np.float64) for constant in constants if constant is not None]
    if len(arrays) < len(constants):
        return None
    scale, bias, mean, var = arrays
    factor = scale / np.sqrt(var + attributes.get("epsilon", 1e-5))
    return factor, bias - mean * factor


def _arithmetic(graph: Graph, node: NodeProto, chain: _Chain) -> tuple[Array, Array] | None:
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    first = node.input[0] == chain.output
    other = graph.constant(node.input[1] if first else node.input[0])
    value = None if other is None else _per_channel(other, chain)
    if value is None:
        return None
    one, zero = np.ones_like(value), np.zeros_like(value)
    match node.op_type:
        case "Add":
            return one, value
        case "Mul":
            return value, zero
        case "Sub":
            return (one, -value) if first else (-one, value)
        case "Div" if first:
            return one / value, zero
    return None


def _per_channel(value: Array, chain: _Chain) -> Array | None:
    """Return a constant as one value per output channel, None if it varies otherwise."""
    ndim, channels = chain.weight.ndim, len(chain.shift)
    if value.ndim > ndim:
        return None
    shape = (1,) * (ndim - value.ndim) + value.shape
    if value.size != shape[1] or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(value.reshape(-1).astype(np.float64), (channels,))


# A sum with another value, and an activation. ----------------------------------------------------


def _join_residual(graph: Graph, chain: _Chain) -> None:
    index = graph.only_reader(chain.output)
    if index is None or graph.nodes[index].op_type != "Add":
        return
    (other,) = (name for name in graph.nodes[index].input if name != chain.output)
    shape = graph.shape(chain.output)
    # Only where it is known ahead that the sum broadcasts nothing.
    if shape is not None and shape == graph.shape(other):
        chain.residual = other
        _extend(graph, chain, index)


def _join_activation(graph: Graph, chain: _Chain) -> bool:
    index = graph.only_reader(chain.output)
    if index is None:
        return False
    node = graph.nodes[index]
    attributes = attributes_of(node)
    match node.op_type:
        case "Relu" | "Sigmoid" | "Tanh" | "HardSwish":
            chain.activation = _ACTIVATIONS[node.op_type]
        case "LeakyRelu":
            chain.activation, chain.parameter = "leaky_relu", attributes.get("alpha", 0.01)
        case "Gelu" if attributes.get("approximate", b"none") == b"none":
            chain.activation = "gelu"
        case "HardSigmoid" if _is_hard_sigmoid(attributes):
            chain.activation = "hardsigmoid"
        case "Clip" if _clips_to_six(graph, index):
            chain.activation = "relu6"
        case _:
            return False
    _extend(graph, chain, index)
    return True


def _join_gate(graph: Graph, chain: _Chain) -> None:
    """Join the product of the output and a function of it: SiLU or hard swish."""
    readers = graph.readers(chain.output)
    if len(readers) != 2 or not all(map(graph.free, readers)):
        return
    for start, product in (readers, readers[::-1]):
        gate = _gate(graph, start, chain.output)
        if gate is None or graph.nodes[product].op_type != "Mul":
            continue
        function, taken = gate
        if graph.only_reader(graph.output(taken[-1])) != product:
            continue
        taken.append(product)
        if function == "relu6(x + 3)":
            sixth = graph.only_reader(graph.output(product))
            if sixth is None or not _takes_a_sixth(graph, sixth):
                continue
            taken.append(sixth)
            function = "hardsigmoid"
        chain.activation = _GATED[function]
        _extend(graph, chain, *taken)
        return


def _gate(graph: Graph, index: int, x: str) -> tuple[str, list[int]] | None:
    """Return which function of `x` begins at a node, and the nodes that compute it."""
    node = graph.nodes[index]
    if node.op_type == "Sigmoid":
        return "sigmoid", [index]
    if node.op_type == "HardSigmoid" and _is_hard_sigmoid(attributes_of(node)):
        return "hardsigmoid", [index]
    if node.op_type != "Add" or 3 not in map(graph.scalar, node.input):
        return None
    clip = graph.only_reader(node.output[0])
    if clip is None or not _clips_to_six(graph, clip):
        return None
    sixth = graph.only_reader(graph.output(clip))
    if sixth is not None and _takes_a_sixth(graph, sixth):
        return "hardsigmoid", [index, clip, sixth]
    return "relu6(x + 3)", [index, clip]


def _clips_to_six(graph: Graph, index: int) -> bool:
    node = graph.nodes[index]
    attributes = attributes_of(node)
    limits = [graph.scalar(name) for name in node.input[1:]]
    # Limits were attributes until version 11.
    limits = limits or [attributes.get("min"), attributes.get("max")]
    return node.op_type == "Clip" and limits == [0, 6]


def _takes_a_sixth(graph: Graph, index: int) -> bool:
    node = graph.nodes[index]
    if node.op_type not in ("Div", "Mul"):
        return False
    values = [graph.scalar(name) for name in node.input]
    if node.op_type == "Div":
        return values[1] == 6
    return any(value is not None and math.isclose(value, 1 / 6, rel_tol=1e-6) for value in values)


def _is_hard_sigmoid(attributes: dict[str, Any]) -> bool:
    """Tell whether a hard sigmoid is PyTorch's, ``relu6(x + 3) / 6``."""
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5
