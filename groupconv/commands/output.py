"""Where the commands' output goes, and what the receiving end can show."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from typing import Any, TextIO

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_BOX_DRAWING = "─┬├└→×–⋮"


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add the option ``--json [FILE]``."""
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write everything as JSON to FILE, or to standard output in place of the text",
    )


def refuse(command: str, error: Exception) -> int:
    """Say what is wrong with the arguments; return the exit code for that."""
    print(f"groupconv {command}: {error}", file=sys.stderr)
    return EXIT_USAGE


def write_json(content: Any, target: str) -> None:
    """Write JSON to a file, or to standard output for ``"-"``."""
    text = json.dumps(content, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        pathlib.Path(target).write_text(text, encoding="utf-8")


def shows_color(stream: TextIO) -> bool:
    """Tell whether colours make sense: a terminal that does not refuse them (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shows_box_drawing(stream: TextIO) -> bool:
    """Tell whether the stream's encoding has the characters of a drawing."""
    try:
        _BOX_DRAWING.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
