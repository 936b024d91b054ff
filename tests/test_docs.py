"""Documentation that runs: every code block of the pages and the README, every docstring example.

Blocks in ``python`` and ``pycon`` run in the order of their page, in one namespace per page; what a
``pycon`` block shows has to come out. Of ``console`` and ``sh`` blocks the project's own commands
run, and the extras of ``pip install`` have to exist. ``c`` blocks are programs, built with the core
and run. Whatever else is fenced has to be marked as mere text.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import groupconv
from groupconv import cli

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (*ROOT.glob("docs/**/*.md"), *ROOT.glob("README.md"))
    if "_build" not in page.parts
)
MODULES = sorted(module.name for module in pkgutil.walk_packages(groupconv.__path__, "groupconv."))
EXAMPLES = ("alexnet_paths", "resnext_block")

MERE_TEXT = ("text", "toml", "json")
OPTIONAL = {
    "torch",
    "onnx",
    "onnxruntime",
    "dask",
    "distributed",
    "matplotlib",
    "tqdm",
    "ml_dtypes",
}
# Commands that set up or check a whole checkout: continuous integration runs them.
NOT_RUN = ("cd", "git", "source", ".", "pytest", ".ci/run", "sphinx-build", "asv")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page that opens it."""

    language: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """Fenced blocks of a page; those of directives such as ``{connections}`` are no code."""
    fence, language, begin = "", "", 0
    lines: list[str] = []
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        opening = re.match(r"\s*(`{3,}|:{3,})\s*(\S*)", line)
        if opening and not fence:
            fence, language, begin, lines = opening[1], opening[2], number, []
        elif fence and line.strip() == fence:
            if not language.startswith("{"):
                yield Block(language, "\n".join(lines) + "\n", begin)
            fence = ""
        else:
            lines.append(line)
    assert not fence, f"{page}: the block of line {begin} has no end"


def missing_modules(code: str) -> set[str]:
    """Optional packages that some code imports and that are not installed."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.removeprefix("groupconv.interop."))
    optional = {name.split(".")[0] for name in names} & OPTIONAL
    return {name for name in optional if importlib.util.find_spec(name) is None}


def run_session(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """Run a ``pycon`` block; what it shows has to come out."""
    test = doctest.DocTestParser().get_doctest(block.text, namespace, page, page, block.line)
    failures: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=failures.append, clear_globs=False)
    assert not failures, "".join(failures)
    namespace.update(test.globs)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks(page: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = [block.text for block in blocks(page) if block.language == "python"]
    missing = set().union(*map(missing_modules, code))
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, page, "exec"), namespace)
        elif block.language == "pycon":
            run_session(block, page, namespace)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_tested(page: str) -> None:
    known = ("python", "pycon", "console", "sh", "c", *MERE_TEXT)
    unknown = [(b.line, b.language) for b in blocks(page) if b.language not in known]
    assert not unknown


def commands() -> Iterator[tuple[str, str]]:
    """Commands of console blocks (after ``$``) and sh blocks, with their page."""
    for page in PAGES:
        for block in blocks(page):
            lines = block.text.replace("\\\n", " ").splitlines()
            if block.language == "console":
                lines = [line[2:] for line in lines if line.startswith("$ ")]
            elif block.language != "sh":
                continue
            for line in lines:
                for command in re.split(r" && ", line.split("  #")[0].strip()):
                    if command and not command.startswith("#"):
                        yield page, command


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_commands(page: str, command: str, tmp_path: pathlib.Path) -> None:
    words = shlex.split(command)
    environment = dict(os.environ)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    match words:
        case ["pip", *_] | ["python", "-m", "pip", *_]:
            _check_extras(command)
            return
        case ["groupconv", *arguments] if _takes_long(arguments):
            assert callable(cli.parser().parse_args(arguments).run)
            return
        case ["groupconv", *arguments]:
            program = ["-m", "groupconv", *arguments]
        case ["python", script] if pathlib.Path(script).parent == pathlib.Path("examples"):
            assert (ROOT / script).is_file()  # each example has a test of its own
            return
        case _:
            assert words[0] in NOT_RUN or words[:3] == ["python", "-m", "pytest"]
            return
    ran = subprocess.run(
        [sys.executable, *program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def _takes_long(arguments: list[str]) -> bool:
    """A demo, and a race of all layers, have tests of their own: here their options are parsed."""
    races = arguments[0] == "bench" and not {"--only", "--list"} & set(arguments)
    return arguments[0] == "demo" or races


def _check_extras(command: str) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) *=", section, re.MULTILINE))
    for named in re.findall(r"\[([\w,]+)\]", command):
        assert set(named.split(",")) <= extras


C_PROGRAMS = [(page, block) for page in PAGES for block in blocks(page) if block.language == "c"]


@pytest.mark.parametrize(
    ("page", "block"), C_PROGRAMS, ids=[f"{page}:{block.line}" for page, block in C_PROGRAMS]
)
def test_c_programs(
    page: str, block: Block, core_objects: list[str], tmp_path: pathlib.Path
) -> None:
    """Build the program with the core and run it."""
    core = ROOT / "src" / "groupconv_c"
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(block.text, encoding="utf-8")
    flags = ["-std=gnu11", "-O0", "-Wall", "-Wextra", "-Werror", f"-I{core}"]
    built = subprocess.run(
        ["gcc", *flags, "-fopenmp", source, *core_objects, "-lm", "-o", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:  # an optional package; its message names the extra
        pytest.skip(str(error))
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS, verbose=False)
    assert results.failed == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_about_groups(name: str) -> None:
    """They hold themselves to their papers' numbers."""
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "parameters" in ran.stdout


def test_architecture_names_what_there_is() -> None:
    """Folders, algorithms and their files, as they are in the tree."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w.]+)\.c` \|", text, re.MULTILINE))
    sources = (ROOT / "src" / "groupconv_c" / "algorithms").glob("*.c")
    defined = {
        s.stem for s in sources if re.search(r"^ *const gc_algorithm gc_[\w#]", s.read_text(), re.M)
    }
    assert listed == defined
    for folder in re.findall(r"^\| `([\w./]+)/`", text, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
