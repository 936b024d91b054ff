"""Shape arithmetic: from arguments and shapes to the sizes of one convolution, and its errors.

Forward, transposed and gradient calls all start from the sizes of the forward direction, so that
each rule is stated once. Formulas are those of PyTorch's ``Conv2d`` and ``ConvTranspose2d``, with a
padding of its own for either end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from groupconv._arguments import Arguments, shape_like


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one forward or transposed convolution, without dtype and memory."""

    batched: bool
    batch: int
    in_channels: int
    out_channels: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    out_size: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result, as the caller sees it."""
        return (*(self.batch,) * self.batched, self.out_channels, *self.out_size)


def valid_groups(in_channels: int, out_channels: int) -> list[int]:
    """List the numbers of groups that divide both channel counts."""
    common = math.gcd(in_channels, out_channels)
    low = [g for g in range(1, math.isqrt(common) + 1) if common % g == 0]
    return sorted({*low, *(common // g for g in low)})


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse groups that do not divide both channel counts, listing those that do."""
    if in_channels % groups or out_channels % groups:
        valid = ", ".join(map(str, valid_groups(in_channels, out_channels)))
        raise ValueError(
            f"groups={groups} must divide both channel counts: got {in_channels} input channels "
            f"and {out_channels} output channels; valid groups: {valid}"
        )


def _axes(ndim: int) -> tuple[str, ...]:
    return ("D", "H", "W")[3 - ndim :] if ndim > 1 else ("L",)


def check_batched(shape: tuple[int, ...], ndim: int, function: str, name: str) -> bool:
    """Check the rank and the sizes of an ``(N, C, *spatial)`` or ``(C, *spatial)`` array.

    Returns
    -------
    bool
        Whether it has the batch axis.
    """
    if len(shape) not in (ndim + 1, ndim + 2):
        axes = ", ".join(_axes(ndim))
        raise ValueError(
            f"{name} of {function} must have {ndim + 2} dimensions (N, C, {axes}) or "
            f"{ndim + 1} (C, {axes}), got shape {shape}"
        )
    if 0 in shape[-ndim - 1 :]:
        raise ValueError(f"{name} must not have zero channels or zero size, got shape {shape}")
    return len(shape) == ndim + 2


def check_weight(
    shape: tuple[int, ...],
    arguments: Arguments,
    name: str = "weight",
    in_channels: int | None = None,
) -> tuple[int, int]:
    """Check a weight's shape, against the input's channels where those are known.

    Returns
    -------
    tuple of int
        Input and output channels.

    Raises
    ------
    ValueError
        When it has the wrong number of dimensions, a zero size, or channels that do not fit.
    """
    ndim, groups = arguments.ndim, arguments.groups
    kernel = ", ".join(f"k{axis}" for axis in _axes(ndim))
    wanted = f"(C, K/groups, {kernel})" if arguments.transposed else f"(K, C/groups, {kernel})"
    if len(shape) != ndim + 2:
        raise ValueError(
            f"{name} of {arguments.name} must have {ndim + 2} dimensions {wanted}, "
            f"got shape {shape}"
        )
    if 0 in shape:
        raise ValueError(
            f"{name} must not have zero channels or zero kernel size, got shape {shape}"
        )
    own, other = shape[:2]
    if in_channels is None:
        in_channels = own if arguments.transposed else other * groups
    if arguments.transposed:
        axis, channels = 0, in_channels
        out_channels = other * groups
        # A weight of any K/groups has K divisible by groups: only the input's channels can refuse.
        if in_channels % groups:
            valid = ", ".join(map(str, valid_groups(in_channels, in_channels)))
            raise ValueError(
                f"groups={groups} must divide the {in_channels} input channels ({name} of shape "
                f"{shape} gives {other} output channels per group); valid groups: {valid}"
            )
    else:
        axis, channels = 1, in_channels // groups
        out_channels = own
        check_groups(in_channels, out_channels, groups)
    if shape[axis] != channels:
        raise ValueError(
            f"{name} of {arguments.name} must have shape {wanted}: with {in_channels} input "
            f"channels and groups={groups} its axis {axis} must be {channels}, got shape {shape}"
        )
    return in_channels, out_channels


def _same_padding(totals: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split totals in two, the odd cell after (ONNX's SAME_UPPER)."""
    totals = [max(total, 0) for total in totals]
    return tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)


def _padding(
    arguments: Arguments, spans: tuple[int, ...], same_totals: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    zeros = (0,) * arguments.ndim
    match arguments.padding:
        case "valid":
            return zeros, zeros
        case "same":
            return _same_padding(same_totals)
        case "causal":
            return spans, zeros
    before, after = zip(*arguments.padding, strict=True)
    return before, after


def _check_padding_mode(
    mode: str, sizes: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """Refuse borders that the padding mode cannot fill from the input."""
    for size, *borders in zip(sizes, before, after, strict=True):
        if mode == "reflect" and max(borders) >= size:
            bound = "smaller than"
        elif mode == "circular" and max(borders) > size:
            bound = "at most"
        else:
            continue
        pairs = tuple(zip(before, after, strict=True))
        raise ValueError(
            f"padding with padding_mode={mode!r} must be {bound} the input's size in each "
            f"dimension: got {pairs} (before, after) for spatial size {sizes}"
        )


def conv_geometry(
    arguments: Arguments,
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    names: tuple[str, str] = ("input", "weight"),
) -> Geometry:
    """Check the shapes of a forward convolution and work out its sizes.

    ``out = floor((in + before + after - dilation * (kernel - 1) - 1) / stride) + 1``; with padding
    ``'same'`` the padding follows from ``out = ceil(in / stride)`` instead.

    Parameters
    ----------
    arguments : Arguments
        Of a forward convolution.
    input_shape, weight_shape : tuple of int
        As the caller gave them.
    names : tuple of str
        What the caller calls the two, for messages.

    Raises
    ------
    ValueError
        When the shapes do not fit each other or the arguments.
    """
    batched = check_batched(input_shape, arguments.ndim, arguments.name, names[0])
    in_channels, *in_size = input_shape[-arguments.ndim - 1 :]
    _, out_channels = check_weight(weight_shape, arguments, names[1], in_channels)
    sizes, kernel = tuple(in_size), weight_shape[2:]
    spans = _spans(arguments, kernel)
    same = [
        ((n - 1) // s) * s + span + 1 - n
        for n, s, span in zip(sizes, arguments.stride, spans, strict=True)
    ]
    before, after = _padding(arguments, spans, same)
    _check_padding_mode(arguments.padding_mode, sizes, before, after)
    padded = tuple(map(sum, zip(sizes, before, after, strict=True)))
    if any(n <= span for n, span in zip(padded, spans, strict=True)):
        raise ValueError(
            f"{names[1]} does not fit: kernel size {kernel} with dilation {arguments.dilation} "
            f"spans {tuple(span + 1 for span in spans)}, but {names[0]} has the spatial size "
            f"{sizes}, {padded} with padding"
        )
    out_size = tuple(
        (n - span - 1) // s + 1 for n, span, s in zip(padded, spans, arguments.stride, strict=True)
    )
    batch = input_shape[0] if batched else 1
    return Geometry(
        batched, batch, in_channels, out_channels, sizes, kernel, out_size, before, after
    )


def conv_transpose_geometry(
    arguments: Arguments,
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    names: tuple[str, str] = ("input", "weight"),
    output_size: object = None,
) -> Geometry:
    """Check the shapes of a transposed convolution and work out its sizes.

    ``out = (in - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1``;
    with padding ``'same'`` the padding follows from ``out = in * stride``. `output_size`, where
    given, takes the place of output_padding, within the sizes that a convolution of this stride
    would bring back to the input's.

    Raises
    ------
    TypeError, ValueError
        When the shapes do not fit each other or the arguments.
    """
    batched = check_batched(input_shape, arguments.ndim, arguments.name, names[0])
    in_channels, *in_size = input_shape[-arguments.ndim - 1 :]
    _, out_channels = check_weight(weight_shape, arguments, names[1], in_channels)
    sizes, kernel, stride = tuple(in_size), weight_shape[2:], arguments.stride
    spans = _spans(arguments, kernel)
    before, after = _padding(
        arguments, spans, [span + 1 - s for span, s in zip(spans, stride, strict=True)]
    )
    least = tuple(
        (n - 1) * s - b - a + span + 1
        for n, s, b, a, span in zip(sizes, stride, before, after, spans, strict=True)
    )
    if output_size is not None:
        out_size = _wanted_size(output_size, arguments, batched, sizes, least)
    elif arguments.padding == "same":
        out_size = tuple(n * s for n, s in zip(sizes, stride, strict=True))
    else:
        out_size = tuple(map(sum, zip(least, arguments.output_padding, strict=True)))
    if min(out_size) < 1:
        raise ValueError(
            f"padding {tuple(zip(before, after, strict=True))} (before, after) is too large: the "
            f"output size would be {out_size} for {names[0]} of spatial size {sizes} and kernel "
            f"size {kernel}"
        )
    batch = input_shape[0] if batched else 1
    return Geometry(
        batched, batch, in_channels, out_channels, sizes, kernel, out_size, before, after
    )


def _spans(arguments: Arguments, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Distance from a kernel's first to its last position, per dimension."""
    return tuple(d * (k - 1) for d, k in zip(arguments.dilation, kernel, strict=True))


def _wanted_size(
    output_size: object,
    arguments: Arguments,
    batched: bool,
    sizes: tuple[int, ...],
    least: tuple[int, ...],
) -> tuple[int, ...]:
    ndim = arguments.ndim
    wanted = shape_like(output_size, "output_size", f"({', '.join(_axes(ndim))})")
    if len(wanted) not in (ndim, ndim + 1 + batched):
        raise ValueError(
            f"output_size must have {ndim} entries ({', '.join(_axes(ndim))}) or be the whole "
            f"output shape, got {wanted}"
        )
    wanted = wanted[-ndim:]
    if arguments.padding == "same":
        raise ValueError(
            "output_size cannot be chosen with padding='same', which sets it to input size * "
            f"stride: got {wanted}"
        )
    most = tuple(n + s - 1 for n, s in zip(least, arguments.stride, strict=True))
    if any(not a <= n <= b for n, a, b in zip(wanted, least, most, strict=True)):
        raise ValueError(
            f"output_size must be from {least} to {most} for an input of spatial size {sizes}, "
            f"got {wanted}"
        )
    return wanted
