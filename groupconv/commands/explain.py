"""Show what a convolution connects, what it costs, and how it runs on this machine.

Without --input: shapes, parameters and a drawing. With --input also the number of
multiply-adds, the plan and its predicted time on one thread; --time measures it,
and --compare does so for every number of groups.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

from groupconv import _core
from groupconv._arguments import thread_count
from groupconv._threads import get_num_threads, num_threads
from groupconv.bench.progress import Progress
from groupconv.commands import output
from groupconv.commands.explanation import Cost, Explanation
from groupconv.commands.request import ROUNDS, Request, groups_to_compare, measure, request
from groupconv.connections import Connections, connections


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    _add_convolution(parser.add_argument_group("the convolution"))
    running = parser.add_argument_group("how it runs")
    running.add_argument(
        "--input",
        type=_sizes,
        metavar="N,C,H,W",
        help="shape of an input; batch and channels may be left out: 224,224",
    )
    running.add_argument(
        "--threads", type=int, metavar="T", help="(default: what get_num_threads() says)"
    )
    running.add_argument("--time", action="store_true", help="measure the time of a call")
    running.add_argument(
        "--compare", action="store_true", help="predict and measure every valid number of groups"
    )
    writing = parser.add_argument_group("what to write")
    writing.add_argument("--svg", metavar="FILE", help="the picture as SVG")
    writing.add_argument("--png", metavar="FILE", help="the picture as PNG (needs matplotlib)")
    output.add_json(writing)


def _add_convolution(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--in", dest="inputs", type=int, required=True, metavar="C", help="input channels"
    )
    group.add_argument(
        "--out", dest="outputs", type=int, required=True, metavar="K", help="output channels"
    )
    group.add_argument("--groups", type=int, default=1, metavar="G", help="(default 1)")
    group.add_argument(
        "--kernel",
        type=_sizes,
        default=(1,),
        metavar="K[,K...]",
        help="one size, or one per dimension: 5 or 3,5 (default 1)",
    )
    group.add_argument(
        "--dims",
        type=int,
        choices=(1, 2, 3),
        help="spatial dimensions (default: as many as --kernel has sizes, 2 if it has one)",
    )
    group.add_argument("--stride", type=_sizes, default=(1,), metavar="S[,S...]")
    group.add_argument(
        "--padding",
        type=_padding,
        default=(0,),
        metavar="P[,P...]",
        help="sizes, or 'same', 'valid' or 'causal' (default 0)",
    )
    group.add_argument("--dilation", type=_sizes, default=(1,), metavar="D[,D...]")
    group.add_argument("--transposed", action="store_true", help="a transposed convolution")
    group.add_argument("--no-bias", action="store_true", help="without a number per output channel")
    group.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float64", "float16"),
        help="(default float32)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        With the attributes of :func:`add_arguments`.

    Returns
    -------
    int
        0, or 2 for wrong arguments or a wrong environment variable.

    Raises
    ------
    ImportError, OSError
        When a PNG cannot be drawn or a file not be written.
    """
    try:
        asked_about = _connections(args)
        asked = _request(args, asked_about)
        threads = get_num_threads() if args.threads is None else args.threads
        thread_count(threads, "--threads")
        _core.isa_in_use()  # refuses a GROUPCONV_ISA that is not possible here
    except (TypeError, ValueError) as error:
        return output.refuse("explain", error)
    _draw(asked_about, args)
    explanation = Explanation(asked_about)
    if asked is not None:
        with num_threads(threads):
            explanation = _explain(asked, args)
    if args.json:
        output.write_json(explanation.as_dict(), args.json)
    if args.json != "-":
        ascii, color = not output.shows_box_drawing(sys.stdout), output.shows_color(sys.stdout)
        print(explanation.as_text(ascii=ascii, color=color))
    return output.EXIT_OK


def _connections(args: argparse.Namespace) -> Connections:
    ndim = args.dims or (len(args.kernel) if len(args.kernel) > 1 else 2)
    kernel = args.kernel * ndim if len(args.kernel) == 1 else args.kernel
    if len(kernel) != ndim:
        raise ValueError(f"--kernel has {len(kernel)} sizes for {ndim} dimensions")
    return connections(
        args.inputs,
        args.outputs,
        args.groups,
        kernel,
        bias=not args.no_bias,
        transposed=args.transposed,
    )


def _request(args: argparse.Namespace, asked_about: Connections) -> Request | None:
    if args.input is None:
        if args.time or args.compare:
            raise ValueError("--time and --compare need the shape of an --input")
        return None
    geometry = {"stride": args.stride, "padding": args.padding, "dilation": args.dilation}
    return request(asked_about, args.input, geometry, args.dtype)


def _draw(asked_about: Connections, args: argparse.Namespace) -> None:
    if args.svg:
        pathlib.Path(args.svg).write_text(asked_about.to_svg(), encoding="utf-8")
    if args.png:
        asked_about.plot().savefig(args.png)


def _explain(asked: Request, args: argparse.Namespace) -> Explanation:
    requests = [asked]
    if args.compare:
        requests += map(asked.with_groups, groups_to_compare(asked.connections))
    seconds: Sequence[float | None] = [None] * len(requests)
    if args.time or args.compare:
        with _rounds() as on_round:
            seconds = measure(requests, on_round)
    threads = get_num_threads()
    costs = [
        Cost(each, each.layer().plan(each.input_shape), threads, taken)
        for each, taken in zip(requests, seconds, strict=True)
    ]
    return Explanation(asked.connections, costs[0], costs[1:])


@contextlib.contextmanager
def _rounds() -> Iterator[Callable[[str], None]]:
    """Progress of the measurement, on standard error where somebody watches it."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    with Progress(ROUNDS, unit="round") as progress:
        yield progress.begin


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers separated by commas"
        ) from None


def _padding(text: str) -> str | tuple[int, ...]:
    return text if text in ("same", "valid", "causal") else _sizes(text)
