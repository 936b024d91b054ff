"""Build the C test program: the C core and this folder's files, by one compiler.

python tests/c/build.py --output test_groupconv --compiler gcc -- -O1 -fopenmp
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parents[1] / "src" / "groupconv_c"
STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Wvla", "-Werror", "-ffp-contract=off")


def build(
    program: pathlib.Path,
    compiler: str = "gcc",
    flags: Sequence[str] = ("-O1", "-fopenmp"),
    core: Sequence[str] = (),
) -> None:
    """Compile every file, several at a time, and link; the core's not if there are its objects.

    Raises
    ------
    RuntimeError
        With the compiler's messages, which include warnings.
    """
    with tempfile.TemporaryDirectory() as folder:
        sources = [*(() if core else CORE.rglob("*.c")), *HERE.glob("*.c")]
        objects = compile_all(sources, pathlib.Path(folder), compiler, flags)
        _run([*compiler.split(), *flags, *objects, *core, "-lm", "-pthread", "-o", str(program)])


def compile_all(
    sources: Sequence[pathlib.Path], folder: pathlib.Path, compiler: str, flags: Sequence[str]
) -> list[str]:
    """Compile files, several at a time, and return the objects' paths.

    Raises
    ------
    RuntimeError
        With the compiler's messages, which include warnings.
    """
    command = [*compiler.split(), *STRICT, *flags, f"-I{CORE}"]
    sources = sorted(sources, key=lambda path: "isa_" not in path.name)  # the longest first
    objects = [f"{folder}/{number}.o" for number in range(len(sources))]
    steps = [
        [*command, "-c", str(source), "-o", made]
        for source, made in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, steps))
    return objects


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--compiler", default="gcc")
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    try:
        build(arguments.output, arguments.compiler, arguments.flags)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
