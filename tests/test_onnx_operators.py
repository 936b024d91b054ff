"""ONNX interop: the operators beside the convolutions, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_helpers import CLOSE, agrees, draw, model_of

from groupconv.interop import onnx as interop

POOLINGS = [
    {"kernel_shape": [3]},
    {"kernel_shape": [3], "strides": [2], "pads": [1, 1], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 4], "strides": [1, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 3], "strides": [3, 2], "auto_pad": "VALID"},
    {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 2, 1], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "dilations": [2, 3], "pads": [1, 2, 1, 2]},
    {"kernel_shape": [2, 2, 2], "strides": [2, 1, 2], "pads": [1, 1, 0, 0, 1, 1]},
]


@pytest.mark.parametrize("attributes", POOLINGS, ids=str)
def test_pooling(attributes: dict[str, Any]) -> None:
    x = draw(2, 3, *(11, 10, 7)[: len(attributes["kernel_shape"])])
    # Only negative values: padding must not win.
    agrees("MaxPool", [-abs(x)], **attributes)
    for count_include_pad in (0, 1):
        agrees("AveragePool", [x], **attributes, count_include_pad=count_include_pad)
    agrees("GlobalAveragePool", [x])


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_max_pool_tells_where(pads: list[int], storage_order: int) -> None:
    x = draw(2, 3, 8, 9)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": pads, "outputs": 2}
    _, index = agrees("MaxPool", [x], storage_order=storage_order, **attributes)
    assert index.dtype == np.int64
    x = np.full((1, 1, 4, 4), -np.inf, "float32")
    agrees("MaxPool", [x], storage_order=storage_order, **attributes)


def test_max_pool_of_bytes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 2, 9, 9), dtype=np.uint8)
    agrees("MaxPool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def test_pooling_refuses_windows_larger_than_the_input() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[6, 1])
    with pytest.raises(ValueError, match="window of 6 cells does not fit"):
        interop.run_node(node, [draw(1, 1, 5, 5)])


def test_average_of_halves_is_accumulated_in_float32() -> None:
    x = np.full((1, 1, 64, 64), 1 + 2**-10, "float16")
    for op, attributes in (("GlobalAveragePool", {}), ("AveragePool", {"kernel_shape": [64, 64]})):
        model, feeds = model_of(op, [x], **attributes)
        (y,) = interop.Evaluator(model).run(None, feeds)
        assert y.dtype == "float16"
        assert y.item() == x[0, 0, 0, 0]


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15])
def test_batch_normalization(opset: int) -> None:
    channels = [draw(5, seed=1), draw(5, seed=2), draw(5, seed=3), abs(draw(5, seed=4))]
    agrees("BatchNormalization", [draw(2, 5, 4, 3), *channels], opset=opset, epsilon=1e-3)


def test_batch_normalization_per_cell() -> None:
    x, shape = draw(3, 2, 4), (2, 4)
    scale, bias, mean = (draw(*shape, seed=i) for i in range(3))
    var = abs(draw(*shape, seed=3))
    model, feeds = model_of("BatchNormalization", [x, scale, bias, mean, var], opset=7, spatial=0)
    (y,) = interop.Evaluator(model).run(None, feeds)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5) * scale + bias, **CLOSE)


def test_batch_normalization_trains_when_its_outputs_say_so() -> None:
    x, scale, bias = draw(4, 3, 5), draw(3, seed=1), draw(3, seed=2)
    mean, var = draw(3, seed=3), abs(draw(3, seed=4))
    inputs = [x, scale, bias, mean, var]
    attributes = {"momentum": 0.75}
    model, feeds = model_of("BatchNormalization", inputs, opset=9, outputs=5, **attributes)
    y, running_mean, running_var, saved_mean, saved_var = interop.Evaluator(model).run(None, feeds)
    x_mean, x_var = x.mean(axis=(0, 2)), x.var(axis=(0, 2))
    normal = (x - x_mean[:, None]) / np.sqrt(x_var[:, None] + 1e-5)
    np.testing.assert_allclose(y, normal * scale[:, None] + bias[:, None], **CLOSE)
    np.testing.assert_allclose(running_mean, 0.75 * mean + 0.25 * x_mean, **CLOSE)
    np.testing.assert_allclose(running_var, 0.75 * var + 0.25 * x_var, **CLOSE)
    np.testing.assert_allclose(saved_mean, x_mean, **CLOSE)
    np.testing.assert_allclose(saved_var, x_var, **CLOSE)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 12, 13])
@pytest.mark.parametrize("attributes", [{}, {"axis": 0}, {"axis": 1}, {"axis": -1}], ids=str)
def test_softmax(op: str, opset: int, attributes: dict[str, int]) -> None:
    agrees(op, [draw(3, 4, 5)], opset=opset, **attributes)


def test_activations() -> None:
    x = np.linspace(-100, 100, 1001, dtype="float32")
    agrees("Sigmoid", [x])
    agrees("HardSwish", [x])
    agrees("HardSigmoid", [x])
    agrees("HardSigmoid", [x], alpha=1 / 6, beta=0.25)


def test_sigmoid_of_small_values_keeps_its_digits() -> None:
    x = np.array([-80.0, -np.inf, np.inf, np.nan], "float32")
    model, feeds = model_of("Sigmoid", [x])
    (y,) = interop.Evaluator(model).run(None, feeds)
    np.testing.assert_allclose(y, [np.exp(-80.0), 0, 1, np.nan], rtol=1e-6)


RESIZES = [
    {"scales": [1, 1, 2, 3], "mode": "nearest"},
    {"scales": [1, 1, 2, 2], "mode": "nearest", "positions": "asymmetric", "nearest_mode": "floor"},
    {"scales": [1, 1, 0.6, 1.7], "mode": "linear"},
    {"scales": [1, 1, 2, 2], "mode": "linear", "positions": "align_corners"},
    {"sizes": [2, 3, 13, 5], "mode": "linear"},
    {"sizes": [2, 3, 1, 14], "mode": "linear", "positions": "pytorch_half_pixel"},
    {"sizes": [2, 3, 4, 5], "mode": "linear", "antialias": 1, "opset": 18},
    {"scales": [1, 1, 1.5, 2], "mode": "cubic"},
    {"sizes": [2, 3, 4, 14], "mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
]


@pytest.mark.parametrize("case", RESIZES, ids=str)
def test_resize(case: dict[str, Any]) -> None:
    case = {"opset": 13, **case}
    case["coordinate_transformation_mode"] = case.pop("positions", "half_pixel")
    scales, sizes = case.pop("scales", None), case.pop("sizes", None)
    inputs = [draw(2, 3, 7, 8), None]
    if scales:
        inputs += [np.array(scales, "float32")]
    else:
        inputs += [None, np.array(sizes)]
    agrees("Resize", inputs, **case)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_old(mode: str) -> None:
    inputs = [draw(1, 2, 6, 5), np.array([1, 1, 2, 1.5], "float32")]
    agrees("Resize", inputs, opset=10, constant=(1,), mode=mode)
    agrees("Upsample", inputs, opset=9, constant=(1,), mode=mode)


def test_resize_of_bytes_rounds_and_stays_in_range() -> None:
    x = np.array([[0, 255], [255, 0]], np.uint8)[None, None]
    sizes = np.array([1, 1, 4, 4])
    model, feeds = model_of("Resize", [x, None, None, sizes], mode="cubic")
    (y,) = interop.Evaluator(model).run(None, feeds)
    assert y.dtype == np.uint8
    assert y.min() == 0
    assert y.max() == 255


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mode": "area"}, "mode must be one of nearest, linear, cubic"),
        ({"nearest_mode": "up"}, "nearest_mode must be one of"),
        ({"coordinate_transformation_mode": "odd"}, "half_pixel, half_pixel_symmetric"),
        ({"keep_aspect_ratio_policy": "odd"}, "not_larger"),
    ],
)
def test_resize_refuses(attributes: dict[str, str], message: str) -> None:
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    with pytest.raises(ValueError, match=message):
        interop.run_node(node, [draw(1, 1, 2, 2), np.array([1, 1, 4, 4])])


@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [None, [5, 2, 3]], ids=["whole", "lengths"])
def test_gru(direction: str, linear_before_reset: int, lengths: list[int] | None) -> None:
    count, steps, batch, width, hidden = 1 + (direction == "bidirectional"), 5, 3, 4, 6
    inputs = [
        draw(steps, batch, width),
        draw(count, 3 * hidden, width),
        draw(count, 3 * hidden, hidden),
        draw(count, 6 * hidden),
        None if lengths is None else np.array(lengths, np.int32),
        draw(count, batch, hidden),
    ]
    attributes = {
        "hidden_size": hidden,
        "direction": direction,
        "linear_before_reset": linear_before_reset,
    }
    agrees("GRU", inputs, outputs=2, **attributes)
    agrees("GRU", inputs[:3], outputs=1, **attributes)
    agrees("GRU", inputs, outputs=2, clip=0.5, **attributes)


def test_gru_batch_first_is_the_transposed_one() -> None:
    x, w, r, start = draw(5, 3, 4), draw(1, 18, 4), draw(1, 18, 6), draw(1, 3, 6)
    plain, feeds = model_of("GRU", [x, w, r, None, None, start], outputs=2, hidden_size=6)
    y, last = interop.Evaluator(plain).run(None, feeds)
    inputs = [x.swapaxes(0, 1), w, r, None, None, start.swapaxes(0, 1)]
    batch_first, feeds = model_of("GRU", inputs, outputs=2, hidden_size=6, layout=1)
    y_first, last_first = interop.Evaluator(batch_first).run(None, feeds)
    np.testing.assert_array_equal(y_first, y.transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(last_first, last.swapaxes(0, 1))


def test_gru_refuses_other_activations() -> None:
    node = helper.make_node(
        "GRU", ["x", "w", "r"], ["y"], hidden_size=2, activations=["Relu", "Tanh"]
    )
    with pytest.raises(NotImplementedError, match="Relu"):
        interop.run_node(node, [draw(3, 1, 2), draw(1, 6, 2), draw(1, 6, 2)])
