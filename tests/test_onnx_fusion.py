"""Convolutions of ONNX models that take over what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from groupconv.interop.onnx import Evaluator, prepare
from groupconv.interop.onnx._fusion import fuse

# Folding a factor into a weight rounds once more than applying it afterwards.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
OPSET = 18
SHAPE = (2, 4, 6, 7)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def conv(output: str = "c", x: str = "x", bias: bool = True, **attributes: Any) -> NodeProto:
    """Return a convolution of 4 channels in 2 groups that keeps the size."""
    inputs = [x, "w", "b"] if bias else [x, "w"]
    return helper.make_node("Conv", inputs, [output], group=2, pads=[1, 1, 1, 1], **attributes)


def make_model(
    nodes: Sequence[NodeProto],
    *,
    outputs: Sequence[str] = ("y",),
    shape: Sequence[int | str] = SHAPE,
    opset: int = OPSET,
    fed: Sequence[str] = (),
    **constants: Any,
) -> onnx.ModelProto:
    """Return a model of nodes that reads x and constants: w, b and what is given."""
    constants = {"w": draw(4, 2, 3, 3), "b": draw(4), **constants}
    constants = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "fusion",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, constants[name].shape)
                for name in fed
            ),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(a, name) for name, a in constants.items() if name in read],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def same_result(model: onnx.ModelProto, expected: Sequence[str]) -> list[NodeProto]:
    """Check that a model fuses into these operators and computes the same; return its nodes."""
    before = model.SerializeToString()
    fused = fuse(model)
    assert model.SerializeToString() == before
    assert [node.op_type for node in fused.graph.node] == list(expected)
    x = draw(*SHAPE, seed=7)
    plain = Evaluator(model).run(None, {"x": x})
    for y, wanted in zip(Evaluator(model, fuse=True).run(None, {"x": x}), plain, strict=True):
        np.testing.assert_allclose(y, wanted, **CLOSE)
    return list(fused.graph.node)


BATCH_NORM = {
    "scale": draw(4, seed=1),
    "shift": draw(4, seed=2),
    "mean": draw(4, seed=3),
    "var": abs(draw(4, seed=4)),
}
CHANNELS = draw(4, 1, 1, seed=5)


@pytest.mark.parametrize("opset", [7, 9, 13, 15])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_normalization(bias: bool, opset: int) -> None:
    norm = helper.make_node("BatchNormalization", ["c", *BATCH_NORM], ["y"], epsilon=1e-2)
    model = make_model([conv(bias=bias), norm], opset=opset, **BATCH_NORM)
    same_result(model, ["FusedConv"])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("value", [2.5, CHANNELS, CHANNELS[None], [0.5]], ids=np.shape)
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_per_channel(op: str, value: Any, first: bool) -> None:
    inputs = ["c", "k"] if first else ["k", "c"]
    model = make_model([conv(), helper.make_node(op, inputs, ["y"])], k=value)
    joins = first or op != "Div"
    same_result(model, ["FusedConv"] if joins else ["Conv", "Div"])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed(groups: int) -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["c"], group=groups, strides=[2, 1]),
        helper.make_node("Mul", ["c", "k"], ["m"]),
        helper.make_node("Add", ["m", "k"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    width = 8 // groups
    k = draw(8, 1, 1)
    model = make_model(nodes, w=draw(4, width, 3, 3), b=draw(8), k=k)
    same_result(model, ["FusedConvTranspose"])


ACTIVATIONS = [
    helper.make_node("Relu", ["c"], ["y"]),
    helper.make_node("Sigmoid", ["c"], ["y"]),
    helper.make_node("Tanh", ["c"], ["y"]),
    helper.make_node("HardSwish", ["c"], ["y"]),
    helper.make_node("LeakyRelu", ["c"], ["y"], alpha=0.3),
    helper.make_node("LeakyRelu", ["c"], ["y"]),
    helper.make_node("HardSigmoid", ["c"], ["y"], alpha=0.16666670143604279, beta=0.5),
    helper.make_node("Clip", ["c", "zero", "six"], ["y"]),
]


@pytest.mark.parametrize("node", ACTIVATIONS, ids=lambda node: node.op_type)
def test_activations(node: NodeProto) -> None:
    (made,) = same_result(make_model([conv(), node], zero=0, six=6), ["FusedConv"])
    assert any(attribute.name == "activation" for attribute in made.attribute)


def test_clip_by_attributes() -> None:
    node = helper.make_node("Clip", ["c"], ["y"], min=0.0, max=6.0)
    same_result(make_model([conv(), node], opset=10), ["FusedConv"])


def test_gelu() -> None:
    node = helper.make_node("Gelu", ["c"], ["y"])
    same_result(make_model([conv(), node], opset=20), ["FusedConv"])
    node = helper.make_node("Gelu", ["c"], ["y"], approximate="tanh")
    same_result(make_model([conv(), node], opset=20), ["Conv", "Gelu"])


def gated(*nodes: tuple[str, list[str], str]) -> list[NodeProto]:
    return [conv(), *(helper.make_node(op, inputs, [output]) for op, inputs, output in nodes)]


PLUS_THREE = (("Add", ["c", "three"], "a"), ("Clip", ["a", "zero", "six"], "g"))
GATES = {
    "silu": gated(("Sigmoid", ["c"], "g"), ("Mul", ["c", "g"], "y")),
    "silu, gate first": gated(("Sigmoid", ["c"], "g"), ("Mul", ["g", "c"], "y")),
    "x relu6(x + 3) / 6": gated(*PLUS_THREE, ("Mul", ["c", "g"], "m"), ("Div", ["m", "six"], "y")),
    "x (relu6(x + 3) / 6)": gated(
        *PLUS_THREE, ("Div", ["g", "six"], "s"), ("Mul", ["s", "c"], "y")
    ),
    "x relu6(3 + x) sixth": gated(
        ("Add", ["three", "c"], "a"),
        PLUS_THREE[1],
        ("Mul", ["c", "g"], "m"),
        ("Mul", ["sixth", "m"], "y"),
    ),
}
NUMBERS = {"zero": 0, "three": 3, "six": 6, "sixth": 1 / 6, "five": 5}


@pytest.mark.parametrize("name", GATES)
def test_gates(name: str) -> None:
    (made,) = same_result(make_model(GATES[name], **NUMBERS), ["FusedConv"])
    activation = next(a for a in made.attribute if a.name == "activation")
    assert activation.s == (b"silu" if name.startswith("silu") else b"hardswish")


NO_GATES = {
    "limits": gated(PLUS_THREE[0], ("Clip", ["a", "zero", "five"], "g"), ("Mul", ["c", "g"], "y")),
    "no division": gated(*PLUS_THREE, ("Mul", ["c", "g"], "y")),
    "another term": gated(
        ("Add", ["c", "five"], "a"),
        PLUS_THREE[1],
        ("Mul", ["c", "g"], "m"),
        ("Div", ["m", "six"], "y"),
    ),
    "another product": gated(
        ("Sigmoid", ["c"], "g"), ("Mul", ["g", "g"], "m"), ("Add", ["m", "c"], "y")
    ),
    "a sum": gated(("Sigmoid", ["c"], "g"), ("Add", ["c", "g"], "y")),
    "a gate of something else": gated(
        ("Sigmoid", ["c"], "g"), ("Relu", ["c"], "r"), ("Mul", ["g", "r"], "y")
    ),
}


@pytest.mark.parametrize("name", NO_GATES)
def test_what_looks_like_a_gate(name: str) -> None:
    same_result(make_model(NO_GATES[name], **NUMBERS), [node.op_type for node in NO_GATES[name]])


def test_chains_join_in_order() -> None:
    nodes = [
        conv(),
        helper.make_node("BatchNormalization", ["c", *BATCH_NORM], ["n"]),
        helper.make_node("Mul", ["k", "n"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        # The activation ends the first chain, and another begins.
        helper.make_node("Mul", ["r", "k"], ["z"]),
        conv("d", "z"),
        helper.make_node("Sigmoid", ["d"], ["y"]),
    ]
    model = make_model(nodes, k=CHANNELS, **BATCH_NORM)
    first, _, _ = same_result(model, ["FusedConv", "Mul", "FusedConv"])
    assert first.input[3] == "x"


def test_two_convolutions_that_are_added() -> None:
    nodes = [
        conv("p"),
        helper.make_node("Mul", ["p", "k"], ["q"]),
        conv("r"),
        helper.make_node("Mul", ["r", "k"], ["s"]),
        helper.make_node("Add", ["q", "s"], ["y"]),
    ]
    second, first = same_result(make_model(nodes, k=CHANNELS), ["FusedConv", "FusedConv"])
    assert first.input[3] == second.output[0]


def test_sums_of_unknown_or_other_shapes_stay() -> None:
    add = helper.make_node("Add", ["c", "x"], ["y"])
    same_result(make_model([conv(), add], shape=("n", 4, 6, 7)), ["FusedConv"])
    model = make_model([conv(), add])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    same_result(model, ["Conv", "Add"])
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["z"])
    model = make_model([conv(), mean, helper.make_node("Add", ["c", "z"], ["y"])])
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    same_result(model, ["Conv", "ReduceMean", "Add"])


RELU = helper.make_node("Relu", ["c"], ["y"])


def test_values_that_others_read_stay() -> None:
    same_result(make_model([conv(), RELU], outputs=("c", "y")), ["Conv", "Relu"])
    twice = [conv(), RELU, helper.make_node("Neg", ["c"], ["z"])]
    same_result(make_model(twice, outputs=("y", "z")), ["Conv", "Relu", "Neg"])
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", ["c"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    nodes = [
        conv(),
        RELU,
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["z"], **branches),
    ]
    model = make_model(nodes, outputs=("y", "z"))
    same_result(model, ["Conv", "Relu", "Constant", "If"])


def test_weights_that_may_be_fed_stay() -> None:
    for name in ("w", "b"):
        model = make_model([conv(), RELU], fed=[name])
        assert [node.op_type for node in fuse(model).graph.node] == ["Conv", "Relu"]


@pytest.mark.parametrize(
    "value", [draw(7), draw(6, 7), draw(2, 1, 1, 1), draw(1, 1, 4, 1, 1)], ids=np.shape
)
def test_arithmetic_over_space_or_samples_stays(value: np.ndarray) -> None:
    model = make_model([conv(), helper.make_node("Mul", ["c", "k"], ["y"])], k=value)
    same_result(model, ["Conv", "Mul"])


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("HardSigmoid", ["c"], ["y"], alpha=0.2),
        helper.make_node("Clip", ["c", "zero", "five"], ["y"]),
        helper.make_node("Clip", ["c", "zero"], ["y"]),
        helper.make_node("Softplus", ["c"], ["y"]),
        helper.make_node("Mul", ["c", "x"], ["y"]),
        helper.make_node("Mul", ["c", "c"], ["y"]),
        helper.make_node("Add", ["c", "c"], ["y"]),
    ],
    ids=lambda node: " ".join([node.op_type, *node.input]),
)
def test_other_nodes_stay(node: NodeProto) -> None:
    same_result(make_model([conv(), node], **NUMBERS), ["Conv", node.op_type])


def test_training_stays() -> None:
    outputs = ["y", "running_mean", "running_var"]
    norm = helper.make_node(
        "BatchNormalization", ["c", *BATCH_NORM], outputs, training_mode=1, momentum=0.5
    )
    model = make_model([conv(), norm], outputs=outputs, **BATCH_NORM)
    same_result(model, ["Conv", "BatchNormalization"])


def test_constants_that_nobody_reads_any_more_go() -> None:
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(CHANNELS))
    model = make_model([constant, conv(), helper.make_node("Mul", ["c", "k"], ["y"])])
    same_result(model, ["FusedConv"])
    assert [tensor.name for tensor in fuse(model).graph.initializer] == ["y/weight", "y/bias"]


def test_only_whole_models_fuse() -> None:
    model = onnx.shape_inference.infer_shapes(make_model([conv(), RELU]))
    x = draw(*SHAPE)
    (y,) = Evaluator(model.SerializeToString(), fuse=True).run(None, {"x": x})
    np.testing.assert_allclose(y, Evaluator(model).run(None, {"x": x})[0], **CLOSE)
    np.testing.assert_array_equal(prepare(model, fuse=True).run([x])[0], y)
    with pytest.raises(TypeError, match="fuse=True needs a whole model, got NodeProto"):
        Evaluator(model.graph.node[0], fuse=True)
