"""The picture of connections as a list of shapes, laid out once for every way to draw it.

Lengths are pixels, y grows downwards. Each path is a block of rows: its input channels on the left,
one filter per output channel in the middle, its output channels on the right.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from groupconv._drawing import cost, filters_label, is_aggregated, shown_paths, span, title

if TYPE_CHECKING:
    from groupconv.connections import Connections, Path

INK, PALE_INK, PAPER = "#1f2933", "#616e7c", "#ffffff"

# Eight hues that remain apart in the common kinds of colour blindness (neighbours differ in
# lightness too); further paths take hues spread by the golden ratio.
_COLORS = (
    "#0077bb",
    "#ee7733",
    "#009988",
    "#cc3311",
    "#7f5fc4",
    "#b8860b",
    "#ee3377",
    "#5b6b7a",
)
_GOLDEN = 0.6180339887498949

_MARGIN = 20.0
_HEADING = 92.0  # title, costs and the names of the columns
_TITLE_SIZE, _TEXT_SIZE = 15.0, 11.0
_CHARACTER = 0.6  # average width of a character over its size
_INPUT_TO_FILTER, _FILTER_TO_OUTPUT = 210.0, 210.0
_MOST_CURVES = 300  # more than these are one band per path
_MOST_LABELLED_FILTERS = 16
_STACK_STEP = 3.0
_MOST_SHEETS = 3
_SMALLEST_CELL, _THINNEST = 3.0, 4.0
_LABEL_GAP = 8.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `columns` by `rows` cells are marked by thin lines."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str
    columns: int = 1
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Curve:
    """A line that leaves and arrives horizontally."""

    x0: float
    y0: float
    x1: float
    y1: float
    color: str
    width: float


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two such curves, from ``top0..bottom0`` to ``top1..bottom1``."""

    x0: float
    top0: float
    bottom0: float
    x1: float
    top1: float
    bottom1: float
    color: str


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text, centred vertically on `y`."""

    x: float
    y: float
    text: str
    size: float = _TEXT_SIZE
    anchor: Literal["start", "middle", "end"] = "middle"
    color: str = INK
    bold: bool = False


Shape: TypeAlias = Box | Curve | Band | Label


@dataclass(slots=True)
class Scene:
    """Shapes to draw in order, and the size of the paper."""

    title: str
    width: float
    height: float
    shapes: list[Shape] = field(default_factory=list)


def path_color(group: int) -> str:
    """Colour of a path as ``#rrggbb``."""
    if group < len(_COLORS):
        return _COLORS[group]
    hue = (group * _GOLDEN) % 1.0
    return _hex(colorsys.hls_to_rgb(hue, 0.52 if group % 2 else 0.40, 0.62))


def tint(color: str) -> str:
    """Mix a colour with three parts of white."""
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _hex(tuple(0.25 * part + 0.75 for part in parts))


def _hex(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def scene(connections: Connections) -> Scene:
    """Lay out the picture of some connections."""
    return _Layout(connections).scene()


class _Layout:
    """Positions of everything: columns from the label widths, rows from the paths."""

    def __init__(self, connections: Connections):
        self.connections = connections
        self.aggregated = is_aggregated(connections)
        if self.aggregated:
            self.head, self.hidden, self.tail = shown_paths(connections)
            self.rows_of_path = 1
        else:
            self.head, self.hidden, self.tail = connections.paths(), 0, ()
            self.rows_of_path = max(connections.in_per_group, connections.out_per_group)
        paths = len(self.head) + len(self.tail) + bool(self.hidden)
        rows = paths * self.rows_of_path
        self.pitch = 36.0 if rows <= 8 else 28.0 if rows <= 24 else 20.0
        self.gap = self.pitch * 0.5 if self.rows_of_path > 1 else 0.0
        self.side = self.pitch * 0.68
        self.filter_side = self.pitch * 0.86
        last = (self.tail or self.head)[-1]
        if self.aggregated:
            names, stack = (span(last.inputs), span(last.outputs)), 2 * _STACK_STEP
        else:
            names, stack = (str(last.inputs[-1]), str(last.outputs[-1])), 0.0
        heading = _text_width("output channels") / 2 - self.side / 2
        self.inputs = _MARGIN + max(_text_width(names[0]) + _LABEL_GAP, heading)
        self.filters = self.inputs + self.side + stack + _INPUT_TO_FILTER
        self.outputs = self.filters + self.filter_side + _FILTER_TO_OUTPUT
        right = self.outputs + self.side + max(stack + _LABEL_GAP + _text_width(names[1]), heading)
        texts = max(_text_width(title(connections), _TITLE_SIZE), _text_width(cost(connections)))
        self.width = max(right, _MARGIN + texts) + _MARGIN
        self.height = _HEADING + rows * self.pitch + (paths - 1) * self.gap + _MARGIN

    def scene(self) -> Scene:
        """Heading, lines, boxes and labels, in the order in which they cover each other."""
        result = Scene(title(self.connections), self.width, self.height)
        result.shapes += self._heading()
        tops = self._tops()
        for path, top in tops:
            result.shapes += self._lines(path, top)
        for path, top in tops:
            result.shapes += self._boxes(path, top)
        for path, top in tops:
            result.shapes += self._labels(path, top)
        return result

    def _heading(self) -> Iterator[Shape]:
        yield Label(_MARGIN, 24, title(self.connections), _TITLE_SIZE, "start", INK, bold=True)
        yield Label(_MARGIN, 46, cost(self.connections), _TEXT_SIZE, "start", PALE_INK)
        for x, name in (
            (self.inputs + self.side / 2, "input channels"),
            (self.filters + self.filter_side / 2, "filters"),
            (self.outputs + self.side / 2, "output channels"),
        ):
            yield Label(x, 74, name, _TEXT_SIZE, "middle", PALE_INK, bold=True)
        if self.hidden:
            y = _HEADING + (len(self.head) + 0.5) * self.pitch
            text = f"{self.hidden:,} more paths like these"
            x = self.filters + self.filter_side / 2
            yield Label(x, y, text, _TEXT_SIZE, "middle", PALE_INK)

    def _tops(self) -> list[tuple[Path, float]]:
        step = self.rows_of_path * self.pitch + self.gap
        first_of_tail = len(self.head) + bool(self.hidden)
        rows = [*enumerate(self.head), *enumerate(self.tail, first_of_tail)]
        return [(path, _HEADING + row * step) for row, path in rows]

    def _centers(self, count: int, top: float) -> list[float]:
        """Middles of `count` rows, centred in the block of a path."""
        first = top + (self.rows_of_path - count + 1) * self.pitch / 2
        return [first + i * self.pitch for i in range(count)]

    def _sides(self, path: Path, top: float) -> tuple[list[float], list[float]]:
        if self.aggregated:
            return self._centers(1, top), self._centers(1, top)
        return self._centers(len(path.inputs), top), self._centers(len(path.outputs), top)

    def _lines(self, path: Path, top: float) -> Iterator[Shape]:
        ins, outs = self._sides(path, top)
        color = path_color(path.group)
        left, to_filter = self.inputs + self.side, self.filters
        width = 3.0 if self.aggregated else 1.5
        c = self.connections
        if not self.aggregated and c.in_channels * c.out_per_group > _MOST_CURVES:
            half = self.side / 2
            yield Band(
                left,
                ins[0] - half,
                ins[-1] + half,
                to_filter,
                outs[0] - half,
                outs[-1] + half,
                color,
            )
            text = f"{len(ins)} × {len(outs)} connections"
            middle = (ins[0] + ins[-1] + outs[0] + outs[-1]) / 4
            yield Label((left + to_filter) / 2, middle, text)
        else:
            for y0 in ins:
                for y1 in outs:
                    yield Curve(left, y0, to_filter, y1, color, width)
        for y in outs:
            yield Curve(self.filters + self.filter_side, y, self.outputs, y, color, width)

    def _boxes(self, path: Path, top: float) -> Iterator[Shape]:
        ins, outs = self._sides(path, top)
        color = path_color(path.group)
        for y in ins:
            yield from self._channel(self.inputs, y, color, len(path.inputs))
        for y in outs:
            yield from self._filter(y, color)
            yield from self._channel(self.outputs, y, color, len(path.outputs))

    def _channel(self, x: float, y: float, color: str, depth: int) -> Iterator[Box]:
        sheets = min(depth, _MOST_SHEETS) if self.aggregated else 1
        return _stack(x, y, (self.side, self.side), (1, 1), tint(color), color, sheets)

    def _filter(self, y: float, color: str) -> Iterator[Box]:
        """A sheet of kernel cells per input channel of the group, up to a few."""
        rows, columns = (1, *self.connections.kernel_size)[-2:]
        sheets = min(self.connections.in_per_group, _MOST_SHEETS)
        room = self.filter_side - _STACK_STEP * (sheets - 1)
        cell = room / max(rows, columns)
        size = max(columns * cell, _THINNEST), max(rows * cell, _THINNEST)
        cells = (rows, columns) if cell >= _SMALLEST_CELL else (1, 1)
        x = self.filters + (room - size[0]) / 2
        return _stack(x, y, size, cells, color, PAPER, sheets)

    def _labels(self, path: Path, top: float) -> Iterator[Shape]:
        ins, outs = self._sides(path, top)
        c = self.connections
        left, right = self.inputs - _LABEL_GAP, self.outputs + self.side + _LABEL_GAP
        if self.aggregated:
            right += _STACK_STEP * (_MOST_SHEETS - 1)
            yield Label(left, ins[0], span(path.inputs), anchor="end")
            yield Label(right, outs[0], span(path.outputs), anchor="start")
        else:
            for channel, y in zip(path.inputs, ins, strict=True):
                yield Label(left, y, str(channel), anchor="end")
            for channel, y in zip(path.outputs, outs, strict=True):
                yield Label(right, y, str(channel), anchor="start")
        if not self.aggregated and c.out_channels <= _MOST_LABELLED_FILTERS:
            for y in outs:
                yield from self._filter_label(y, str(c.filter_shape))
        else:
            yield from self._filter_label((outs[0] + outs[-1]) / 2, filters_label(c))

    def _filter_label(self, y: float, text: str) -> Iterator[Shape]:
        """Text on the line from the filter to its output, on paper that interrupts the line."""
        x = (self.filters + self.filter_side + self.outputs) / 2
        width, height = _text_width(text) + _LABEL_GAP, 1.2 * _TEXT_SIZE
        yield Box(x - width / 2, y - height / 2, width, height, PAPER, PAPER)
        yield Label(x, y, text)


def _stack(
    x: float,
    y: float,
    size: tuple[float, float],
    cells: tuple[int, int],
    fill: str,
    stroke: str,
    sheets: int,
) -> Iterator[Box]:
    """Equal boxes behind each other, from the left `x`, centred vertically on `y`."""
    (width, height), (rows, columns) = size, cells
    spread = _STACK_STEP * (sheets - 1)
    y0 = y - (height - spread) / 2
    for sheet in reversed(range(sheets)):
        shift = _STACK_STEP * sheet
        yield Box(x + shift, y0 - shift, width, height, fill, stroke, columns, rows)


def _text_width(text: str, size: float = _TEXT_SIZE) -> float:
    return len(text) * size * _CHARACTER
