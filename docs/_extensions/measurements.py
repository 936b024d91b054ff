"""Directives that show measured numbers from JSON files, with the machine they come from.

``{measured-groups} FILE`` is a table of ``groupconv explain --compare --json FILE``, and
``{measured-race} FILE`` one of ``groupconv bench --json FILE``.
"""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

import groupconv


class _FromJson(Directive):
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        environment = self.state.document.settings.env
        path = pathlib.Path(environment.srcdir, self.arguments[0])
        environment.note_dependency(str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
        return [*self.tables(content), _machine(content["machine"])]

    def tables(self, content: Any) -> Iterable[nodes.Node]:
        raise NotImplementedError


class MeasuredGroups(_FromJson):
    """Parameters, MACs and times for every number of groups."""

    def tables(self, content: Any) -> Iterable[nodes.Node]:
        rows = content["comparison"]
        dense = rows[0]["measured_seconds"]
        shape = " x ".join(map(str, rows[0]["input_shape"]))
        kernel = " x ".join(map(str, content["kernel_size"]))
        channels = f"{content['in_channels']} to {content['out_channels']} channels"
        caption = f"{channels}, kernel {kernel}, input {shape}, {rows[0]['dtype']}"
        yield _table(
            caption,
            ("groups", "parameters", "MACs", "algorithm", "time (ms)", "speed-up", "GFLOP/s"),
            [
                (
                    str(row["groups"]),
                    f"{row['parameters']:,}",
                    f"{row['macs']:,}",
                    row["algorithm"],
                    f"{1e3 * row['measured_seconds']:.3g}",
                    f"{dense / row['measured_seconds']:.1f}",
                    f"{2e-9 * row['macs'] / row['measured_seconds']:.0f}",
                )
                for row in rows
            ],
        )


class MeasuredRace(_FromJson):
    """Geometric means of each family of layers, then every layer."""

    def tables(self, content: Any) -> Iterable[nodes.Node]:
        layers = content["layers"]
        families: dict[str, list[Any]] = {}
        for layer in layers:
            families.setdefault(layer["layer"].split("/")[0], []).append(layer)
        yield _table(
            "Speed by family of layers",
            ("family", "layers", "over the fastest peer", "worst layer", "over PyTorch"),
            [_family(name, members) for name, members in families.items()],
        )
        yield _table(
            "Every layer",
            ("layer", "ms", "GFLOP/s", "part of the floor", "fastest peer", "its ms", "ratio"),
            [_layer(layer) for layer in layers if "groupconv" in layer["contenders"]],
        )


def _family(name: str, layers: Sequence[Any]) -> tuple[str, ...]:
    peer = [x for layer in layers if (x := layer["speedup_over_fastest_peer"])]
    torch = [x for layer in layers if (x := layer["speedup_over_torch"])]
    return (
        name,
        str(len(layers)),
        f"{statistics.geometric_mean(peer):.2f}" if peer else "",
        f"{min(peer):.2f}" if peer else "",
        f"{statistics.geometric_mean(torch):.2f}" if torch else "",
    )


def _layer(layer: Any) -> tuple[str, ...]:
    ours = layer["contenders"]["groupconv"]
    peer = layer["fastest_peer"]
    theirs = layer["contenders"][peer]["seconds"] if peer else None
    return (
        layer["layer"],
        f"{1e3 * ours['seconds']:.3g}",
        f"{ours['gflops']:.0f}",
        f"{100 * layer['floor_fraction']:.0f}%",
        peer or "",
        f"{1e3 * theirs:.3g}" if theirs else "",
        f"{layer['speedup_over_fastest_peer']:.2f}" if theirs else "",
    )


def _machine(machine: Any) -> nodes.Node:
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    text = f"{machine['processor']}, {machine['isa']}, {threads}, {machine['date'][:10]}"
    return nodes.paragraph("", "", nodes.emphasis("", f"Measured on {text}."))


def _table(caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> nodes.table:
    group = nodes.tgroup("", cols=len(names))
    group += [nodes.colspec(colwidth=1) for _ in names]
    group += nodes.thead("", _row(names))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", nodes.title("", caption), group)


def _row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("measured-groups", MeasuredGroups)
    app.add_directive("measured-race", MeasuredRace)
    return {"version": groupconv.__version__, "parallel_read_safe": True}
