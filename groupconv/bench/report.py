"""The race's results as a table, as a summary by family, and as JSON."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import groupconv
from groupconv.bench.floor import Floor
from groupconv.bench.layer_race import Result
from groupconv.bench.peers import OURS, PEERS, Peer

_LABEL, _CELL, _FIGURE = 39, 12, 9


def machine(threads: int) -> dict[str, Any]:
    """What the race ran on and with."""
    return {
        "processor": _processor(),
        "isa": groupconv._core.isa_in_use(),
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    """The processor's name; Linux tells it in one place only."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def versions(peers: Sequence[Peer]) -> dict[str, str]:
    """Release of every contender."""
    return {peer.name: peer.version() for peer in (*OURS, *peers)}


def heading(peers: Sequence[Peer], threads: int) -> list[str]:
    """Lines that say what raced on what: a table or a picture without them is worth little."""
    about, releases = machine(threads), versions(peers)
    count = f"{threads} thread" + "s" * (threads > 1)
    named = ", ".join(f"{name} {releases[name]}" for name in releases if "channels" not in name)
    lines = [f"{about['processor']}, {about['isa']}, {count}: {named}"]
    missing = [peer.distribution for peer in PEERS.values() if not peer.installed()]
    if missing:
        lines.append(f"not installed: {', '.join(dict.fromkeys(missing))}")
    return lines


class Table:
    """Text columns: the layer, each contender's milliseconds, and how they compare.

    ``~`` marks an answer outside the gate, ``-`` a missing operation, ``failed`` one that is listed
    below the table. ``peer/gc`` and ``torch/gc`` are the times of the fastest peer and of PyTorch
    over groupconv's: above one, groupconv is ahead. ``floor`` is the hardware's least time as a
    part of groupconv's.
    """

    _FIGURES = ("GFLOP/s", "peer/gc", "torch/gc", "floor")

    def __init__(self, peers: Sequence[Peer]):
        self._columns = [peer.name for peer in (*peers, *OURS)]

    def header(self) -> str:
        names = [name.replace("groupconv_", "gc_") for name in self._columns]
        names = [name.replace("channels_last", "NHWC") for name in names]
        return self._line("milliseconds", "GFLOP", names, self._FIGURES)

    def row(self, result: Result) -> str:
        ours, flops = result.seconds("groupconv"), result.layer.flops
        figures = (
            flops / ours / 1e9 if ours else None,
            result.speedup_over(result.fastest_peer),
            result.speedup_over("torch"),
            result.floor_fraction,
        )
        written = [
            form.format(figure) if figure else "-"
            for form, figure in zip(("{:.0f}", "{:.2f}", "{:.2f}", "{:.0%}"), figures, strict=True)
        ]
        cells = [self._cell(result, name) for name in self._columns]
        return self._line(result.layer.label, f"{flops / 1e9:.3f}", cells, written)

    @staticmethod
    def _line(label: str, work: str, cells: Sequence[str], figures: Sequence[str]) -> str:
        return (
            f"{label:{_LABEL}}{work:>{_FIGURE - 2}}"
            + "".join(f"{cell:>{_CELL}}" for cell in cells)
            + "".join(f"{figure:>{_FIGURE}}" for figure in figures)
        )

    @staticmethod
    def _cell(result: Result, name: str) -> str:
        seconds = result.seconds(name)
        if seconds is None:
            return "failed" if name in result.failures else "-"
        return f"{'' if result.within_gate(name) else '~'}{seconds * 1e3:.3f}"


def summary(results: Sequence[Result]) -> list[str]:
    """Geometric means by family, the worst layer of each, and every failure."""
    by_family: dict[str, list[Result]] = {}
    for result in results:
        by_family.setdefault(result.layer.family, []).append(result)
    lines = [_summarise(name, part) for name, part in by_family.items()]
    if len(by_family) > 1:
        lines.append(_summarise("all", results))
    lines += _summarise_channels_last(results)
    for result in results:
        for name, why in result.failures.items():
            lines.append(f"failed: {result.layer.label} {name}: {why}")
    return lines


def _summarise(name: str, results: Sequence[Result]) -> str:
    def ratios(of: Callable[[Result], float | None]) -> list[float]:
        return [ratio for ratio in map(of, results) if ratio]

    def mean(values: list[float]) -> str:
        return f"{statistics.geometric_mean(values):6.2f}" if values else f"{'-':>6}"

    peer = ratios(lambda result: result.speedup_over(result.fastest_peer))
    torch = ratios(lambda result: result.speedup_over("torch"))
    worst = f"{min(peer):6.2f}" if peer else f"{'-':>6}"
    ahead = f"{sum(ratio >= 1 for ratio in peer)}/{len(peer)}"
    return (
        f"{name:12} geometric means: peer/gc {mean(peer)}, torch/gc {mean(torch)}, "
        f"floor {mean(ratios(lambda result: result.floor_fraction))}; "
        f"worst peer/gc {worst}, ahead on {ahead}"
    )


def _summarise_channels_last(results: Sequence[Result]) -> list[str]:
    """Both in that memory order, over the layers that have it."""
    ours, theirs = "groupconv_channels_last", "torch_channels_last"
    ratios = [ratio for r in results if (ratio := r.speedup_over(theirs, ours))]
    if not ratios:
        return []
    mean = statistics.geometric_mean(ratios)
    return [
        f"channels_last geometric mean: torch/gc {mean:6.2f}; worst {min(ratios):6.2f}, "
        f"{len(ratios)} layers"
    ]


def as_json(results: Sequence[Result], peers: Sequence[Peer], floor: Floor) -> dict[str, Any]:
    """Everything a later comparison needs, of numbers, strings, lists and dicts only."""
    return {
        "machine": machine(floor.threads) | floor.measured(),
        "versions": versions(peers),
        "layers": [_layer_as_json(result) for result in results],
    }


def _layer_as_json(result: Result) -> dict[str, Any]:
    layer = result.layer
    return {
        "layer": layer.label,
        "gflop": layer.flops / 1e9,
        "traffic_bytes": layer.traffic,
        "floor_seconds": result.floor,
        "bound": result.bound,
        "floor_fraction": result.floor_fraction,
        "fastest_peer": result.fastest_peer,
        "speedup_over_fastest_peer": result.speedup_over(result.fastest_peer),
        "speedup_over_torch": result.speedup_over("torch"),
        "contenders": {
            name: {
                "seconds": timing.median,
                "fastest_seconds": timing.fastest,
                "samples": len(timing.samples),
                "gflops": layer.flops / timing.median / 1e9,
                "error": result.errors[name],
                "within_gate": result.within_gate(name),
            }
            for name, timing in result.timings.items()
        },
        "failures": result.failures,
    }
