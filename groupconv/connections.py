"""Which input channels feed which output channels, what that costs, and pictures of it.

A convolution with ``groups=g`` is ``g`` convolutions side by side: the input channels are cut into
``g`` blocks of neighbours, the output channels too, and block ``i`` of the output reads block ``i``
of the input and nothing else. Everything in this module follows from that sentence; no arrays and
no kernels are involved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from groupconv import _geometry
from groupconv._arguments import (
    Integers,
    Padding,
    boolean,
    conv_arguments,
    conv_transpose_arguments,
    integer,
    is_integer,
    shape_like,
    spatial,
)
from groupconv._drawing import draw
from groupconv._svg import document

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Connections", "Path", "connections", "valid_groups"]


class Path(NamedTuple):
    """One group: a block of input channels and the block of output channels it feeds.

    Attributes
    ----------
    group : int
        Number of the group, from 0.
    inputs : range
        The channels it reads.
    outputs : range
        The channels it writes.
    """

    group: int
    inputs: range
    outputs: range


@dataclass(frozen=True, slots=True)
class Connections:
    """The wiring of one convolution; made by :func:`connections` or ``layer.connections()``.

    Printing it draws it in text, a notebook shows it as a picture, and :meth:`plot` makes a
    matplotlib figure of the same picture.

    Attributes
    ----------
    in_channels : int
        Channels of the input.
    out_channels : int
        Channels of the output.
    groups : int
        Number of separate paths; it divides both channel counts.
    kernel_size : tuple of int
        One length per spatial dimension.
    bias : bool
        Whether one number per output channel is added.
    transposed : bool
        Whether this is a transposed convolution, whose weight starts with the input channels.
    """

    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    bias: bool = True
    transposed: bool = False

    @property
    def in_per_group(self) -> int:
        """Number of input channels each output channel reads."""
        return self.in_channels // self.groups

    @property
    def out_per_group(self) -> int:
        """Number of output channels each input channel feeds."""
        return self.out_channels // self.groups

    @property
    def kind(self) -> Literal["dense", "grouped", "depthwise"]:
        """``'dense'`` (one group), ``'depthwise'`` (a group per input channel) or ``'grouped'``.

        A single input channel is ``'dense'``: its one group connects everything there is.
        """
        if self.groups == 1:
            return "dense"
        return "depthwise" if self.in_per_group == 1 else "grouped"

    @property
    def filter_shape(self) -> tuple[int, ...]:
        """Shape of the numbers behind one output channel: ``(in_per_group, *kernel_size)``."""
        return (self.in_per_group, *self.kernel_size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight array.

        ``(out_channels, in_per_group, *kernel_size)``; for a transposed convolution
        ``(in_channels, out_per_group, *kernel_size)``.
        """
        if self.transposed:
            return (self.in_channels, self.out_per_group, *self.kernel_size)
        return (self.out_channels, self.in_per_group, *self.kernel_size)

    @property
    def bias_shape(self) -> tuple[int, ...] | None:
        """``(out_channels,)``, or None without a bias."""
        return (self.out_channels,) if self.bias else None

    @property
    def weights(self) -> int:
        """Numbers in the weight array."""
        return math.prod(self.weight_shape)

    @property
    def parameters(self) -> int:
        """Numbers in the weight and the bias together."""
        return self.weights + (self.out_channels if self.bias else 0)

    @property
    def dense_parameters(self) -> int:
        """What :attr:`parameters` would be with ``groups=1``: ``groups`` times the weights."""
        return self.parameters + (self.groups - 1) * self.weights

    def inputs_of(self, output: int) -> range:
        """Input channels that output channel `output` reads.

        Parameters
        ----------
        output : int
            From 0 to ``out_channels - 1``.

        Returns
        -------
        range
            ``in_per_group`` neighbouring channels, the same for every output of the group.

        Raises
        ------
        IndexError
            When there is no such output channel.
        """
        output = _channel(output, "output", self.out_channels)
        return self._path(output // self.out_per_group).inputs

    def outputs_of(self, input: int) -> range:
        """Output channels that read input channel `input`.

        Parameters
        ----------
        input : int
            From 0 to ``in_channels - 1``.

        Returns
        -------
        range
            ``out_per_group`` neighbouring channels.

        Raises
        ------
        IndexError
            When there is no such input channel.
        """
        input = _channel(input, "input", self.in_channels)
        return self._path(input // self.in_per_group).outputs

    def paths(self) -> tuple[Path, ...]:
        """Every group as a :class:`Path`, in order."""
        return tuple(self._path(group) for group in range(self.groups))

    def _path(self, group: int) -> Path:
        i, o = self.in_per_group, self.out_per_group
        return Path(group, range(group * i, (group + 1) * i), range(group * o, (group + 1) * o))

    def output_shape(
        self,
        input_size: Integers,
        stride: Integers = 1,
        padding: Padding = 0,
        dilation: Integers = 1,
    ) -> tuple[int, ...]:
        """Shape of the result for an input of some size.

        Parameters
        ----------
        input_size : int or tuple of int
            The spatial size (an int stands for every dimension), or a whole shape
            ``(C, *spatial)`` or ``(N, C, *spatial)``.
        stride, padding, dilation : optional
            As for :func:`groupconv.conv2d` and its siblings.

        Returns
        -------
        tuple of int
            ``(K, *out)``, or ``(N, K, *out)`` for a whole shape with a batch.

        Raises
        ------
        TypeError, ValueError
            When an argument is wrong, or the input has other channels than ``in_channels``.
        """
        return self._geometry(input_size, stride, padding, dilation).output_shape

    def macs(
        self,
        input_size: Integers,
        stride: Integers = 1,
        padding: Padding = 0,
        dilation: Integers = 1,
    ) -> int:
        """Multiply-accumulate operations for an input of some size.

        Every output number is a sum over ``in_per_group * prod(kernel_size)`` taps; taps on padding
        count, as is the custom. In a transposed convolution it is every input number that meets
        ``out_per_group * prod(kernel_size)`` weights.

        Parameters
        ----------
        input_size, stride, padding, dilation
            As for :meth:`output_shape`.

        Returns
        -------
        int
            For the whole batch where `input_size` has one, else for one image.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`output_shape`.
        """
        sizes = self._geometry(input_size, stride, padding, dilation)
        positions = math.prod(sizes.in_size if self.transposed else sizes.out_size)
        return sizes.batch * positions * self.weights

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw the connections with matplotlib.

        Input channels stand on the left, output channels on the right, one filter per output
        channel between them; each path has its colour. Above 64 channels on a side the channels of
        a path are drawn as one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure of fitting size.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, to be saved with ``savefig`` as PNG, SVG or PDF.

        Raises
        ------
        ImportError
            Without matplotlib: ``pip install 'groupconv[plot]'``.
        """
        try:
            from groupconv._plot import figure
        except ImportError as error:
            raise ImportError(
                "plot() needs matplotlib: pip install 'groupconv[plot]' (to_svg() needs nothing)"
            ) from error
        return figure(self, ax)

    def to_svg(self) -> str:
        """Write the same picture as an SVG document; needs no other package."""
        return document(self)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def __str__(self) -> str:
        return draw(self)

    def _geometry(
        self, input_size: Integers, stride: Integers, padding: Padding, dilation: Integers
    ) -> _geometry.Geometry:
        ndim = len(self.kernel_size)
        shape = self._input_shape(input_size)
        names = ("input_size", "weight")
        if self.transposed:
            arguments = conv_transpose_arguments(
                ndim, stride, padding, groups=self.groups, dilation=dilation
            )
            return _geometry.conv_transpose_geometry(arguments, shape, self.weight_shape, names)
        arguments = conv_arguments(ndim, stride, padding, dilation, self.groups)
        return _geometry.conv_geometry(arguments, shape, self.weight_shape, names)

    def _input_shape(self, input_size: Integers) -> tuple[int, ...]:
        ndim = len(self.kernel_size)
        if is_integer(input_size) or (
            isinstance(input_size, tuple | list) and len(input_size) == ndim
        ):
            return (self.in_channels, *spatial(input_size, "input_size", ndim))
        shape = shape_like(
            input_size, "input_size", "(N, C, *spatial), (C, *spatial) or (*spatial)"
        )
        if len(shape) in (ndim + 1, ndim + 2) and shape[-ndim - 1] != self.in_channels:
            raise ValueError(
                f"input_size must have {self.in_channels} channels, got shape {shape} with "
                f"{shape[-ndim - 1]}"
            )
        return shape


def connections(
    in_channels: int,
    out_channels: int,
    groups: int = 1,
    kernel_size: Integers = 1,
    *,
    bias: bool = True,
    transposed: bool = False,
) -> Connections:
    """Describe which input channels a convolution connects to which output channels.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels on either side.
    groups : int, optional
        Number of separate paths; it divides both channel counts.
    kernel_size : int or tuple of int, optional
        A tuple has one length per spatial dimension; an int stands for a square of it, in 2-D.
    bias : bool, optional
        Whether one number per output channel is added.
    transposed : bool, optional
        Describe a transposed convolution instead.

    Returns
    -------
    Connections
        Immutable. ``print`` it, let a notebook show it, or ask it for shapes and counts.

    Raises
    ------
    TypeError
        When an argument is of the wrong kind.
    ValueError
        When a number is not positive or `groups` does not divide both channel counts; the message
        lists the valid groups.

    Examples
    --------
    >>> import groupconv as gc
    >>> c = gc.connections(in_channels=8, out_channels=4, groups=4, kernel_size=5)
    >>> c.weight_shape, c.kind
    ((4, 2, 5, 5), 'grouped')
    >>> c.inputs_of(1)
    range(2, 4)
    >>> c.parameters, c.dense_parameters
    (204, 804)
    """
    inputs, outputs = integer(in_channels, "in_channels"), integer(out_channels, "out_channels")
    count = integer(groups, "groups")
    _geometry.check_groups(inputs, outputs, count)
    ndim = len(kernel_size) if isinstance(kernel_size, tuple | list) else 2
    if ndim not in (1, 2, 3):
        raise ValueError(f"kernel_size must have 1, 2 or 3 dimensions, got {kernel_size}")
    return Connections(
        inputs,
        outputs,
        count,
        spatial(kernel_size, "kernel_size", ndim),
        boolean(bias, "bias"),
        boolean(transposed, "transposed"),
    )


def valid_groups(in_channels: int, out_channels: int) -> list[int]:
    """List every number of groups that divides both channel counts.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels on either side of the convolution.

    Returns
    -------
    list of int
        The divisors of their greatest common divisor, in ascending order.

    Raises
    ------
    TypeError, ValueError
        When a count is no int or not positive.

    Examples
    --------
    >>> import groupconv as gc
    >>> gc.valid_groups(8, 4)
    [1, 2, 4]
    """
    return _geometry.valid_groups(
        integer(in_channels, "in_channels"), integer(out_channels, "out_channels")
    )


def _channel(value: int, name: str, count: int) -> int:
    channel = integer(value, name, least=0)
    if channel >= count:
        raise IndexError(f"{name} must be from 0 to {count - 1}, got {channel}")
    return channel
