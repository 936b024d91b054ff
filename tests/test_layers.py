"""Layers: weights that cannot change unseen, plans that are kept, state that travels."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from helpers import BFLOAT16, FLOATS, HALVES, assert_within, units_for

import groupconv as gc
from groupconv import reference

RNG = np.random.default_rng(5)
LAYERS = [gc.Conv1d, gc.Conv2d, gc.Conv3d, gc.ConvTranspose1d, gc.ConvTranspose2d]
LAYERS += [gc.ConvTranspose3d]


def draw(*shape: int, dtype: Any = "f4") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def dimensions(layer: type) -> int:
    return int(layer.__name__[-2])


def function_of(layer: type) -> Any:
    name = "conv_transpose" if "Transpose" in layer.__name__ else "conv"
    return getattr(gc, f"{name}{dimensions(layer)}d")


# --- construction -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", LAYERS)
def test_a_layer_is_its_function_with_arguments(make: type) -> None:
    ndim = dimensions(make)
    arguments = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    layer = make(4, 6, 3, **arguments, rng=0)
    x = draw(2, 4, *[9] * ndim)
    want = function_of(make)(x, layer.weight, layer.bias, **arguments)
    np.testing.assert_array_equal(layer(x), want)
    assert layer.weight.shape[2:] == layer.kernel_size == (3,) * ndim
    given = make.from_weight(layer.weight, layer.bias, **arguments)
    np.testing.assert_array_equal(given(x), want)
    assert repr(given) == repr(layer)
    assert (given.in_channels, given.out_channels) == (4, 6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "shape"),
    [
        (3, 3, 1, (3, 3, 5, 5)),
        (8, 4, 4, (4, 2, 5, 5)),
        (8, 4, 2, (4, 4, 5, 5)),
        (4, 8, 4, (8, 1, 5, 5)),
        (4, 8, 2, (8, 2, 5, 5)),
        (4, 4, 4, (4, 1, 5, 5)),
        (4, 4, 2, (4, 2, 5, 5)),
    ],
)
def test_the_articles_weights(
    inputs: int, outputs: int, groups: int, shape: tuple[int, ...]
) -> None:
    layer = gc.Conv2d(in_channels=inputs, out_channels=outputs, kernel_size=5, groups=groups)
    assert layer.weight.shape == shape
    assert layer.bias.shape == (outputs,)
    assert layer(draw(1, inputs, 9, 9)).shape == (1, outputs, 5, 5)
    described = layer.connections()
    assert (described.weight_shape, described.parameters) == (shape, layer.weight.size + outputs)


@pytest.mark.parametrize("make", [gc.Conv2d, gc.ConvTranspose2d])
def test_initial_weights_are_uniform_within_the_bound_of_the_fan_in(make: type) -> None:
    layer = make(64, 32, 3, groups=4, rng=1)
    bound = (layer.weight.shape[1] * 9) ** -0.5
    for values in (layer.weight, layer.bias):
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.9 * bound
    assert abs(layer.weight.mean()) < 0.05 * bound
    assert layer.weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_initial_weights_follow_rng() -> None:
    first, second = (gc.Conv2d(4, 4, 3, rng=7) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.bias, second.bias)
    generator = np.random.default_rng(7)
    third, fourth = (gc.Conv2d(4, 4, 3, rng=generator) for _ in range(2))
    np.testing.assert_array_equal(third.weight, first.weight)
    assert (fourth.weight != first.weight).any()
    assert (gc.Conv2d(4, 4, 3).weight != gc.Conv2d(4, 4, 3).weight).any()


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES], ids=str)
def test_dtypes(dtype: np.dtype) -> None:
    layer = gc.Conv2d(4, 6, 3, groups=2, dtype=dtype, activation="relu", rng=0)
    assert layer.dtype == layer.weight.dtype == layer.bias.dtype == dtype
    x = draw(2, 4, 6, 6, dtype=dtype)
    result = layer(x)
    assert result.dtype == dtype
    want = gc.conv2d(x, layer.weight, layer.bias, groups=2, activation="relu")
    np.testing.assert_array_equal(result, want)
    np.testing.assert_array_equal(layer(x[0]), want[0])
    copied = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(copied(x), want)


def test_arguments_are_read_only() -> None:
    layer = gc.Conv2d(8, 4, 3, (1, 2), ((1, 0), (2, 2)), groups=4, activation=("leaky_relu", 0.2))
    assert (layer.stride, layer.padding, layer.dilation) == ((1, 2), ((1, 0), (2, 2)), (1, 1))
    assert (layer.groups, layer.padding_mode, layer.algorithm) == (4, "zeros", "auto")
    assert layer.activation == ("leaky_relu", 0.2)
    for name in ("in_channels", "kernel_size", "stride", "padding", "groups", "dtype"):
        with pytest.raises(AttributeError):
            setattr(layer, name, 1)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Conv2d", {}),
        ("Conv2d", {"stride": 2, "padding": 1, "dilation": 3, "groups": 4, "bias": False}),
        ("Conv2d", {"padding": "same", "padding_mode": "reflect"}),
        ("Conv1d", {"padding": (2,), "padding_mode": "circular"}),
        ("Conv3d", {"padding": (0, 1, 2)}),
        ("ConvTranspose1d", {"stride": 2, "output_padding": 1, "dilation": 2}),
        ("ConvTranspose3d", {"groups": 2, "padding": 1}),
    ],
)
def test_repr_is_pytorchs(name: str, arguments: dict[str, Any]) -> None:
    nn = pytest.importorskip("torch.nn")
    assert repr(getattr(gc, name)(8, 4, 3, **arguments)) == repr(
        getattr(nn, name)(8, 4, 3, **arguments)
    )


def test_repr_tells_what_pytorch_lacks() -> None:
    layer = gc.Conv1d(2, 2, 3, padding=[(2, 0)], dtype="f8", activation="silu", algorithm="direct")
    assert repr(layer) == (
        "Conv1d(2, 2, kernel_size=(3,), stride=(1,), padding=((2, 0),), dtype=float64, "
        "activation=silu, algorithm=direct)"
    )


# --- weights ------------------------------------------------------------------------------------


def test_weights_cannot_be_edited_in_place() -> None:
    weight = draw(4, 2, 3, 3)
    layer = gc.Conv2d.from_weight(weight, draw(4), groups=4)
    x = draw(1, 8, 5, 5)
    before = layer(x)
    weight[...] = 0
    np.testing.assert_array_equal(layer(x), before)
    for array in (layer.weight, layer.bias, layer.state_dict()["weight"]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        layer.weight *= 2


def test_replaced_weights_take_effect() -> None:
    layer = gc.Conv2d(8, 4, 3, groups=4)
    x = draw(1, 8, 12, 12)
    layer(x)
    weight, bias = draw(4, 2, 3, 3), draw(4)
    layer.weight = weight
    np.testing.assert_array_equal(layer(x), gc.conv2d(x, weight, layer.bias, groups=4))
    layer.bias = bias
    np.testing.assert_array_equal(layer(x), gc.conv2d(x, weight, bias, groups=4))
    layer.bias = None
    np.testing.assert_array_equal(layer(x), gc.conv2d(x, weight, groups=4))
    assert "bias=False" in repr(layer)
    layer.weight = layer.weight[::-1]
    np.testing.assert_array_equal(layer(x), gc.conv2d(x, weight[::-1], groups=4))
    for wrong in (weight[:2], weight.astype("f8")):
        with pytest.raises((TypeError, ValueError), match=r"^weight must have"):
            layer.weight = wrong
    np.testing.assert_array_equal(layer.weight, weight[::-1])


@pytest.mark.parametrize("make", [gc.Conv2d, gc.ConvTranspose2d])
def test_every_layout_agrees_with_the_prepared_weight(make: type) -> None:
    """Prepared weights are shared between plans: no plan may get another one's form."""
    layer = make(16, 32, 3, padding=1, groups=2, rng=0)
    function = function_of(make)
    for size in (3, 7, 14, 30):
        x = draw(2, 16, size, size)
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        wide = [array.astype("f8") for array in (x, layer.weight, layer.bias)]
        want = function(*wide, padding=1, groups=2)
        for view in (x, last, x[:1], last[:1]):
            np.testing.assert_allclose(layer(view), want[: len(view)], rtol=1e-4, atol=1e-4)


def test_plans_are_kept_and_bounded() -> None:
    layer = gc.Conv1d(2, 2, 3)
    shape = (1, 2, 10)
    plan = layer.plan(shape)
    assert layer.plan(shape) is plan
    layer(draw(*shape))
    assert layer.plan(shape) is plan
    layer.bias = draw(2)
    assert layer.plan(shape) is plan
    for length in range(3, 60):
        assert layer(draw(1, 2, length)).shape == (1, 2, length - 2)
    assert len(layer._operands.calls) == layer._operands.calls.capacity == 16
    assert layer.plan(shape) is not plan


def test_plan_tells_how_a_call_is_computed() -> None:
    layer = gc.Conv2d(8, 4, 3, padding=1, groups=4)
    plan = layer.plan((2, 8, 20, 20))
    assert plan.macs == 2 * 4 * 20 * 20 * 2 * 9
    assert plan.isa in gc.show_config(mode="dicts")["isa"]["detected"]
    assert plan.algorithm in plan.explain()
    assert plan.threads >= 1
    assert plan.workspace_bytes >= 0
    assert layer.plan((8, 20, 20)).macs * 2 == plan.macs
    last = layer.plan((2, 8, 20, 20), channels_last=True, residual=True).problem
    assert last.has_residual
    assert last.input_strides == (8 * 400 * 4, 4, 20 * 8 * 4, 8 * 4)
    assert last.output_strides == last.residual_strides == (4 * 400 * 4, 4, 20 * 4 * 4, 4 * 4)


# --- calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gc.Conv2d, gc.ConvTranspose2d])
def test_residual_and_out(make: type) -> None:
    layer = make(4, 4, 3, padding=1, activation="relu", rng=0)
    x, residual = draw(2, 4, 8, 8), draw(2, 4, 8, 8)
    want = function_of(make)(
        x, layer.weight, layer.bias, padding=1, activation="relu", residual=residual
    )
    np.testing.assert_array_equal(layer(x, residual), want)
    for target in (np.empty_like(x), np.empty((8, 8, 2, 4), "f4").transpose(2, 3, 0, 1)):
        assert layer(x, residual=residual, out=target) is target
        np.testing.assert_array_equal(target, want)
    assert layer(x[0], residual[0]).shape == (4, 8, 8)
    assert layer(x[:0]).shape == (0, 4, 8, 8)


@pytest.mark.parametrize("stride", [2, 3])
def test_output_size_is_pytorchs(stride: int) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.ConvTranspose2d(4, 6, 3, stride, padding=1, groups=2)
    ours = gc.ConvTranspose2d.from_weight(
        theirs.weight.detach(), theirs.bias.detach(), stride, 1, groups=2
    )
    x = draw(1, 4, 5, 6)
    least = theirs(torch.from_numpy(x)).shape[2:]
    for extra in range(stride):
        size = (least[0] + extra, least[1])
        want = theirs(torch.from_numpy(x), output_size=size).detach().numpy()
        np.testing.assert_allclose(ours(x, output_size=size), want, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(ours(x, output_size=want.shape), ours(x, output_size=size))
    assert ours(x).shape[2:] == least


def test_replacing_weights_under_running_calls() -> None:
    """A call sees one pair of weight and bias or the other, and never a mixture."""
    layer = gc.Conv2d.from_weight(np.full((4, 4, 3, 3), 1, "f4"), np.full(4, 100, "f4"))
    x = np.ones((1, 4, 8, 8), "f4")
    states = [
        {"weight": np.full((4, 4, 3, 3), value, "f4"), "bias": np.full(4, value * 100, "f4")}
        for value in (1, 2)
    ]
    found, stop = set(), threading.Event()

    def call() -> None:
        while not stop.is_set():
            found.update(np.unique(layer(x)).tolist())
            found.update(np.unique(layer(x[:, :, : np.random.randint(3, 9)])).tolist())

    workers = [threading.Thread(target=call) for _ in range(3)]
    for worker in workers:
        worker.start()
    for turn in range(200):
        layer.load_state_dict(states[turn % 2])
    stop.set()
    for worker in workers:
        worker.join()
    assert found <= {136.0, 272.0}


# --- state --------------------------------------------------------------------------------------


class Named(gc.Conv2d):
    """A user's own layer with an attribute."""

    name = "none"


@pytest.mark.parametrize(
    "travel", [lambda a: pickle.loads(pickle.dumps(a)), copy.copy, copy.deepcopy]
)
def test_layers_travel(travel: Any) -> None:
    layer = Named(8, 4, 3, padding="same", groups=2, activation="gelu", rng=0)
    layer.name = "stem"
    x = draw(1, 8, 6, 6)
    want = layer(x)
    other = travel(layer)
    assert (type(other), other.name, repr(other)) == (Named, "stem", repr(layer))
    np.testing.assert_array_equal(other(x), want)
    other.weight = np.zeros_like(other.weight)
    np.testing.assert_array_equal(layer(x), want)
    with pytest.raises(ValueError, match="read-only"):
        other.weight[...] = 1


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose2d"])
def test_state_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(8, 4, 3, groups=2)
    ours = getattr(gc, name)(8, 4, 3, groups=2)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    x = draw(1, 8, *[7] * dimensions(type(ours)))
    with torch.inference_mode():
        want = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(x), want, rtol=1e-4, atol=1e-5)
    state = {key: torch.from_numpy(value.copy()) for key, value in ours.state_dict().items()}
    theirs.load_state_dict(state)


def test_load_state_dict_is_strict_and_all_or_nothing() -> None:
    layer = gc.Conv1d(2, 2, 3, rng=0)
    weight, bias = layer.weight, layer.bias
    new = {"weight": draw(2, 2, 3), "bias": draw(2)}
    for wrong in (
        {"weight": new["weight"]},
        {**new, "scale": draw(2)},
        {**new, "bias": draw(3)},
        {**new, "bias": draw(2, dtype="f8")},
    ):
        with pytest.raises((TypeError, ValueError), match=r"state_dict must hold|bias must have"):
            layer.load_state_dict(wrong)
        assert layer.weight is weight
        assert layer.bias is bias
    loose = layer.load_state_dict({"weight": new["weight"], "scale": draw(2)}, strict=False)
    assert loose == (["bias"], ["scale"])
    np.testing.assert_array_equal(layer.weight, new["weight"])
    assert layer.bias is bias
    assert "bias" not in gc.Conv1d(2, 2, 3, bias=False).state_dict()


# --- batch normalisation ------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gc.Conv2d, gc.ConvTranspose2d])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", ["float32", *(d.name for d in BFLOAT16)])
def test_fold_batch_norm(make: type, bias: bool, affine: bool, dtype: str) -> None:
    layer = make(6, 9, 3, stride=2, padding=1, groups=3, bias=bias, rng=0, dtype=dtype)
    mean, var = draw(9), draw(9) ** 2 + 0.1
    scale, shift = (draw(9), draw(9)) if affine else (None, None)
    folded = layer.fold_batch_norm(mean, var, scale, shift, eps=1e-3)
    assert (type(folded), folded.dtype) == (make, layer.dtype)
    assert folded.bias is not None

    operation = reference.conv if make is gc.Conv2d else reference.conv_transpose
    arguments = {"stride": 2, "padding": 1, "groups": 3}
    x = draw(2, 6, 7, 8, dtype=layer.dtype)
    plain = operation(x, layer.weight, layer.bias, **arguments)
    factor = (1 if scale is None else scale) / np.sqrt(var.astype("f8") + 1e-3)
    per_channel = (1, 9, 1, 1)
    want = (plain - mean.reshape(per_channel)) * factor.reshape(per_channel)
    want += 0 if shift is None else shift.reshape(per_channel)
    # Rounding the folded weights and bias once each adds as much as storing one product would.
    bound = reference.error_bound(operation, x, folded.weight, folded.bias, **arguments)
    roundings = 2 if dtype == "float32" else 2 ** (24 - 8) + 2
    assert_within(folded(x), want, bound, units_for(2, 9) + roundings)


def test_fold_batch_norm_refusals() -> None:
    layer = gc.Conv2d(4, 4, 3)
    one = np.ones(4, "f4")
    with pytest.raises(ValueError, match=r"^mean must have shape \(4,\)"):
        layer.fold_batch_norm(one[:3], one)
    with pytest.raises(ValueError, match=r"^var \+ eps must be positive .* -1.0+\d* in channel 0"):
        layer.fold_batch_norm(one, -one, eps=0)
    with pytest.raises(TypeError, match=r"^eps must be a number"):
        layer.fold_batch_norm(one, one, eps="small")
    with pytest.raises(ValueError, match=r"^activation='relu' of this layer"):
        gc.Conv2d(4, 4, 3, activation="relu").fold_batch_norm(one, one)
