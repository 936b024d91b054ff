"""Models of one node, and ONNX Runtime as their judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from groupconv.interop import onnx as interop

# ONNX Runtime accumulates in another order; sums here have a few hundred terms of size 1.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
OPSET = 20


def draw(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def model_of(
    op: str,
    inputs: Sequence[np.ndarray | None],
    *,
    opset: int = OPSET,
    constant: Sequence[int] = (),
    outputs: int = 1,
    **attributes: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a model of one node, some of its inputs constant, and what to feed the others."""
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(inputs)]
    given = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
    fixed = {names[i] for i in constant}
    made = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, made, **attributes)],
        "one_node",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in given.items()
            if name not in fixed
        ],
        [onnx.ValueInfoProto(name=name) for name in made],
        [numpy_helper.from_array(given[name], name) for name in fixed],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    typed = onnx.shape_inference.infer_shapes(model)
    return typed, {name: value for name, value in given.items() if name not in fixed}


def onnx_runtime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def agrees(op: str, inputs: Sequence[np.ndarray | None], **options: Any) -> list[np.ndarray]:
    """Compare our outputs of one node with ONNX Runtime's, and return ours."""
    model, feeds = model_of(op, inputs, **options)
    ours = interop.Evaluator(model).run(None, feeds)
    theirs = onnx_runtime(model, feeds)
    assert len(ours) == len(theirs)
    for y, wanted in zip(ours, theirs, strict=True):
        assert y.dtype == wanted.dtype
        assert y.shape == wanted.shape
        np.testing.assert_allclose(y, wanted, **CLOSE)
    return ours
