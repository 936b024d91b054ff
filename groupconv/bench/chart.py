"""The race as a picture: one bar per layer, as long as groupconv is ahead."""

from __future__ import annotations

import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from groupconv.bench.layer_race import Result, is_ours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR, _BEHIND = "#2a6fbb", "#c8553d"
_MARKERS = "osD^vP*X"
_INCHES_PER_LAYER = 0.17
_SCALE = "speed relative to the layer's fastest peer (logarithmic); bars: groupconv"


def draw_chart(results: Sequence[Result], title: str) -> Figure:
    """Speed of every contender relative to the fastest peer, layer by layer.

    A bar is groupconv, beginning at the fastest peer's speed: to the right where groupconv is
    ahead, to the left and in another colour where it is behind. Markers are the peers.

    Parameters
    ----------
    results : sequence of Result
    title : str
        Written above; machine and versions belong here.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If no layer has both groupconv and a peer.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the chart needs matplotlib: pip install 'groupconv[bench]'") from error
    shown = [result for result in results if result.speedup_over(result.fastest_peer)]
    if not shown:
        raise ValueError("no layer has both groupconv and a peer to compare it with")
    figure = Figure(figsize=(10, 1.6 + _INCHES_PER_LAYER * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    _draw_bars(axes, shown)
    _draw_markers(axes, shown)
    _label(axes, shown, title)
    return figure


def save_chart(results: Sequence[Result], title: str, path: str | pathlib.Path) -> None:
    """Write :func:`draw_chart`'s picture to a file of the format its suffix names."""
    draw_chart(results, title).savefig(path, dpi=120)


def _draw_bars(axes: Axes, shown: Sequence[Result]) -> None:
    for row, result in enumerate(shown):
        ratio = result.speedup_over(result.fastest_peer) or 1.0
        colour = _BAR if ratio >= 1 else _BEHIND
        axes.barh(row, ratio - 1, left=1, height=0.7, color=colour, zorder=2)
        if ratio >= 1:  # behind, the number would cover the peers' markers
            axes.annotate(
                f"{ratio:.1f}",
                (ratio, row),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color="0.3",
            )


def _draw_markers(axes: Axes, shown: Sequence[Result]) -> None:
    names = dict.fromkeys(name for result in shown for name in result.timings if not is_ours(name))
    for name, marker in zip(names, _MARKERS * math.ceil(len(names) / len(_MARKERS)), strict=False):
        points = [
            (timings[result.fastest_peer].median / timings[name].median, row)
            for row, result in enumerate(shown)
            if result.fastest_peer and name in (timings := result.timings)
            if result.within_gate(name)
        ]
        if points:
            label = name.replace("_channels_last", " channels_last")
            axes.plot(*zip(*points, strict=True), marker, ms=3.5, mew=0, label=label, zorder=3)


def _label(axes: Axes, shown: Sequence[Result], title: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(_SCALE, fontsize=8)
    axes.axvline(1, color="0.2", lw=0.8, zorder=1)
    axes.grid(axis="x", color="0.9", zorder=0)
    axes.set_axisbelow(True)
    axes.set_yticks(range(len(shown)), [result.layer.label for result in shown], fontsize=6.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    families = [result.layer.family for result in shown]
    for row in range(1, len(shown)):
        if families[row] != families[row - 1]:
            axes.axhline(row - 0.5, color="0.7", lw=0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.figure.suptitle("\n".join(textwrap.wrap(title, 130)), fontsize=7, x=0.01, ha="left")
    axes.figure.legend(loc="outside lower center", ncols=9, fontsize=7, frameon=False)
