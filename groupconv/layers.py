"""Convolutions as layers, with the constructors of ``torch.nn``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from groupconv._arguments import (
    Activation,
    Integers,
    Padding,
    PaddingMode,
    choice,
    conv_arguments,
    conv_transpose_arguments,
)
from groupconv._arrays import Array, ArrayInput
from groupconv._docstrings import documented
from groupconv._layer import Layer

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]

ConvSelf = TypeVar("ConvSelf", bound="_Conv")
ConvTransposeSelf = TypeVar("ConvTransposeSelf", bound="_ConvTranspose")

_PARAMETERS = """in_channels, out_channels : int
    Channels of input and output.
kernel_size : int or sequence of int
    Size of the kernel, one for all dimensions or one each.
<stride>
padding : int, sequence or str, optional
    In any form that `<function>` takes."""

_REST = """dtype : dtype, optional
    float32, float64, float16 or ``ml_dtypes.bfloat16``; the layer's inputs must have it too.
<activation>
<algorithm>
rng : None, int or numpy.random.Generator, optional
    Where the initial weights come from: fresh entropy, a seed, or a generator."""

_NOTES = """Attributes
----------
weight : ndarray
    ``<weight_shape>``, read-only:
    an edit in place is refused. Assign an array of the same shape and dtype to replace it; it is
    copied.
bias : ndarray or None
    ``(out_channels,)``, in the same way.

Raises
------
<raises>

See Also
--------
<function> : the same as a function, with the formula.

Notes
-----
Weights are prepared for the algorithm once, and plans are kept for the last 16 layouts of inputs.
Calls from several Python threads at once are independent. Initial weights and biases are uniform
between plus and minus ``1 / sqrt(weight.shape[1] * prod(kernel_size))``, PyTorch's distribution."""

_CONV = """Convolution layer in <dimensions>, with groups.

Output channel ``k`` reads the ``in_channels / groups`` input channels of its own group.

Parameters
----------
<parameters>
<dilation>
<groups>
bias : bool, optional
    Whether to add one number per output channel.
<padding_mode>
<rest>

<notes>

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> layer = gc.Conv<d>d(8, 4, kernel_size=5, groups=4)
>>> layer.weight.shape
(4, 2, <fives>)
>>> layer(np.ones((1, 8, <nines>), "float32")).shape
(1, 4, <fives>)
"""

_CONV_TRANSPOSE = """Transposed convolution layer in <dimensions>, with groups.

Parameters
----------
<parameters>
output_padding : int or sequence of int, optional
    Cells added after; smaller than stride or dilation.
<groups>
bias : bool, optional
    Whether to add one number per output channel.
<dilation>
padding_mode : {'zeros'}, optional
    For the order of PyTorch's arguments.
<rest>

<notes>

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> layer = gc.ConvTranspose<d>d(8, 4, kernel_size=5, groups=4)
>>> layer.weight.shape
(8, 1, <fives>)
>>> layer(np.ones((1, 8, <fives>), "float32")).shape
(1, 4, <nines>)
"""

_CONV_WORDS = {
    "function": "conv<d>d",
    "weight_shape": "(out_channels, in_channels / groups, *kernel_size)",
    "parameters": _PARAMETERS,
    "rest": _REST,
    "notes": _NOTES,
}
_CONV_TRANSPOSE_WORDS = {
    **_CONV_WORDS,
    "function": "conv_transpose<d>d",
    "weight_shape": "(in_channels, out_channels / groups, *kernel_size)",
}


class _Conv(Layer):
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Integers,
        stride: Integers = 1,
        padding: Padding = 0,
        dilation: Integers = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        dtype: npt.DTypeLike = "float32",
        activation: Activation = None,
        algorithm: str = "auto",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        options = stride, padding, dilation, groups, padding_mode, activation, algorithm
        arguments = conv_arguments(self._ndim, *options)
        self._draw(arguments, in_channels, out_channels, kernel_size, bias, dtype, rng)

    @classmethod
    def from_weight(
        cls: type[ConvSelf],
        weight: ArrayInput,
        bias: ArrayInput | None = None,
        stride: Integers = 1,
        padding: Padding = 0,
        dilation: Integers = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "zeros",
        *,
        activation: Activation = None,
        algorithm: str = "auto",
    ) -> ConvSelf:
        """Make a layer from given arrays, which set channels, kernel size and dtype.

        Parameters
        ----------
        weight : array
            ``(out_channels, in_channels / groups, *kernel_size)``; copied.
        bias : array, optional
            ``(out_channels,)``; copied.
        stride, padding, dilation, groups, padding_mode, activation, algorithm
            As for the constructor.

        Returns
        -------
        layer
            Of this class.

        Raises
        ------
        TypeError, ValueError
            As the constructor's, naming the argument.

        Examples
        --------
        >>> import numpy as np
        >>> import groupconv as gc
        >>> gc.Conv2d.from_weight(np.ones((4, 2, 5, 5), "float32"), groups=4)
        Conv2d(8, 4, kernel_size=(5, 5), stride=(1, 1), groups=4, bias=False)
        """
        options = stride, padding, dilation, groups, padding_mode, activation, algorithm
        return cls._of(conv_arguments(cls._ndim, *options), weight, bias)


class _ConvTranspose(Layer):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Integers,
        stride: Integers = 1,
        padding: Padding = 0,
        output_padding: Integers = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Integers = 1,
        padding_mode: PaddingMode = "zeros",
        *,
        dtype: npt.DTypeLike = "float32",
        activation: Activation = None,
        algorithm: str = "auto",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        choice(padding_mode, "padding_mode", ("zeros",))
        options = stride, padding, output_padding, groups, dilation, activation, algorithm
        arguments = conv_transpose_arguments(self._ndim, *options)
        self._draw(arguments, in_channels, out_channels, kernel_size, bias, dtype, rng)

    @classmethod
    def from_weight(
        cls: type[ConvTransposeSelf],
        weight: ArrayInput,
        bias: ArrayInput | None = None,
        stride: Integers = 1,
        padding: Padding = 0,
        output_padding: Integers = 0,
        groups: int = 1,
        dilation: Integers = 1,
        *,
        activation: Activation = None,
        algorithm: str = "auto",
    ) -> ConvTransposeSelf:
        """Make a layer from given arrays, which set channels, kernel size and dtype.

        Parameters
        ----------
        weight : array
            ``(in_channels, out_channels / groups, *kernel_size)``; copied. `groups` tells
            out_channels from out_channels / groups.
        bias : array, optional
            ``(out_channels,)``; copied.
        stride, padding, output_padding, groups, dilation, activation, algorithm
            As for the constructor.

        Returns
        -------
        layer
            Of this class.

        Raises
        ------
        TypeError, ValueError
            As the constructor's, naming the argument.

        Examples
        --------
        >>> import numpy as np
        >>> import groupconv as gc
        >>> gc.ConvTranspose1d.from_weight(np.ones((8, 1, 4), "float32"), stride=2, groups=4)
        ConvTranspose1d(8, 4, kernel_size=(4,), stride=(2,), groups=4, bias=False)
        """
        options = stride, padding, output_padding, groups, dilation, activation, algorithm
        return cls._of(conv_transpose_arguments(cls._ndim, *options), weight, bias)

    def __call__(
        self,
        input: ArrayInput,
        residual: ArrayInput | None = None,
        out: Array | None = None,
        *,
        output_size: Sequence[int] | None = None,
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
        output_size : sequence of int, optional
            Spatial size of the result, or its whole shape, in place of what `output_padding` gives:
            from the smallest possible to ``stride - 1`` more.

        Returns
        -------
        ndarray
            ``(N, out_channels, *out_size)`` or ``(out_channels, *out_size)``; `out` where given.

        Raises
        ------
        TypeError
            When an argument is no array or not of the layer's dtype.
        ValueError
            When a shape does not fit, `output_size` is out of reach, or `out` cannot be written.
        """
        if output_size is None:
            return super().__call__(input, residual, out)
        return self._apply(self._operands, input, residual, out, output_size)

    @property
    def output_padding(self) -> tuple[int, ...]:
        """Cells added after the result, per dimension."""
        return self._arguments.output_padding


@documented(_CONV, 1, _CONV_WORDS)
class Conv1d(_Conv):
    _ndim = 1


@documented(_CONV, 2, _CONV_WORDS)
class Conv2d(_Conv):
    _ndim = 2


@documented(_CONV, 3, _CONV_WORDS)
class Conv3d(_Conv):
    _ndim = 3


@documented(_CONV_TRANSPOSE, 1, _CONV_TRANSPOSE_WORDS)
class ConvTranspose1d(_ConvTranspose):
    _ndim = 1


@documented(_CONV_TRANSPOSE, 2, _CONV_TRANSPOSE_WORDS)
class ConvTranspose2d(_ConvTranspose):
    _ndim = 2


@documented(_CONV_TRANSPOSE, 3, _CONV_TRANSPOSE_WORDS)
class ConvTranspose3d(_ConvTranspose):
    _ndim = 3
