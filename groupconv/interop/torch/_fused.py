"""A convolution with what stands before and after it, in one call."""

from __future__ import annotations

from typing import Any

import groupconv
import torch.nn.functional as F
from groupconv._arguments import Activation
from groupconv._arrays import Array
from groupconv.interop.torch._convolutions import (
    arguments_of,
    arrays_of,
    geometry_of,
    options_of,
    watched_tensors,
)
from groupconv.interop.torch._operators import Geometry
from groupconv.interop.torch._prepared import Memo, Prepared
from groupconv.interop.torch._routes import Route, route
from groupconv.interop.torch._steps import TORCH_FUNCTIONS
from groupconv.interop.torch._tensors import array_of
from torch import Tensor, nn


class FusedConvolution(nn.Module):
    """Zero padding, convolution, batch normalisation, residual and activation.

    It has no parameters of its own: the modules it stands for stay where they are in the model, and
    an edit of theirs shows at the next call. What groupconv cannot do in one call is done in steps.

    Parameters
    ----------
    convolution : nn.Module
        An accelerated convolution.
    norm : nn.Module or None
        Batch normalisation by running statistics.
    activation : str, tuple or None
        As groupconv names it.
    padding : tuple of int
        Zeros around the input, last dimension first, as ``torch.nn.functional.pad`` takes them.
    """

    def __init__(
        self,
        convolution: nn.Module,
        norm: nn.Module | None,
        activation: Activation,
        padding: tuple[int, ...],
    ) -> None:
        super().__init__()
        # As plain attributes: registered, they would be listed a second time.
        self.__dict__.update(
            _convolution=convolution,
            _norm=norm,
            _activation=activation,
            _padding=padding,
            _memo=Memo(),
        )

    def extra_repr(self) -> str:
        """Text of the parts."""
        parts = (self._convolution, self._norm, self._activation, self._padding)
        return ", ".join(str(part) for part in parts if part)

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute all steps."""
        watched = watched_tensors(self._convolution)
        if watched is not None and route(input, watched) is Route.DIRECT:
            if residual is None or residual.dtype is input.dtype:
                try:
                    return self._prepared(watched)(input, residual)
                except (TypeError, ValueError):
                    # A residual that broadcasts, or a wrong input: the steps accept or refuse it.
                    pass
        return self._in_steps(input, residual)

    def _prepared(self, watched: tuple[Tensor | None, ...]) -> Prepared:
        norm, options = self._norm, options_of(self._convolution)
        if norm is None:
            return self._memo.get(options, watched, self._prepare)
        options = (options, norm.eps)
        statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return self._memo.get(options, watched + statistics, self._prepare)

    def _prepare(self) -> Prepared:
        geometry = geometry_of(*options_of(self._convolution))
        geometry = geometry._replace(padding=_with_zeros(geometry, self._padding))
        weight, bias = arrays_of(self._convolution)
        if self._norm is not None:
            weight, bias = _folded(geometry, weight, bias, self._norm)
        return Prepared(arguments_of(geometry, self._activation), weight, bias)

    def _in_steps(self, input: Tensor, residual: Tensor | None) -> Tensor:
        result = F.pad(input, self._padding) if self._padding else input
        result = self._convolution(result)
        if self._norm is not None:
            result = self._norm(result)
        if residual is not None:
            result = result + residual
        if self._activation is None:
            return result
        if isinstance(self._activation, str):
            return TORCH_FUNCTIONS[self._activation](result)
        name, parameter = self._activation
        return TORCH_FUNCTIONS[name](result, parameter)


def _with_zeros(geometry: Geometry, amounts: tuple[int, ...]) -> tuple[int, ...]:
    """Add padding in PyTorch's order (last dimension first) to a geometry's (first first)."""
    padding = list(geometry.padding)
    for place in range(0, len(amounts), 2):
        first = len(padding) - 2 - place
        padding[first] += amounts[place]
        padding[first + 1] += amounts[place + 1]
    return tuple(padding)


def _folded(
    geometry: Geometry, weight: Array, bias: Array | None, norm: Any
) -> tuple[Array, Array | None]:
    """Fold a batch normalisation into weight and bias, with groupconv's own layers."""
    kind = "ConvTranspose" if geometry.transposed else "Conv"
    layer = getattr(groupconv, f"{kind}{len(geometry.stride)}d")
    statistics = [norm.running_mean, norm.running_var, norm.weight, norm.bias]
    arrays = [None if tensor is None else array_of(tensor) for tensor in statistics]
    folded = layer.from_weight(weight, bias, groups=geometry.groups).fold_batch_norm(
        *arrays, eps=norm.eps
    )
    return folded.weight, folded.bias
