"""Run the cases everybody starts with, then read the text of a photograph.

The cases are small convolutions that differ in their channels and groups. The text is read by three
real networks (PP-OCRv4: detection, direction, recognition), all of whose convolutions run in
groupconv while ONNX Runtime computes the same to compare.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from groupconv.bench.progress import Progress
from groupconv.commands import output
from groupconv.demo.cases import as_json, run_cases, table

if TYPE_CHECKING:
    from groupconv.demo.reading import Line, Reader

# Outputs of the networks are probabilities.
LARGEST_DIFFERENCE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    parser.add_argument(
        "--image", metavar="FILE", help="picture to read (default: a page that scikit-image has)"
    )
    output.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        With the attributes of :func:`add_arguments`.

    Returns
    -------
    int
        0, or 1 if a network's output differs from ONNX Runtime's by more than 0.001.

    Raises
    ------
    ImportError
        Without the extra ``demo``; the cases have been shown by then.
    """
    quiet = args.json is not None
    cases = run_cases()
    if not quiet:
        print(f"Convolutions of 5 x 5 cells, by channels and groups:\n\n{table(cases)}\n")
    with Progress(total=2, unit="step") as progress:
        progress.begin("load networks")
        from groupconv.demo.reading import Reader, load_image

        image, reader = load_image(args.image), Reader()
        progress.begin("read the photograph")
        lines = reader.read(image)
    if not quiet:
        print("Text of the photograph:\n")
        print(*(f"    {line.text}" for line in lines), sep="\n")
        print(f"\n{report(reader)}")
    else:
        output.write_json({"cases": as_json(cases), "text": _text_json(lines, reader)}, args.json)
    if not reader.difference <= LARGEST_DIFFERENCE:
        print(
            f"groupconv demo: the difference exceeds {LARGEST_DIFFERENCE}, which is more than "
            "rounding explains",
            file=sys.stderr,
        )
        return output.EXIT_FAILED
    return output.EXIT_OK


def report(reader: Reader) -> str:
    """Return times and differences of a reader's networks as lines of text."""
    lines = []
    for name, network in reader.networks.items():
        times = f"{network.seconds:6.3f} s, {network.convolution_seconds:6.3f} s in convolutions"
        lines.append(f"{name:12} {times}, differs from ONNX Runtime by {network.difference:.1e}")
    return "\n".join(lines)


def _text_json(lines: list[Line], reader: Reader) -> dict[str, Any]:
    return {
        "lines": [{"text": line.text, "confidence": line.confidence} for line in lines],
        "networks": {
            name: {
                "seconds": network.seconds,
                "convolution_seconds": network.convolution_seconds,
                "largest_difference": network.difference,
            }
            for name, network in reader.networks.items()
        },
    }
