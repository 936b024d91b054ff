"""Connections as text: a line per channel, a bracket per path.

    in 0 ─┬─ (2, 5, 5) ─── out 0
    in 1 ─┘

Many channels are drawn as one line per path, and many paths by the first and the last few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupconv.connections import Connections, Path

MOST_CHANNELS = 64
"""More channels than this on either side are drawn path by path."""

MOST_PATHS = 16
"""More paths than this, drawn as one line each, lose their middle."""

SHOWN_AT_EITHER_END = 6

_TO_ASCII = str.maketrans(
    {"→": "->", "×": "x", "–": "-", "⋮": ":", "─": "-"} | dict.fromkeys("┬┐┤┘├└", "+")
)
_ANSI_COLORS = ("36", "33", "35", "32", "34", "31")


def is_aggregated(connections: Connections) -> bool:
    """Tell whether the channels of a path are drawn as one."""
    return max(connections.in_channels, connections.out_channels) > MOST_CHANNELS


def shown_paths(connections: Connections) -> tuple[tuple[Path, ...], int, tuple[Path, ...]]:
    """Split the paths of an aggregated drawing: those shown, how many are not, the last ones."""
    paths = connections.paths()
    if len(paths) <= MOST_PATHS:
        return paths, 0, ()
    ends = SHOWN_AT_EITHER_END
    return paths[:ends], len(paths) - 2 * ends, paths[-ends:]


def span(channels: range) -> str:
    """Name a block of channels: ``3`` or ``0–7``."""
    return f"{channels[0]}–{channels[-1]}" if len(channels) > 1 else str(channels[0])


def filters_label(connections: Connections) -> str:
    """Name a path's filters with the shape of one: ``4 × (2, 5, 5)``."""
    count = connections.out_per_group
    return f"{count} × {connections.filter_shape}" if count > 1 else str(connections.filter_shape)


def title(connections: Connections) -> str:
    """Say in one line what is connected."""
    c = connections
    name = f"conv{'_transpose' if c.transposed else ''}{len(c.kernel_size)}d"
    kernel = "×".join(map(str, c.kernel_size))
    return (
        f"{name}, {c.in_channels} → {c.out_channels} channels, groups={c.groups} ({c.kind}), "
        f"kernel {kernel}"
    )


def cost(connections: Connections) -> str:
    """Say in one line which arrays there are and how many numbers they hold."""
    c = connections
    bias = f", bias {c.bias_shape}" if c.bias else ""
    dense = ""
    if c.groups > 1:
        dense = (
            f"; dense {c.dense_parameters:,}, {c.dense_parameters / c.parameters:.3g} times as many"
        )
    return f"weight {c.weight_shape}{bias}: {c.parameters:,} parameters{dense}"


def draw(connections: Connections, *, ascii: bool = False, color: bool = False) -> str:
    """Draw the connections in text.

    Parameters
    ----------
    connections : Connections
    ascii : bool, optional
        Use no characters but ASCII, for terminals that have no others.
    color : bool, optional
        Give neighbouring paths different colours by ANSI escapes.

    Returns
    -------
    str
        Without a final newline.
    """
    lines = [title(connections), cost(connections), "", *_body(connections, color)]
    text = "\n".join(lines)
    return text.translate(_TO_ASCII) if ascii else text


def _body(connections: Connections, color: bool) -> Iterator[str]:
    if is_aggregated(connections):
        head, hidden, tail = shown_paths(connections)
        for path in head:
            yield from _painted([_line(connections, path)], path.group, color)
        if hidden:
            yield f"  ⋮  {hidden} more paths like these"
        for path in tail:
            yield from _painted([_line(connections, path)], path.group, color)
        return
    spread = connections.in_per_group > 1 or connections.out_per_group > 1
    for path in connections.paths():
        if path.group and spread:
            yield ""
        yield from _painted(_block(connections, path), path.group, color)


def _painted(lines: Iterable[str], group: int, color: bool) -> Iterable[str]:
    if not color:
        return lines
    code = _ANSI_COLORS[group % len(_ANSI_COLORS)]
    return (f"\x1b[{code}m{line}\x1b[0m" for line in lines)


def _line(connections: Connections, path: Path) -> str:
    """Draw one path in a line."""
    last = range(connections.in_channels - connections.in_per_group, connections.in_channels)
    return (
        f"in {span(path.inputs):>{len(span(last))}} ── {filters_label(connections)} ── "
        f"out {span(path.outputs)}"
    )


def _block(connections: Connections, path: Path) -> Iterator[str]:
    """Draw one path with a line per channel; the first line holds the label and runs through."""
    i, o = len(path.inputs), len(path.outputs)
    in_digits, out_digits = (
        len(str(connections.in_channels - 1)),
        len(str(connections.out_channels - 1)),
    )
    label = f" {filters_label(connections)} "
    for row in range(max(i, o)):
        joint, middle = ("─", label) if row == 0 else (" ", " " * len(label))
        left = right = ""
        if row < i:
            left = f"in {path.inputs[row]:>{in_digits}} ─{_corner(row, i, '┬┤┘')}{joint}"
        if row < o:
            right = f"{joint}{_corner(row, o, '┬├└')}─ out {path.outputs[row]:>{out_digits}}"
        yield f"{left:{in_digits + 7}}{middle}{right}".rstrip()


def _corner(row: int, rows: int, shapes: str) -> str:
    """Pick a bracket's corner in a row: `shapes` are its first, middle and last."""
    if rows == 1:
        return "─"
    return shapes[0] if row == 0 else shapes[2] if row == rows - 1 else shapes[1]
