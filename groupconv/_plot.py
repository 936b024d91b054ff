"""A scene as a matplotlib figure; importing this module needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from groupconv._scene import PAPER, Band, Box, Curve, Label, Scene, scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from groupconv.connections import Connections

_DPI = 100
_POINTS_PER_INCH = 72
_ORDER = 2  # of every shape: later ones cover earlier ones, as in the scene


def figure(connections: Connections, ax: Axes | None = None) -> Figure:
    """Draw the picture of some connections into axes, or into a figure of its own size."""
    picture = scene(connections)
    if ax is None:
        size = picture.width / _DPI, picture.height / _DPI
        ax = plt.figure(figsize=size, dpi=_DPI, facecolor=PAPER).add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, picture.width), ylim=(picture.height, 0), aspect="equal")
    ax.set_axis_off()
    drawn = ax.figure.figure  # of the topmost figure, where the axes stand in a subfigure
    _draw(picture, ax, drawn.dpi)
    return drawn


def _draw(picture: Scene, ax: Axes, dpi: float) -> None:
    """Add every shape; text and lines shrink or grow with the room that the axes have."""
    extent = ax.get_window_extent()
    pixel = min(extent.width / picture.width, extent.height / picture.height)
    points = pixel * _POINTS_PER_INCH / dpi
    for shape in picture.shapes:
        match shape:
            case Box():
                _box(shape, ax, points)
            case Curve(x0, y0, x1, y1, color, width):
                codes, vertices = _bend(x0, y0, x1, y1)
                style = {"edgecolor": color, "fill": False, "linewidth": width * points}
                _outline(ax, [Path.MOVETO, *codes], [(x0, y0), *vertices], alpha=0.7, **style)
            case Band():
                _band(shape, ax)
            case Label():
                _label(shape, ax, points)


def _box(box: Box, ax: Axes, points: float) -> None:
    style: dict[str, Any] = {"edgecolor": box.stroke, "zorder": _ORDER}
    sheet = Rectangle((box.x, box.y), box.width, box.height, facecolor=box.fill, **style)
    sheet.set_linewidth(points)
    ax.add_patch(sheet)
    right, bottom = box.x + box.width, box.y + box.height
    columns = (box.x + box.width * i / box.columns for i in range(1, box.columns))
    rows = (box.y + box.height * i / box.rows for i in range(1, box.rows))
    ends = [end for x in columns for end in ((x, box.y), (x, bottom))]
    ends += [end for y in rows for end in ((box.x, y), (right, y))]
    if ends:
        codes = [Path.MOVETO, Path.LINETO] * (len(ends) // 2)
        _outline(ax, codes, ends, edgecolor=box.stroke, fill=False, linewidth=0.6 * points)


def _band(band: Band, ax: Axes) -> None:
    over, above = _bend(band.x0, band.top0, band.x1, band.top1)
    back, below = _bend(band.x1, band.bottom1, band.x0, band.bottom0)
    first, corner = (band.x0, band.top0), (band.x1, band.bottom1)
    codes = [Path.MOVETO, *over, Path.LINETO, *back, Path.CLOSEPOLY]
    vertices = [first, *above, corner, *below, first]
    _outline(ax, codes, vertices, facecolor=band.color, linewidth=0, alpha=0.3)


def _bend(
    x0: float, y0: float, x1: float, y1: float
) -> tuple[list[Any], list[tuple[float, float]]]:
    """Continue a path from the first to the second point, horizontal at both."""
    middle = (x0 + x1) / 2
    return [Path.CURVE4] * 3, [(middle, y0), (middle, y1), (x1, y1)]


def _outline(ax: Axes, codes: list[Any], vertices: list[tuple[float, float]], **style: Any) -> None:
    ax.add_patch(PathPatch(Path(vertices, codes), zorder=_ORDER, **style))


def _label(label: Label, ax: Axes, points: float) -> None:
    ax.text(
        label.x,
        label.y,
        label.text,
        size=label.size * points,
        color=label.color,
        weight="bold" if label.bold else "normal",
        ha={"start": "left", "middle": "center", "end": "right"}[label.anchor],
        va="center_baseline",
        zorder=_ORDER,
        parse_math=False,
    )
