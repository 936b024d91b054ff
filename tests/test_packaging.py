"""The package as it is installed and distributed: what it carries, needs, and promises."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

import groupconv

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = pathlib.Path(groupconv.__file__).parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
NOT_COPIED = (
    "_build",
    "build",
    "env",
    "results",
    "html",
    "__pycache__",
    "*.so",
    "*.egg-info",
    ".*",
)

# Everything outside of the standard library, NumPy and groupconv does as if it were not installed.
ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root not in ("numpy", "groupconv"):
            raise ModuleNotFoundError(name, name=root)

sys.meta_path.insert(0, Refuse())
import numpy as np
import groupconv as gc
from groupconv import cli
x = np.ones((1, 8, 9, 9), "float32")
assert gc.Conv2d(8, 4, 5, groups=4)(x).shape == (1, 4, 5, 5)
assert cli.main(["info"]) == 0
assert cli.main(["explain", "--in", "8", "--out", "4", "--groups", "4", "--kernel", "5"]) == 0
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the project's own files, to run setup.py in."""
    copy = tmp_path_factory.mktemp("packaging") / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    return copy


def setup(project: pathlib.Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run setup.py; PYTHONPATH would let it see packages that are not its own."""
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def files(folder: pathlib.Path, *patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in folder.rglob(pattern))
    return {path.relative_to(folder).as_posix() for path in found if "csrc" not in path.parts}


def test_version() -> None:
    stated = re.search(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)
    assert stated is not None
    assert groupconv.__version__ == stated[1]


def test_needs_nothing_but_numpy() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_sources_are_those_of_the_checkout() -> None:
    """What an installed package hands out to embed is complete and of this version."""
    core = ROOT / "src" / "groupconv_c"
    include = pathlib.Path(groupconv.get_include())
    assert (include / "groupconv.h").is_file()
    relative = [
        pathlib.Path(path).relative_to(include).as_posix() for path in groupconv.get_sources()
    ]
    assert relative == sorted(path.relative_to(core).as_posix() for path in core.rglob("*.c"))
    for path in core.rglob("*.[ch]"):
        assert (include / path.relative_to(core)).read_bytes() == path.read_bytes()


def test_types_are_installed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert files(PACKAGE, "*.pyi") == files(ROOT / "groupconv", "*.pyi") != set()


def test_wheel_carries_every_module(project: pathlib.Path, tmp_path: pathlib.Path) -> None:
    built = setup(project, "--quiet", "build_py", "--build-lib", str(tmp_path))
    assert built.returncode == 0, built.stderr
    kinds = ("*.py", "*.pyi", "py.typed")
    assert files(tmp_path / "groupconv", *kinds) == files(ROOT / "groupconv", *kinds)
    core = ROOT / "src" / "groupconv_c"
    assert files(tmp_path / "groupconv" / "csrc") == set()
    carried = {path.name for path in (tmp_path / "groupconv" / "csrc").rglob("*.[ch]")}
    assert carried == {path.name for path in core.rglob("*.[ch]")}
    assert {path.name for path in tmp_path.iterdir()} == {"groupconv"}


def test_source_distribution_is_complete(project: pathlib.Path, tmp_path: pathlib.Path) -> None:
    made = setup(project, "--quiet", "sdist", "--dist-dir", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = files(project, "*.py", "*.pyi", "*.pyx", "*.c", "*.h", "*.md", "*.json", "*.toml")
    wanted |= {"groupconv/py.typed", "LICENSE"}
    assert wanted - names == set()
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    assert "groupconv/_core.c" not in names


@pytest.mark.parametrize("required", ["0", "1"])
def test_without_openmp(required: str, project: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A compiler that knows no -fopenmp gives a warning, or an error where it is required."""
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    variables = {"CC": str(compiler), "GROUPCONV_REQUIRE_OPENMP": required}
    built = setup(project, "build_ext", "--build-lib", str(tmp_path / "lib"), **variables)
    assert built.returncode != 0  # this compiler compiles nothing at all
    assert "no OpenMP here" in built.stderr
    assert ("building for one thread" in built.stderr) == (required == "0")
    assert ("GROUPCONV_REQUIRE_OPENMP=1, but" in built.stderr) == (required == "1")


def test_extras_that_messages_name_exist() -> None:
    section = PYPROJECT.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "groupconv").rglob("*.py"))
    named = set(re.findall(r"groupconv\[(\w+)\]", text))
    assert named == {"bench", "dask", "demo", "onnx", "plot", "torch"}
    assert named <= extras
