"""Padding that a model computes itself, from the sizes of what it pads.

Models converted from TensorFlow pad by amounts that depend on the input's size, in a function of
their own, before every convolution. Such a function is run once for each size, to learn the
amounts; from then on the convolution pads itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from groupconv._calls import BoundedCache

SIZES_KEPT = 64

_LOOKS_AT_SIZES = {
    Tensor.shape.__get__,
    Tensor.ndim.__get__,
    Tensor.dtype.__get__,
    Tensor.size,
    Tensor.dim,
}


class PaddingFunction:
    """A function of a tensor that may be nothing but zero padding.

    Parameters
    ----------
    function : callable
        Takes the tensor first.
    arguments, keywords
        Its other arguments, always the same.
    """

    def __init__(
        self, function: Callable[..., Tensor], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._keywords = keywords
        self._learned: BoundedCache[tuple[int, ...] | None] = BoundedCache(SIZES_KEPT)

    @property
    def name(self) -> str:
        """The function's name."""
        return self._function.__name__

    def __call__(self, input: Tensor) -> Tensor:
        """Run the function."""
        return self._function(input, *self._arguments, **self._keywords)

    def amounts(self, input: Tensor, options: Hashable) -> tuple[int, ...] | None:
        """Return what the function pads an input of this size by, or None for anything else.

        Parameters
        ----------
        input : Tensor
            Its values cannot matter: a function that looks at them does something else.
        options : hashable
            What the amounts may depend on besides.

        Returns
        -------
        tuple of int or None
            As ``torch.nn.functional.pad`` takes them, last dimension first.
        """
        key = (input.shape, input.dtype, options)
        if key not in self._learned:
            watch = _Watch(input)
            with watch:
                result = self(input)
            self._learned.keep(key, watch.amounts if result is watch.result else None)
        return self._learned[key]


class _Watch(TorchFunctionMode):
    """Sees what is done to a tensor; keeps the amounts of its only padding."""

    def __init__(self, input: Tensor) -> None:
        super().__init__()
        self._input = input
        self.result: Tensor | None = input
        self.amounts: tuple[int, ...] = ()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _LOOKS_AT_SIZES:
            return result
        given = dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
        first = self.result is self._input
        if func is F.pad and first and given["input"] is self._input and _is_zero_padding(given):
            self.result, self.amounts = result, tuple(given["pad"])
        else:
            self.result = None
        return result


def _is_zero_padding(given: dict[str, Any]) -> bool:
    return (
        given.get("mode", "constant") == "constant"
        and given.get("value") in (None, 0)
        and all(type(amount) is int and amount >= 0 for amount in given["pad"])
    )


def pad(input: Tensor, padding: tuple[int, ...] | PaddingFunction) -> Tensor:
    """Pad by known amounts or by a function."""
    if isinstance(padding, PaddingFunction):
        return padding(input)
    return F.pad(input, padding) if padding else input
