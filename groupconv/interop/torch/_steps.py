"""What a step of a traced graph is: an activation, an addition, a padding, an overwrite.

Each question has one function here; the answer "no" is always safe.
"""

from __future__ import annotations

import math
import operator
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from groupconv._arguments import Activation
from groupconv.interop.torch._convolutions import Accelerated
from groupconv.interop.torch._padding import PaddingFunction

Modules: TypeAlias = dict[Node, nn.Module]
"""The module that a step calls, or hands to a function."""

_ACTIVATION_MODULES: dict[type[nn.Module], Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
}

_ACTIVATION_FUNCTIONS: dict[Any, Activation] = {
    torch.relu: "relu",
    torch.relu_: "relu",
    torch.sigmoid: "sigmoid",
    torch.sigmoid_: "sigmoid",
    torch.tanh: "tanh",
    torch.tanh_: "tanh",
    F.relu: "relu",
    F.relu_: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
    F.hardsigmoid: "hardsigmoid",
    F.sigmoid: "sigmoid",
    F.tanh: "tanh",
    "relu": "relu",
    "relu_": "relu",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "tanh": "tanh",
    "tanh_": "tanh",
}
"""Functions, and methods by name, whose first argument is all but perhaps `inplace`."""

TORCH_FUNCTIONS: dict[str, Any] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
}
"""PyTorch's function for each activation."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_ADDITIONS = {operator.add, torch.add, "add"}
_ADDITIONS_IN_PLACE = {operator.iadd, "add_"}
_IN_PLACE_OPERATORS = {"setitem"} | {
    f"i{name}"
    for name in (
        *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
        *("and", "or", "xor", "lshift", "rshift"),
    )
}
_KNOWN_FILES = ("torch", "operator", "math", "builtins")


def activation_of(node: Node, modules: Modules) -> Activation:
    """Return the activation that a step applies to its first argument, or None."""
    if node.op == "call_module":
        return _module_activation(modules[node])
    rest = dict(node.kwargs)
    rest.pop("inplace", None)
    extra = node.args[1:]
    if node.target in (F.leaky_relu, F.leaky_relu_):
        slope = rest.pop("negative_slope", extra[0] if extra else 0.01)
        simple = not rest and len(extra) <= 2
        return ("leaky_relu", float(slope)) if simple and _is_number(slope) else None
    if node.target is F.gelu:
        return "gelu" if rest in ({}, {"approximate": "none"}) and not extra else None
    if rest or not all(isinstance(value, bool) for value in extra):
        return None
    return _ACTIVATION_FUNCTIONS.get(node.target)


def _module_activation(module: nn.Module) -> Activation:
    kind = type(module)
    if kind is nn.LeakyReLU:
        return "leaky_relu", float(module.negative_slope)
    if kind is nn.GELU:
        return "gelu" if module.approximate == "none" else None
    if kind is nn.Hardtanh:
        return "relu6" if (module.min_val, module.max_val) == (0, 6) else None
    return _ACTIVATION_MODULES.get(kind)


def is_foldable_norm(node: Node, modules: Modules) -> bool:
    """Tell whether a step is a batch normalisation by running statistics."""
    norm = modules.get(node)
    return type(norm) in _NORMS and norm.running_mean is not None and norm.running_var is not None


def is_identity(node: Node, modules: Modules) -> bool:
    """Tell whether a step passes on its input in evaluation mode."""
    if node.op == "call_module":
        return type(modules[node]) in _IDENTITIES
    return node.target is F.dropout and node.kwargs.get("training") is False


def other_summand(node: Node, current: Node) -> Node | None:
    """Return what a step adds to `current`, perhaps in its place, or None if it is no sum."""
    if node.op not in ("call_function", "call_method") or node.kwargs or len(node.args) != 2:
        return None
    first, second = node.args
    if not isinstance(first, Node) or not isinstance(second, Node) or first is second:
        return None
    if node.target in _ADDITIONS:
        return second if first is current else first
    if node.target in _ADDITIONS_IN_PLACE and first is current:
        return second
    return None


def is_slice(node: Node) -> bool:
    """Tell whether a step cuts out a part of its input, chosen without looking at data."""
    if node.op != "call_function" or node.target is not operator.getitem:
        return False
    index = node.args[1]
    return all(
        part is Ellipsis or isinstance(part, slice | int)
        for part in (index if isinstance(index, tuple) else (index,))
    )


def zero_padding(node: Node, modules: Modules) -> tuple[int, ...] | None:
    """Return what a step pads its input with zeros by, last dimension first, or None."""
    amounts: Any = None
    if node.op == "call_module":
        module = modules[node]
        constant = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
        zero = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
        if type(module) in constant + zero and module.value == 0:
            amounts = module.padding
    elif node.target is F.pad and node.op == "call_function":
        names = ("input", "pad", "mode", "value")
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        if given.get("mode", "constant") == "constant" and given.get("value") in (None, 0):
            amounts = given["pad"]
    if not isinstance(amounts, tuple | list):
        return None
    legal = all(type(amount) is int and amount >= 0 for amount in amounts)
    return tuple(amounts) if legal else None


def padding_function(
    node: Node, convolution: nn.Module, modules: Modules
) -> PaddingFunction | None:
    """Return a step that is a function of the model's own, which may turn out to be zero padding.

    Its arguments but the first must be constants, or the convolution that follows.
    """
    own = node.op == "call_function" and isinstance(node.target, FunctionType) and not _known(node)
    if not own or not node.args or not isinstance(node.args[0], Node):
        return None
    rest, keywords = node.args[1:], dict(node.kwargs)
    for value in (*rest, *keywords.values()):
        if isinstance(value, Node) and modules.get(value) is not convolution:
            return None
        if not isinstance(value, Node | int | float | str | None):
            return None

    def given(value: Any) -> Any:
        return convolution if isinstance(value, Node) else value

    named = {name: given(value) for name, value in keywords.items()}
    return PaddingFunction(node.target, tuple(map(given, rest)), named)


def may_overwrite(node: Node, modules: Modules) -> bool:
    """Tell whether a step might change a tensor that exists already; unknown code might."""
    if node.op == "call_module":
        module = modules[node]
        known = isinstance(module, Accelerated) or type(module).__module__.startswith("torch.nn.")
        return not known or bool(getattr(module, "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") or "out" in node.kwargs
    if node.op != "call_function":
        return False
    # The second argument of many functions is `inplace`.
    if "out" in node.kwargs or any(v is True for v in (*node.args, node.kwargs.get("inplace"))):
        return True
    name = getattr(node.target, "__name__", "")
    return not _known(node) or name.endswith("_") or name in _IN_PLACE_OPERATORS


def _known(node: Node) -> bool:
    """Tell PyTorch's and Python's own functions from others."""
    file = getattr(node.target, "__module__", None) or ""
    return isinstance(node.target, BuiltinFunctionType) or file.split(".")[0] in _KNOWN_FILES


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
