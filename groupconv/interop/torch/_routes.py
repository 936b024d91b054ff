"""Which way a convolution goes: straight to groupconv, by the operator, or to PyTorch's own."""

from __future__ import annotations

import enum

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from groupconv.interop.torch._tensors import DTYPES


class Route(enum.Enum):
    """How one call is computed."""

    DIRECT = enum.auto()
    """Plain tensors, nothing to record: on the tensors' memory, past the dispatcher."""
    AUTOGRAD = enum.auto()
    """The same, and a derivative is wanted."""
    OPERATOR = enum.auto()
    """Somebody records or reroutes operators (compile, export, trace, modes): a registered one."""
    PYTORCH = enum.auto()
    """Tensors or transforms that groupconv does not know."""


def route(input: Tensor, weights: tuple[Tensor | None, ...] = ()) -> Route:
    """Choose the way for an input and the tensors it is convolved with.

    It is asked at each call, so the commonest answer comes after a few attribute reads.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return Route.OPERATOR if _suits(input) else Route.PYTORCH
    kind = type(input)
    if kind is not Tensor and kind is not nn.Parameter:
        fake = isinstance(input, FakeTensor) and _suits(input)
        return Route.OPERATOR if fake else Route.PYTORCH
    if not input.is_cpu or input.dtype not in DTYPES or input.layout is not torch.strided:
        return Route.PYTORCH
    if torch.is_autocast_enabled("cpu") or torch._C._are_functorch_transforms_active():
        return Route.PYTORCH
    if torch.autograd.forward_ad._current_level >= 0:
        return Route.PYTORCH
    if torch._C._len_torch_dispatch_stack():
        return Route.OPERATOR
    if torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (input, *weights)
    ):
        return Route.AUTOGRAD
    return Route.DIRECT


def _suits(input: Tensor) -> bool:
    """Tell whether the operator takes a tensor that is being traced."""
    known = input.device.type == "cpu" and input.dtype in DTYPES
    return known and not torch.is_autocast_enabled("cpu")
