"""The C core without Python: the test program of ``tests/c``, the header alone, every compiler."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from c_building import building

import groupconv
from groupconv import _core

FOLDER = pathlib.Path(__file__).parent / "c"
CORE = FOLDER.parents[1] / "src" / "groupconv_c"
SOURCES = sorted(CORE.rglob("*.c"))


def algorithms() -> set[str]:
    """Names of all algorithms, as their files define them."""
    text = "".join(source.read_text() for source in (CORE / "algorithms").glob("*.c"))
    named = re.findall(r'(?:\.name = |^WINOGRAD\w*\(\w+, )"(\w+)"', text, re.MULTILINE)
    assert "winograd_4x4" in named
    return set(named)


@pytest.fixture(scope="module")
def program(core_objects: list[str], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The test program of ``tests/c``."""
    path = tmp_path_factory.mktemp("c") / "test_groupconv"
    building.build(path, core=core_objects)
    return path


CAPPED = os.environ.get("GROUPCONV_ISA")


@pytest.mark.parametrize("isa", [CAPPED] if CAPPED else _core.isa_available())
def test_program(isa: str, program: pathlib.Path) -> None:
    """It passes, and has run every algorithm."""
    ran = subprocess.run(
        [program],
        # threads that wait leave the processor to other tests
        env=os.environ | {"GROUPCONV_ISA": isa, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    line, verdict = ran.stdout.splitlines()
    assert verdict == "passed"
    name, text = line.split(": ")
    assert name == isa
    counts = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)\b", text)}
    assert len(algorithms()) > 4
    assert algorithms() <= counts.keys()
    assert counts["once"] > 0


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [(), ("-fopenmp",)], ids=["serial", "openmp"])
def test_no_warnings(compiler: str, flags: tuple[str, ...]) -> None:
    """With and without OpenMP; what optimisers warn of, the other builds would show."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, *building.STRICT, *flags, "-fsyntax-only", *map(str, SOURCES)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("language", ["c", "c++"])
def test_header_alone(language: str, tmp_path: pathlib.Path) -> None:
    """It needs no other, in standard C and C++, and names nothing but gc_ and GC_ things."""
    compiler = shutil.which("g++" if language == "c++" else "gcc")
    if compiler is None:
        pytest.skip("g++ is not installed")
    standard = "-std=c++11" if language == "c++" else "-std=c11"
    program = tmp_path / "program"
    program.write_text('#include "groupconv.h"\nint main(void) { return GC_OK; }\n')
    command = [compiler, "-x", language, standard, "-pedantic-errors", "-Wall", "-Werror"]
    checked = subprocess.run(
        [*command, "-I", groupconv.get_include(), "-fsyntax-only", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    text = re.sub(r"/\*.*?\*/", "", (CORE / "groupconv.h").read_text(), flags=re.DOTALL)
    declared = re.findall(r"^#define (\w+)|^\} (\w+);|^[^#\n]*?(\w+)\(", text, re.MULTILINE)
    names = {name for found in declared for name in found if name}
    assert len(names) > 20
    assert all(re.match("gc_|GC_|GROUPCONV_H", name) for name in names), names


def test_every_function_of_the_header_exists(core_objects: list[str]) -> None:
    """Each declared function is defined, and no other name without gc_ is seen by a program."""
    text = re.sub(r"/\*.*?\*/", "", (CORE / "groupconv.h").read_text(), flags=re.DOTALL)
    declared = set(re.findall(r"(\bgc_\w+)\(", text))
    listed = subprocess.run(
        ["nm", "--defined-only", "--extern-only", "--no-sort", "--format=posix", *core_objects],
        capture_output=True,
        text=True,
        check=True,
    )
    defined = {line.split()[0] for line in listed.stdout.splitlines() if not line.endswith(":")}
    assert declared <= defined
    assert all(name.startswith("gc_") for name in defined), defined
