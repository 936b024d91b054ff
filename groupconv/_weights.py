"""The arrays a layer holds: drawn, checked, made immutable, prepared for plans, folded into."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from groupconv._arguments import Arguments, random_generator, real
from groupconv._arrays import Array, ArrayInput, as_array, as_bits, frozen
from groupconv._calls import BoundedCache, Call
from groupconv._core import Plan, PreparedWeight
from groupconv._geometry import check_weight
from groupconv._problem import check_dtype, check_shape

PLANS_PER_LAYER = 16
PREPARED_PER_LAYER = 4


class Operands:
    """Weight and bias, and all that was made for this weight: calls by layout, prepared forms."""

    __slots__ = ("bias", "calls", "prepared", "weight")

    def __init__(self, weight: Array, bias: Array | None) -> None:
        self.weight = frozen(weight)
        self.bias = None if bias is None else frozen(bias)
        self.calls: BoundedCache[tuple[Call, Array | PreparedWeight]] = BoundedCache(
            PLANS_PER_LAYER
        )
        self.prepared: BoundedCache[PreparedWeight] = BoundedCache(PREPARED_PER_LAYER)

    def with_bias(self, bias: Array | None) -> Operands:
        """Return operands that share everything but the bias, of which plans know nothing."""
        other = Operands(self.weight, bias)
        other.calls, other.prepared = self.calls, self.prepared
        return other

    def prepare(self, plan: Plan) -> Array | PreparedWeight:
        """Return the weight in the form `plan` reads, shared with other plans where it can be."""
        if plan.prepare_key is None:  # it reads weights in place
            return self.weight
        prepared = self.prepared.get(plan.prepare_key)
        if prepared is None:
            weight = as_bits(self.weight) if self.weight.dtype.name == "bfloat16" else self.weight
            prepared = self.prepared.keep(plan.prepare_key, plan.prepare(weight))
        return prepared


def draw(
    shape: tuple[int, ...], outputs: int, dtype: np.dtype[Any], with_bias: bool, rng: object
) -> tuple[Array, Array | None]:
    """Draw weight and bias from PyTorch's distribution.

    Uniform between plus and minus ``1 / sqrt(fan_in)``, which is what ``kaiming_uniform_`` with
    ``a=sqrt(5)`` comes to. fan_in is ``shape[1] * prod(kernel)``, for transposed layers too.
    """
    generator = random_generator(rng)
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    weight = generator.uniform(-bound, bound, shape).astype(dtype)
    bias = generator.uniform(-bound, bound, outputs).astype(dtype) if with_bias else None
    return weight, bias


def first_operands(arguments: Arguments, weight: ArrayInput, bias: ArrayInput | None) -> Operands:
    """Check the weight that gives a layer its shape and dtype, and the bias to go with it."""
    array = as_array(weight, "weight")
    check_dtype(array.dtype, "weight")
    _, outputs = check_weight(array.shape, arguments)
    return Operands(array, checked_bias(bias, outputs, array.dtype))


def checked_weight(value: ArrayInput, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Check a weight that replaces one of this shape and dtype."""
    array = as_array(value, "weight")
    check_dtype(array.dtype, "weight", dtype)
    check_shape(array, "weight", shape, "the layer's")
    return array


def checked_bias(value: ArrayInput | None, outputs: int, dtype: np.dtype[Any]) -> Array | None:
    """Check a layer's bias: one number per output channel, of the layer's dtype, or None."""
    if value is None:
        return None
    array = as_array(value, "bias")
    check_dtype(array.dtype, "bias", dtype)
    check_shape(array, "bias", (outputs,), "one per output channel")
    return array


def fold_batch_norm(
    operands: Operands,
    arguments: Arguments,
    mean: ArrayInput,
    var: ArrayInput,
    scale: ArrayInput | None,
    shift: ArrayInput | None,
    eps: float,
) -> tuple[Array, Array]:
    """Return weight and bias of a convolution that ends in a batch normalisation.

    In float64, rounded once; ``factor = scale / sqrt(var + eps)`` per output channel k gives the
    weight ``factor[k] * weight[k]`` and the bias ``(bias[k] - mean[k]) * factor[k] + shift[k]``.
    """
    weight, groups = operands.weight, arguments.groups
    _, outputs = check_weight(weight.shape, arguments)
    variance = _per_channel(var, "var", outputs) + real(eps, "eps")
    if not (variance > 0).all():
        raise ValueError(
            f"var + eps must be positive in every channel, got {variance.min()} in channel "
            f"{variance.argmin()}"
        )
    factor = 1 / np.sqrt(variance)
    if scale is not None:
        factor *= _per_channel(scale, "weight", outputs)
    old_bias = np.zeros(outputs) if operands.bias is None else operands.bias.astype(np.float64)
    bias = (old_bias - _per_channel(mean, "mean", outputs)) * factor
    if shift is not None:
        bias += _per_channel(shift, "bias", outputs)
    # (group, K/groups, C/groups, kernel), or transposed (group, C/groups, K/groups, kernel)
    per_group = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.float64)
    factors = factor.reshape(groups, -1, *(1,) * (arguments.ndim + 1))
    if arguments.transposed:
        factors = np.swapaxes(factors, 1, 2)
    folded = (per_group * factors).reshape(weight.shape)
    return folded.astype(weight.dtype), bias.astype(weight.dtype)


def _per_channel(value: ArrayInput, name: str, outputs: int) -> Array:
    array = as_array(value, name)
    check_dtype(array.dtype, name)
    check_shape(array, name, (outputs,), "one per output channel")
    return array.astype(np.float64)
