"""Who reads what in a model's main graph, and which values are constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int | str, ...]


class Graph:
    """The nodes of a model's main graph, by index, and what connects them.

    Parameters
    ----------
    model : ModelProto
        With inferred shapes where these are to be known.

    Attributes
    ----------
    nodes : list of NodeProto
    opset : int
        Version of ONNX's own operators.
    taken : set of int
        Nodes that belong to something already; nobody is told of them as readers.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.opset = next((o.version for o in model.opset_import if o.domain == ""), 0)
        self.taken: set[int] = set()
        # What is read from elsewhere than the graph's own nodes has to stay.
        self._kept = {output.name for output in graph.output}
        self._readers: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in node.input:
                self._readers[name].append(index)
            for subgraph in _subgraphs(node):
                self._kept.update(names_read(subgraph.node))
        values = (*graph.value_info, *graph.input, *graph.output)
        self._shapes = {value.name: _shape(value) for value in values}
        # An initializer that is an input as well may be fed another value.
        fed = {value.name for value in graph.input}
        self._constants = {t.name: t for t in graph.initializer if t.name not in fed}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                self._constants[node.output[0]] = node.attribute[0].t

    def constant(self, name: str) -> Array | None:
        """Return a constant's value, None if the name is not of one."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """Return the value of a constant with one element."""
        value = self.constant(name)
        return float(value.item()) if value is not None and value.size == 1 else None

    def shape(self, name: str) -> Shape | None:
        """Return sizes, as numbers or names, None unless all are known."""
        return self._shapes.get(name)

    def readers(self, name: str) -> list[int]:
        """Return the nodes that read a value, none if something else does."""
        return [] if name in self._kept else self._readers[name]

    def only_reader(self, name: str) -> int | None:
        """Return the node that reads a value, if it is one alone, ONNX's own, and not taken."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and self.free(readers[0]) else None

    def free(self, index: int) -> bool:
        """Tell whether a node is one of ONNX's own operators and not taken."""
        return index not in self.taken and self.nodes[index].domain == ""

    def output(self, index: int) -> str:
        """Return the name of a node's first output."""
        return self.nodes[index].output[0]


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Set the nodes of a graph and drop constants that none of them reads any more."""
    # They are parts of the graph that is about to be cleared.
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    used = {*names_read(nodes), *(output.name for output in graph.output)}
    del graph.node[:]
    graph.node.extend(n for n in nodes if n.op_type != "Constant" or n.output[0] in used)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the attributes that a node states."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def names_read(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Yield every name that nodes or their subgraphs read."""
    for node in nodes:
        yield from node.input
        for subgraph in _subgraphs(node):
            yield from names_read(subgraph.node)
            yield from (output.name for output in subgraph.output)


def _subgraphs(node: NodeProto) -> list[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _shape(value: ValueInfoProto) -> Shape | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
    return tuple(sizes) if all(sizes) else None
