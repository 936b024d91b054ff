"""The command ``groupconv``: demo, explain, bench and info.

Exit codes: 0 all is well; 1 something failed; 2 the arguments are wrong; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from groupconv import __version__, demo
from groupconv.bench import cli as bench
from groupconv.commands import explain, info

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130

_DESCRIPTION = "Convolutions with groups on CPUs: see what they connect, and how fast they are."
_EPILOG = """\
examples:
  groupconv explain --in 8 --out 4 --groups 4 --kernel 5
  groupconv explain --in 256 --out 256 --groups 32 --kernel 3 --input 28,28 --time
  groupconv bench --only resnext --threads 1
  groupconv info --json

'groupconv COMMAND --help' tells more. Exit codes: 0 all is well, 1 something failed, 2 the
arguments are wrong, 130 stopped by Ctrl-C. NO_COLOR=1 turns colours off."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit code.
    """
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print("\ngroupconv: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (ImportError, OSError, MemoryError, RuntimeError) as error:
        print(f"groupconv {args.command}: {error or type(error).__name__}", file=sys.stderr)
        return EXIT_FAILED


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; parsed arguments have ``command`` and ``run``."""
    top = argparse.ArgumentParser(
        prog="groupconv",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"groupconv {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module, summary in (
        ("demo", demo, "run the cases everybody starts with, then real networks"),
        ("explain", explain, "what a convolution connects, costs and takes"),
        ("bench", bench, "race layers of real networks against other libraries"),
        ("info", info, "version, instruction sets and threads"),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=(module.__doc__ or "").replace("``", "'"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top
