"""Race layers of real networks against the libraries that are installed.

Every contender is built once per layer with its weights bound, its answer is held against a float64
one, then all are timed in turns; the table shows medians in milliseconds. ``~`` marks an answer off
by more than 1e-4 of the largest output, which never counts as the fastest; ``-`` an operation the
library does not have. peer/gc and torch/gc are the times of the fastest peer and of PyTorch over
groupconv's: above one, groupconv is ahead. floor is the hardware's least time (operations at peak
rate, or every array moved once) as a part of groupconv's. One thread compares best: thread pools
that go on spinning between calls are in each other's way.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TextIO

from groupconv.bench.chart import save_chart
from groupconv.bench.floor import Floor
from groupconv.bench.layer_race import Result, is_ours, race_layer
from groupconv.bench.peers import PEERS, Peer, choose
from groupconv.bench.progress import Progress
from groupconv.bench.report import Table, as_json, heading, summary
from groupconv.bench.suite import Layer, select

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    parser.add_argument(
        "--only",
        default="",
        metavar="PARTS",
        help="race layers whose family/name contains one of these parts, separated by commas",
    )
    parser.add_argument("--list", action="store_true", help="print the layers and stop")
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        help=f"libraries to race, separated by commas, of {', '.join(PEERS)} "
        "(default: whatever is installed)",
    )
    parser.add_argument(
        "--threads", type=_positive_int, default=1, help="threads of each contender (default 1)"
    )
    parser.add_argument(
        "--seconds",
        type=_positive_float,
        default=1.0,
        help="time spent on a layer, all contenders together (default 1)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write everything measured; '-' for standard output, the table then goes to "
        "standard error",
    )
    parser.add_argument("--png", metavar="FILE", help="draw a bar chart (needs matplotlib)")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        With the attributes of :func:`add_arguments`.

    Returns
    -------
    int
        0 if groupconv answered every layer correctly, 1 if not, 2 for wrong arguments.
    """
    try:
        layers = select(args.only)
        peers = choose(args.peers)
        _check_writable(args)
    except (ValueError, ImportError, OSError) as error:
        print(f"groupconv bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    if args.list:
        for layer in layers:
            print(f"{layer.label:40}{layer.op:18}{layer.flops / 1e9:8.3f} GFLOP")
        return EXIT_OK
    results: list[Result] = []
    floor = Floor(args.threads)
    table_to = sys.stderr if args.json == "-" else sys.stdout
    try:
        _race(layers, peers, floor, args.seconds, table_to, results)
    finally:  # an interrupted race keeps what it measured
        _write(args, results, peers, floor)
    failed = any(is_ours(name) for result in results for name in result.failures)
    return EXIT_FAILED if failed else EXIT_OK


def _race(
    layers: Sequence[Layer],
    peers: Sequence[Peer],
    floor: Floor,
    seconds: float,
    out: TextIO,
    results: list[Result],
) -> None:
    """Contest every layer, appending to `results` and printing the table as it grows."""
    table = Table(peers)
    for line in (*heading(peers, floor.threads), table.header()):
        print(line, file=out, flush=True)
    with Progress(len(layers), unit="layer") as progress:
        for layer in layers:
            progress.begin(layer.label)
            results.append(race_layer(layer, peers, floor, seconds))
            progress.print(table.row(results[-1]), out)
    for line in summary(results):
        print(line, file=out, flush=True)


def _write(
    args: argparse.Namespace, results: Sequence[Result], peers: Sequence[Peer], floor: Floor
) -> None:
    """Write the files that were asked for."""
    if not results:
        return
    if args.json:
        text = json.dumps(as_json(results, peers, floor), indent=1)
        if args.json == "-":
            print(text)
        else:
            pathlib.Path(args.json).write_text(text + "\n", encoding="utf-8")
    if args.png and any(result.speedup_over(result.fastest_peer) for result in results):
        save_chart(results, "\n".join(heading(peers, floor.threads)), args.png)


def _check_writable(args: argparse.Namespace) -> None:
    """Refuse before the race what would fail after it."""
    if args.png:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise ImportError("--png needs matplotlib: pip install 'groupconv[bench]'") from error
    for name in (args.json, args.png):
        if name and name != "-" and not pathlib.Path(name).absolute().parent.is_dir():
            raise OSError(f"the folder of {name!r} does not exist")


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
