"""ONNX interop: ONNX's own tests, convolutions, prepared weights and the backend interface."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.backend.test import BackendTest
from onnx_helpers import CLOSE, OPSET, agrees, draw, model_of, onnx_runtime

import groupconv as gc
from groupconv.interop import onnx as interop

# ONNX's own tests, run as its runner makes them. ------------------------------------------------

FAMILIES = {
    "conv": (r"^test_(basic_)?conv", r"^test_Conv", r"^test_operator_conv"),
    "pool": (r"^test_(max|average|globalaverage)pool", r"(Max|Avg)Pool", r"^test_operator_maxpool"),
    "normalization": (
        r"^test_batchnorm",
        r"BatchNorm",
        r"^test_(log_?)?softmax",
        r"^test_(Log)?Softmax",
    ),
    "resize": (r"resize", r"upsample"),
    "activation": (r"^test_(hard)?sigmoid", r"^test_hardswish", r"^test_Sigmoid"),
    "gru": (r"^test_gru",),
    "network": (r"^test_(shufflenet|squeezenet|resnet50|inception_v2|bvlc_alexnet)",),
}
LEAST_TESTS = {
    "conv": 40,
    "pool": 50,
    "normalization": 20,
    "resize": 39,
    "activation": 8,
    "gru": 4,
    "network": 5,
}


def onnx_tests() -> dict[str, dict[str, Any]]:
    """Return ONNX's test functions by family and name: those that its runner does not skip."""
    with warnings.catch_warnings():
        # Making the cases of operators that are not ours overflows on purpose.
        warnings.simplefilter("ignore")
        runner = BackendTest(interop.Backend, __name__)
    for pattern in itertools.chain(*FAMILIES.values()):
        runner.include(pattern)
    wanted = {
        name: function
        for case in runner.test_cases.values()
        for name, function in vars(case).items()
        if name.startswith("test_") and not hasattr(function, "__unittest_skip__")
    }
    return {
        family: {name: wanted[name] for name in wanted if re.search("|".join(patterns), name)}
        for family, patterns in FAMILIES.items()
    }


ONNX_TESTS = onnx_tests()
NAMES = sorted(set(itertools.chain(*ONNX_TESTS.values())))


@pytest.mark.parametrize("family", FAMILIES)
def test_onnx_has_the_tests_we_count_on(family: str) -> None:
    assert len(ONNX_TESTS[family]) >= LEAST_TESTS[family]


@pytest.mark.parametrize("name", NAMES)
def test_onnx_backend(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    function = next(tests[name] for tests in ONNX_TESTS.values() if name in tests)
    function(None)


# Convolutions, against ONNX Runtime. ------------------------------------------------------------


def conv_cases() -> Iterator[dict[str, Any]]:
    for ndim, auto_pad in itertools.product((1, 2, 3), ("SAME_UPPER", "SAME_LOWER", "VALID")):
        yield {"ndim": ndim, "auto_pad": auto_pad, "strides": [2] * ndim, "group": 3}
    yield {"ndim": 1, "pads": [3, 0], "group": 6}
    yield {"ndim": 2, "pads": [0, 1, 2, 3], "strides": [1, 3], "dilations": [2, 1], "group": 2}
    yield {"ndim": 3, "pads": [1, 0, 2, 0, 1, 1], "dilations": [1, 2, 1], "group": 6}


@pytest.mark.parametrize("constant", [(), (1, 2)], ids=["fed", "constant"])
@pytest.mark.parametrize("case", list(conv_cases()), ids=str)
def test_conv(case: dict[str, Any], constant: tuple[int, ...]) -> None:
    case = dict(case)
    ndim = case.pop("ndim")
    kernel, size = (4, 3, 2)[:ndim], (11, 10, 7)[:ndim]
    x, w, b = draw(2, 6, *size), draw(12, 6 // case.get("group", 1), *kernel), draw(12)
    agrees("Conv", [x, w, b], constant=constant, kernel_shape=list(kernel), **case)
    agrees("Conv", [x, w], constant=constant[:1], **case)


def conv_transpose_cases() -> Iterator[dict[str, Any]]:
    for ndim, auto_pad in itertools.product((1, 2, 3), ("SAME_UPPER", "SAME_LOWER", "VALID")):
        yield {"ndim": ndim, "auto_pad": auto_pad, "strides": [2] * ndim, "group": 3}
    yield {"ndim": 1, "pads": [2, 1], "strides": [3], "output_padding": [2], "group": 6}
    yield {"ndim": 2, "pads": [0, 1, 1, 2], "dilations": [2, 1], "group": 2}
    yield {"ndim": 2, "strides": [2, 3], "output_shape": [9, 17], "group": 2}
    yield {"ndim": 2, "strides": [2, 3], "output_shape": [9, 16], "auto_pad": "SAME_UPPER"}
    yield {"ndim": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}


@pytest.mark.parametrize("constant", [(), (1, 2)], ids=["fed", "constant"])
@pytest.mark.parametrize("case", list(conv_transpose_cases()), ids=str)
def test_conv_transpose(case: dict[str, Any], constant: tuple[int, ...]) -> None:
    case = dict(case)
    ndim = case.pop("ndim")
    kernel, size, group = (4, 3, 2)[:ndim], (5, 6, 4)[:ndim], case.get("group", 1)
    x, w, b = draw(2, 6, *size), draw(6, 4, *kernel), draw(4 * group)
    agrees("ConvTranspose", [x, w, b], constant=constant, kernel_shape=list(kernel), **case)
    agrees("ConvTranspose", [x, w], constant=constant[:1], **case)


def test_same_padding_heeds_dilation() -> None:
    x, w = draw(1, 2, 9, 10), draw(2, 2, 3, 2)
    arguments = {"dilations": [2, 3], "strides": [1, 2]}
    (wanted,) = agrees("Conv", [x, w], pads=[2, 1, 2, 1], **arguments)
    model, feeds = model_of("Conv", [x, w], auto_pad="SAME_LOWER", **arguments)
    (y,) = interop.Evaluator(model).run(None, feeds)
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_other_dtypes(op: str, dtype: str) -> None:
    x, w, b = draw(1, 4, 6, 6), draw(4, 2, 3, 3), draw(4)
    arguments = {"group": 2, "strides": [2, 2]}
    model, feeds = model_of(op, [x, w, b], **arguments)
    (wanted,) = interop.Evaluator(model).run(None, feeds)
    model, feeds = model_of(op, [a.astype(dtype) for a in (x, w, b)], **arguments)
    (y,) = interop.Evaluator(model).run(None, feeds)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wanted, rtol=1e-2, atol=1e-2)


def test_convolutions_outside_of_groupconv_are_refused() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    with pytest.raises(ValueError, match="1 to 3 spatial axes"):
        interop.run_node(node, [draw(1, 1, 2, 2, 2, 2), draw(1, 1, 1, 1, 1, 1)])
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
    with pytest.raises(ValueError, match="kernel_shape"):
        interop.run_node(node, [draw(1, 1, 5, 5), draw(1, 1, 2, 2)])
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=3)
    with pytest.raises(ValueError, match="groups"):
        interop.run_node(node, [draw(1, 4, 5, 5), draw(4, 2, 2, 2)])


def test_output_shape_beyond_reach_is_refused() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2], output_shape=[18])
    with pytest.raises(ValueError, match="6 cells more than the input gives; with stride 2"):
        interop.run_node(node, [draw(1, 1, 5), draw(1, 1, 4)])


# Which weights are prepared ahead, and what happens when they change. ---------------------------


def count_preparations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    for cls in (gc.Conv2d, gc.ConvTranspose2d):
        original = cls.from_weight

        def from_weight(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            made.append(original.__self__.__name__)
            return original(*args, **kwargs)

        monkeypatch.setattr(cls, "from_weight", from_weight)
    return made


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_constant_weights_are_prepared_once(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_preparations(monkeypatch)
    inputs = [draw(1, 4, 6, 6), draw(4, 2, 3, 3), draw(4)]
    model, feeds = model_of(op, inputs, constant=(1, 2), group=2)
    evaluator = interop.Evaluator(model)
    first = evaluator.run(None, feeds)[0]
    assert (evaluator.run(None, feeds)[0] == first).all()
    assert made == [f"{op}2d"]


def test_weights_in_constant_nodes_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_preparations(monkeypatch)
    w = draw(4, 2, 3, 3)
    # Values kept as floats rather than raw bytes: their array is made writable by ONNX.
    tensor = helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.ravel().tolist())
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["w"], value=tensor),
            helper.make_node("Conv", ["x", "w"], ["y"], group=2),
        ],
        "constant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [onnx.ValueInfoProto(name="y")],
    )
    evaluator = interop.Evaluator(graph, opsets={"": OPSET})
    x = draw(1, 4, 6, 6)
    for _ in range(2):
        (y,) = evaluator.run(None, {"x": x})
        np.testing.assert_allclose(y, gc.conv2d(x, w, groups=2), **CLOSE)
    assert made == ["Conv2d"]


def test_weights_that_are_fed_may_change() -> None:
    x, w = draw(1, 4, 6, 6), draw(4, 2, 3, 3)
    model, feeds = model_of("Conv", [x, w], group=2)
    evaluator = interop.Evaluator(model)
    before = evaluator.run(None, feeds)[0].copy()
    w *= 2
    np.testing.assert_array_equal(evaluator.run(None, feeds)[0], 2 * before)
    # A read-only view of memory that others write is not constant either.
    view = w.view()
    view.flags.writeable = False
    evaluator.run(None, {**feeds, "x1": view})
    w *= 2
    np.testing.assert_array_equal(evaluator.run(None, {**feeds, "x1": view})[0], 4 * before)


def test_an_initializer_can_be_fed_over() -> None:
    x, w = draw(1, 4, 6, 6), draw(4, 2, 3, 3)
    model, feeds = model_of("Conv", [x, w], constant=(1,), group=2)
    evaluator = interop.Evaluator(model)
    before = evaluator.run(None, feeds)[0]
    np.testing.assert_array_equal(evaluator.run(None, {**feeds, "x1": 2 * w})[0], 2 * before)
    np.testing.assert_array_equal(evaluator.run(None, feeds)[0], before)


def test_constants_refuse_edits_in_place() -> None:
    w = draw(4, 2, 3, 3)
    model, _ = model_of("Conv", [draw(1, 4, 6, 6), w], constant=(1,), group=2)
    tensor = helper.make_tensor("x1", TensorProto.FLOAT, w.shape, w.ravel().tolist())
    model.graph.initializer[0].CopyFrom(tensor)
    constant = interop.Evaluator(model).rt_inits_["x1"]
    with pytest.raises(ValueError, match="read-only"):
        constant *= 2


def test_same_padding_of_many_sizes_keeps_few_layers() -> None:
    w = draw(1, 1, 40)
    model, feeds = model_of(
        "Conv", [draw(1, 1, 50), w], constant=(1,), auto_pad="SAME_LOWER", strides=[37]
    )
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "length"
    evaluator = interop.Evaluator(model)
    for length in range(50, 100):
        feeds = {"x0": draw(1, 1, length)}
        np.testing.assert_allclose(
            evaluator.run(None, feeds)[0], onnx_runtime(model, feeds)[0], **CLOSE
        )


# Where the operators take effect. ---------------------------------------------------------------


def test_operators_reach_functions_and_subgraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(gc, "conv1d", lambda x, *_, **__: calls.append(x.shape) or x)
    function = helper.make_function(
        "local", "Twice", ["x", "w"], ["y"],
        [
            helper.make_node("Conv", ["x", "w"], ["z"]),
            helper.make_node("Conv", ["z", "w"], ["y"]),
        ],
        [helper.make_opsetid("", OPSET)],
    )  # fmt: skip
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Conv", ["f", "w"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    graph = helper.make_graph(
        [
            helper.make_node("Twice", ["x", "w"], ["f"], domain="local"),
            helper.make_node("If", ["condition"], ["y"], **branches),
        ],
        "nested",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 9]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 2, 1]),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)
    evaluator = interop.Evaluator(model)
    evaluator.run(None, {"x": draw(1, 2, 9), "w": draw(2, 2, 1), "condition": np.array(True)})
    assert calls == [(1, 2, 9)] * 3
    assert set(evaluator.seconds) == {"Twice", "If"}


def test_operators_serve_the_plain_evaluator() -> None:
    model, feeds = model_of(
        "ConvTranspose", [draw(1, 4, 5, 5), draw(4, 2, 3, 3), draw(4)], group=2, strides=[2, 2]
    )
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=list(interop.OPERATORS))
    (y,) = evaluator.run(None, feeds)
    np.testing.assert_allclose(y, onnx_runtime(model, feeds)[0], **CLOSE)


def test_own_operators_go_first() -> None:
    class Conv(onnx.reference.op_run.OpRun):
        def _run(self, x: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray]:
            return (x,)

    model, feeds = model_of("Conv", [draw(1, 1, 5), draw(1, 1, 3)])
    (y,) = interop.Evaluator(model, new_ops=[Conv]).run(None, feeds)
    np.testing.assert_array_equal(y, feeds["x0"])


# The backend interface. -------------------------------------------------------------------------


def test_backend_takes_inputs_in_order_or_by_name() -> None:
    x, w = draw(1, 1, 5), draw(1, 1, 3)
    model, _ = model_of("Conv", [x, w])
    prepared = interop.prepare(model)
    outputs = prepared.run([x, w])
    assert outputs[0] is outputs["y0"]
    np.testing.assert_array_equal(prepared.run({"x1": w, "x0": x})[0], outputs[0])
    np.testing.assert_array_equal(interop.run_model(model, [x, w])[0], outputs[0])
    with pytest.raises(ValueError, match="takes 2 inputs, got 3"):
        prepared.run([x, w, w])


def test_backend_computes_on_cpus_only() -> None:
    assert interop.supports_device("CPU")
    assert not interop.supports_device("CUDA:0")
    model, _ = model_of("Conv", [draw(1, 1, 5), draw(1, 1, 3)])
    assert interop.is_compatible(model)
    with pytest.raises(RuntimeError, match="CUDA:0"):
        interop.prepare(model, "CUDA:0")


def test_backend_runs_nodes_of_a_version() -> None:
    x = draw(2, 3, 4)
    node = helper.make_node("Softmax", ["x"], ["y"])
    (old,) = interop.run_node(node, [x], opset_version=11)
    (new,) = interop.run_node(node, [x])
    np.testing.assert_allclose(old.sum(axis=(1, 2)), 1, **CLOSE)
    np.testing.assert_allclose(new.sum(axis=2), 1, **CLOSE)


def test_seconds_are_counted_by_operator() -> None:
    model, feeds = model_of("Conv", [draw(1, 1, 5), draw(1, 1, 3)])
    evaluator = interop.Evaluator(model)
    assert evaluator.seconds == {}
    evaluator.run(None, feeds)
    assert list(evaluator.seconds) == ["Conv"]
    assert evaluator.seconds["Conv"] > 0


def test_without_onnx_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['onnx'] = None; import groupconv.interop.onnx"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "ImportError: groupconv.interop.onnx needs ONNX: pip install 'groupconv[onnx]'"
        in run.stderr
    )
