"""What can be read off a layer: sizes, arguments, connections, text. All of it read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from groupconv._arguments import Arguments
from groupconv._weights import Operands

if TYPE_CHECKING:
    from groupconv.connections import Connections


class Described:
    """The facts of a layer, from its checked arguments and the shape of its weight."""

    _ndim: ClassVar[int]
    _transposed: ClassVar[bool]
    _arguments: Arguments
    _operands: Operands

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        shape = self._operands.weight.shape
        return shape[0] if self._transposed else shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        shape = self._operands.weight.shape
        return shape[1] * self.groups if self._transposed else shape[0]

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Size of the kernel, per dimension."""
        return self._operands.weight.shape[2:]

    @property
    def stride(self) -> tuple[int, ...]:
        """Stride, per dimension."""
        return self._arguments.stride

    @property
    def padding(self) -> str | tuple[int, ...] | tuple[tuple[int, int], ...]:
        """Padding: a name, one int per dimension, or pairs where before and after differ."""
        padding = self._arguments.padding
        if isinstance(padding, str) or any(before != after for before, after in padding):
            return padding
        return tuple(before for before, _ in padding)

    @property
    def dilation(self) -> tuple[int, ...]:
        """Dilation, per dimension."""
        return self._arguments.dilation

    @property
    def groups(self) -> int:
        """Number of separate paths."""
        return self._arguments.groups

    @property
    def padding_mode(self) -> str:
        """What the input is padded with."""
        return self._arguments.padding_mode

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of weight, bias, input and output."""
        return self._operands.weight.dtype

    @property
    def activation(self) -> str | tuple[str, float] | None:
        """Activation applied last: None, its name, or its name and parameter."""
        name, parameter = self._arguments.activation, self._arguments.activation_parameter
        return (name, parameter) if name == "leaky_relu" else name

    @property
    def algorithm(self) -> str:
        """Name of the algorithm asked for."""
        return self._arguments.algorithm

    def connections(self) -> Connections:
        """Describe which input channels feed which output channels, and what that costs.

        Returns
        -------
        Connections
            As from `groupconv.connections` with this layer's channels, groups and kernel size.
        """
        from groupconv.connections import connections

        return connections(
            self.in_channels,
            self.out_channels,
            self.groups,
            self.kernel_size,
            bias=self._operands.bias is not None,
            transposed=self._transposed,
        )

    def __repr__(self) -> str:
        arguments = self._arguments
        fields = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding != (0,) * self._ndim:
            fields.append(f"padding={self.padding}")
        if self.dilation != (1,) * self._ndim:
            fields.append(f"dilation={self.dilation}")
        if any(arguments.output_padding):
            fields.append(f"output_padding={arguments.output_padding}")
        if self.groups != 1:
            fields.append(f"groups={self.groups}")
        if self._operands.bias is None:
            fields.append("bias=False")
        if self.padding_mode != "zeros":
            fields.append(f"padding_mode={self.padding_mode}")
        if self.dtype != np.float32:
            fields.append(f"dtype={self.dtype}")
        if self.activation is not None:
            fields.append(f"activation={self.activation}")
        if self.algorithm != "auto":
            fields.append(f"algorithm={self.algorithm}")
        return f"{type(self).__name__}({', '.join(fields)})"
