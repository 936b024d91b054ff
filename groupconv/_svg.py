"""A scene as an SVG document, written without any other package."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from groupconv._scene import PAPER, Band, Box, Curve, Label, Shape, scene

if TYPE_CHECKING:
    from groupconv.connections import Connections

_FONT = "Helvetica, Arial, sans-serif"


def document(connections: Connections) -> str:
    """Write the picture of some connections as a self-contained SVG document."""
    picture = scene(connections)
    width, height = _number(picture.width), _number(picture.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{_FONT}">',
        f"<title>{escape(picture.title)}</title>",
        f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
    ]
    for shape in picture.shapes:
        lines += _elements(shape)
    return "\n".join([*lines, "</svg>", ""])


def _elements(shape: Shape) -> Iterator[str]:
    match shape:
        case Box():
            yield from _box(shape)
        case Curve():
            d = f"M{_point(shape.x0, shape.y0)}{_bend(shape.x0, shape.y0, shape.x1, shape.y1)}"
            yield (
                f'<path d="{d}" fill="none" stroke="{shape.color}" '
                f'stroke-width="{_number(shape.width)}" stroke-opacity="0.7"/>'
            )
        case Band():
            yield _band(shape)
        case Label():
            yield _label(shape)


def _box(box: Box) -> Iterator[str]:
    x, y, width, height = box.x, box.y, box.width, box.height
    yield (
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
        f'height="{_number(height)}" fill="{box.fill}" stroke="{box.stroke}"/>'
    )
    vertical = (
        f"M{_point(x + width * i / box.columns, y)}v{_number(height)}"
        for i in range(1, box.columns)
    )
    horizontal = (
        f"M{_point(x, y + height * i / box.rows)}h{_number(width)}" for i in range(1, box.rows)
    )
    grid = "".join((*vertical, *horizontal))
    if grid:
        yield f'<path d="{grid}" stroke="{box.stroke}" stroke-width="0.6"/>'


def _band(band: Band) -> str:
    d = (
        f"M{_point(band.x0, band.top0)}{_bend(band.x0, band.top0, band.x1, band.top1)}"
        f"V{_number(band.bottom1)}{_bend(band.x1, band.bottom1, band.x0, band.bottom0)}Z"
    )
    return f'<path d="{d}" fill="{band.color}" fill-opacity="0.3"/>'


def _label(label: Label) -> str:
    weight = ' font-weight="bold"' if label.bold else ""
    # The baseline lies about a third of the size below the middle of the digits and capitals.
    return (
        f'<text x="{_number(label.x)}" y="{_number(label.y + 0.35 * label.size)}" '
        f'font-size="{_number(label.size)}" text-anchor="{label.anchor}" '
        f'fill="{label.color}"{weight}>{escape(label.text)}</text>'
    )


def _bend(x0: float, y0: float, x1: float, y1: float) -> str:
    """Continue a path from the first to the second point, horizontal at both."""
    middle = (x0 + x1) / 2
    return f"C{_point(middle, y0)} {_point(middle, y1)} {_point(x1, y1)}"


def _point(x: float, y: float) -> str:
    return f"{_number(x)},{_number(y)}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
