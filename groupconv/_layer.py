"""What all layers share: weights, prepared once; plans, kept per layout; state, copies, text.

A layer is immutable but for its weight and bias, which are replaced whole. What a call needs sits
in one `Operands` that is swapped when they are, so that calls from several Python threads see
either the old weights or the new ones, and never wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from groupconv._arguments import Arguments, boolean, integer, shape_like, spatial
from groupconv._arrays import Array, ArrayInput, Layout, as_array, dense_strides
from groupconv._calls import Call, fill, key_of
from groupconv._core import Plan, PreparedWeight
from groupconv._described import Described
from groupconv._geometry import check_groups
from groupconv._problem import forward_problem, storage_dtype
from groupconv._weights import (
    Operands,
    checked_bias,
    checked_weight,
    draw,
    first_operands,
    fold_batch_norm,
)

Self = TypeVar("Self", bound="Layer")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` with ``strict=False`` passed over, as PyTorch returns it."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Layer(Described):
    """Base of the convolution layers: holds the weights, computes, saves and copies itself."""

    def _draw(
        self,
        arguments: Arguments,
        in_channels: object,
        out_channels: object,
        kernel_size: object,
        bias: object,
        dtype: object,
        rng: object,
    ) -> None:
        """Set up with fresh weights of PyTorch's distribution."""
        inputs = integer(in_channels, "in_channels")
        outputs = integer(out_channels, "out_channels")
        check_groups(inputs, outputs, arguments.groups)
        own, other = (inputs, outputs) if self._transposed else (outputs, inputs)
        kernel = spatial(kernel_size, "kernel_size", arguments.ndim)
        shape = (own, other // arguments.groups, *kernel)
        stored, with_bias = storage_dtype(dtype), boolean(bias, "bias")
        self._arguments = arguments
        self._operands = Operands(*draw(shape, outputs, stored, with_bias, rng))

    @classmethod
    def _of(
        cls: type[Self], arguments: Arguments, weight: ArrayInput, bias: ArrayInput | None
    ) -> Self:
        """Make a layer from checked arguments and given arrays."""
        layer = cls.__new__(cls)
        layer._arguments = arguments
        layer._operands = first_operands(arguments, weight, bias)
        return layer

    # -- calls -----------------------------------------------------------------------------------

    def __call__(
        self,
        input: ArrayInput,
        residual: ArrayInput | None = None,
        out: Array | None = None,
    ) -> Array:
        """Apply the layer.

        Parameters
        ----------
        input : array
            ``(N, in_channels, *spatial)`` or ``(in_channels, *spatial)``, of the layer's dtype; any
            strides.
        residual : array, optional
            Of the result's shape; added before the activation.
        out : ndarray, optional
            Where to write: the result's shape and dtype.

        Returns
        -------
        ndarray
            ``(N, out_channels, *out_size)`` or ``(out_channels, *out_size)``; `out` where given.

        Raises
        ------
        TypeError
            When an argument is no array or not of the layer's dtype.
        ValueError
            When a shape does not fit, or `out` cannot be written.
        """
        operands = self._operands
        if residual is None and out is None and type(input) is np.ndarray and input.flags.aligned:
            found = operands.calls.get((input.shape, input.strides, input.dtype))
            if found is not None:
                call, weight = found
                return call.compute(input, weight, operands.bias)
        return self._apply(operands, input, residual, out)

    def _apply(
        self,
        operands: Operands,
        input: ArrayInput,
        residual: ArrayInput | None,
        out: Array | None,
        output_size: Sequence[int] | None = None,
    ) -> Array:
        x = as_array(input, "input")
        r = None if residual is None else as_array(residual, "residual")

        def compute(target: Array | None) -> Array:
            call, weight = self._find(operands, x, r, target, output_size)
            return call.compute(x, weight, operands.bias, r, target)

        if out is None:
            return compute(None)
        return fill(out, {"input": input, "residual": residual}, compute)

    def _find(
        self,
        operands: Operands,
        input: Array | Layout,
        residual: Array | Layout | None = None,
        out: Array | None = None,
        output_size: Sequence[int] | None = None,
    ) -> tuple[Call, Array | PreparedWeight]:
        """Return the call for these layouts and the weight prepared for it, cached or new."""
        key: tuple[Any, ...] = (input.shape, input.strides, input.dtype)
        if residual is not None or out is not None or output_size is not None:
            key = (key, key_of(residual), key_of(out), key_of(output_size))
        found = operands.calls.get(key)
        if found is None:
            arguments, weight = self._arguments, operands.weight
            problem = forward_problem(
                arguments,
                input,
                weight,
                operands.bias,
                residual,
                out,
                output_size,
                weights_ahead=True,
            )
            call = Call(problem, weight.dtype, len(input.shape) == arguments.ndim + 2)
            prepared = weight if call.empty else operands.prepare(call.plan)
            found = operands.calls.keep(key, (call, prepared))
        return found

    def plan(
        self,
        input_shape: Sequence[int],
        *,
        residual: bool = False,
        channels_last: bool = False,
    ) -> Plan:
        """Return how the layer computes inputs of a shape.

        Parameters
        ----------
        input_shape : tuple of int
            ``(N, in_channels, *spatial)`` or ``(in_channels, *spatial)``, N at least 1.
        residual : bool, optional
            Whether the call adds a residual.
        channels_last : bool, optional
            Whether the input lies in memory channels last.

        Returns
        -------
        Plan
            With ``algorithm``, ``isa``, ``threads``, ``workspace_bytes``, ``macs`` and
            ``explain()``. It is the one that a call with such an input uses.

        Raises
        ------
        TypeError, ValueError
            When the shape does not fit the layer.

        Examples
        --------
        >>> import groupconv as gc
        >>> layer = gc.Conv2d(8, 4, kernel_size=5, groups=4)
        >>> layer.plan((1, 8, 9, 9)).macs
        5000
        """
        shape = shape_like(input_shape, "input_shape", "(N, C, *spatial) or (C, *spatial)")
        input = self._layout(shape, channels_last)
        result = None
        if boolean(residual, "residual"):
            problem = forward_problem(self._arguments, input, self._operands.weight)
            channels = problem.groups * problem.out_per_group
            lead = shape[: len(shape) - self._ndim - 1]
            result = self._layout((*lead, channels, *problem.out_size), channels_last)
        call, _ = self._find(self._operands, input, result)
        if call.empty:
            raise ValueError(f"input_shape must have a batch of at least 1, got {shape}")
        return call.plan

    def _layout(self, shape: tuple[int, ...], channels_last: bool) -> Layout:
        """Layout of a fresh array of the layer's dtype, with or without batch axis."""
        missing = max(self._ndim + 2 - len(shape), 0)
        last = boolean(channels_last, "channels_last")
        strides = dense_strides((1,) * missing + shape, self.dtype.itemsize, last)
        return Layout(shape, strides[missing:], self.dtype)

    # -- weights ---------------------------------------------------------------------------------

    @property
    def weight(self) -> Array:
        """The weight, read-only; assign an array of the same shape and dtype to replace it."""
        return self._operands.weight

    @weight.setter
    def weight(self, value: ArrayInput) -> None:
        weight = checked_weight(value, self.weight.shape, self.dtype)
        self._operands = Operands(weight, self._operands.bias)

    @property
    def bias(self) -> Array | None:
        """The bias, read-only, or None; assign to replace, remove or add it."""
        return self._operands.bias

    @bias.setter
    def bias(self, value: ArrayInput | None) -> None:
        bias = checked_bias(value, self.out_channels, self.dtype)
        self._operands = self._operands.with_bias(bias)

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return weight and bias under PyTorch's names.

        Returns
        -------
        dict
            ``{"weight": ..., "bias": ...}`` of read-only arrays in PyTorch's shapes; no ``"bias"``
            in a layer without one.
        """
        operands = self._operands
        state = {"weight": operands.weight}
        if operands.bias is not None:
            state["bias"] = operands.bias
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, ArrayInput], strict: bool = True
    ) -> IncompatibleKeys:
        """Replace weight and bias by those of a dictionary, both or none.

        Parameters
        ----------
        state_dict : mapping
            Arrays, or PyTorch's tensors, under the names ``"weight"`` and ``"bias"``.
        strict : bool, optional
            Refuse missing and unexpected names.

        Returns
        -------
        IncompatibleKeys
            ``(missing_keys, unexpected_keys)``.

        Raises
        ------
        TypeError
            When a value is not of the layer's dtype.
        ValueError
            When a shape is not the layer's, or with `strict` the names are not.
        """
        operands = self._operands
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        if boolean(strict, "strict") and (missing or unexpected):
            raise ValueError(
                f"state_dict must hold {', '.join(map(repr, own))}: missing {missing}, "
                f"unexpected {unexpected}"
            )
        weight, bias = operands.weight, operands.bias
        if "weight" in state_dict:
            weight = checked_weight(state_dict["weight"], weight.shape, weight.dtype)
        if "bias" in state_dict and bias is not None:
            bias = checked_bias(state_dict["bias"], self.out_channels, weight.dtype)
        self._operands = Operands(weight, bias)
        return IncompatibleKeys(missing, unexpected)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        operands = state.pop("_operands")
        return {"own": state, "weight": operands.weight, "bias": operands.bias}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["own"])
        self._operands = Operands(state["weight"], state["bias"])

    def fold_batch_norm(
        self: Self,
        mean: ArrayInput,
        var: ArrayInput,
        weight: ArrayInput | None = None,
        bias: ArrayInput | None = None,
        eps: float = 1e-5,
    ) -> Self:
        """Return a layer that computes this one followed by a batch normalisation in evaluation.

        Parameters
        ----------
        mean, var : array
            Running mean and variance, ``(out_channels,)``, of any supported dtype.
        weight, bias : array, optional
            Scale and shift of the normalisation, ``(out_channels,)``; 1 and 0 by default.
        eps : float, optional
            Added to the variance.

        Returns
        -------
        Layer
            A new layer of the same kind, with a bias.

        Raises
        ------
        TypeError
            When an argument is no array of a supported dtype, or `eps` no number.
        ValueError
            When a shape is not ``(out_channels,)``, ``var + eps`` is not positive, or this layer
            has an activation, which stands between the two.

        Notes
        -----
        ``factor = weight / sqrt(var + eps)`` per channel; the layer's weight is multiplied by it,
        and its bias becomes ``(old - mean) * factor + bias``, in float64 and rounded once (Jacob et
        al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference", 2018, section 3.2).

        Examples
        --------
        >>> import numpy as np
        >>> import groupconv as gc
        >>> layer = gc.Conv2d(8, 4, kernel_size=3, groups=4, bias=False)
        >>> mean, var = np.zeros(4, "float32"), np.ones(4, "float32")
        >>> layer.fold_batch_norm(mean, var)
        Conv2d(8, 4, kernel_size=(3, 3), stride=(1, 1), groups=4)
        """
        if self.activation is not None:
            raise ValueError(
                f"activation={self.activation!r} of this layer comes before the batch "
                "normalisation: fold into a layer without activation"
            )
        folded = fold_batch_norm(self._operands, self._arguments, mean, var, weight, bias, eps)
        return type(self)._of(self._arguments, *folded)
