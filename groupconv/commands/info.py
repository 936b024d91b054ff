"""Show the version, the instruction sets, OpenMP, threads and caches: what a bug report needs."""

from __future__ import annotations

import argparse

from groupconv._config import show_config
from groupconv.commands import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
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
        0, or 2 when an environment variable of the library has no meaning.

    Raises
    ------
    OSError
        When the JSON cannot be written.
    """
    try:
        facts = show_config(mode="dicts")
    except ValueError as error:
        return output.refuse("info", error)
    if args.json:
        output.write_json(facts, args.json)
    if args.json != "-":
        show_config()
    return output.EXIT_OK
