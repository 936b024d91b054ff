"""The command line: what it prints where, its JSON, its exit codes, Ctrl-C and colours."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

import groupconv
from groupconv import cli

ARTICLE = ["explain", "--in", "8", "--out", "4", "--groups", "4", "--kernel", "5"]
SMALL = ["explain", "--in", "8", "--out", "8", "--kernel", "3", "--input", "8,8"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "groupconv", *arguments]


def environment(**changes: str) -> dict[str, str]:
    """The variables of this process without those that decide about colours and encodings."""
    dropped = ("NO_COLOR", "PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "GROUPCONV_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "TERM": "xterm", "PYTHONUTF8": "1", **changes}


def open_terminal() -> tuple[int, int]:
    """Both ends of a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return ours, theirs


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What ``explain ... --json`` writes, after checking that it is all it writes."""
    assert cli.main(["explain", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


@pytest.mark.parametrize("arguments", [[], ["demo"], ["explain"], ["bench"], ["info"]], ids=str)
def test_help(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: groupconv{' ' * bool(arguments)}{''.join(arguments)}")
    assert len(text.splitlines()) > 5
    if arguments:
        assert "--json" in text
    else:
        assert all(name in text for name in ("demo", "explain", "bench", "info", "130"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"groupconv {groupconv.__version__}\n"


def test_explain_prints_the_drawing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(ARTICLE) == 0
    c = groupconv.connections(8, 4, 4, 5)
    assert capsys.readouterr().out == f"{c}\n"


def test_explain_with_an_input_prints_costs_and_plan(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*ARTICLE, "--input", "1,8,224,224", "--threads", "1", "--time"]
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no progress where nobody watches
    for line in (
        r"input +\(1, 8, 224, 224\) float32",
        r"output +\(1, 4, 220, 220\)",
        r"MACs +9,680,000; dense 38,720,000",
        r"algorithm +\w+",
        r"predicted +[\d.]+ ms",
        r"measured +[\d.]+ ms on 1 thread",
    ):
        assert re.search(f"^{line}", captured.out, re.MULTILINE), line


def test_explain_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    content = explained(capsys, *ARTICLE[1:])
    assert content["weight_shape"] == [4, 2, 5, 5]
    assert content["bias_shape"] == [4]
    assert (content["parameters"], content["dense_parameters"]) == (204, 804)
    assert content["kind"] == "grouped"
    assert content["valid_groups"] == [1, 2, 4]
    assert content["paths"][1] == {"inputs": [2, 3], "outputs": [1, 1]}
    assert "run" not in content


def test_explain_run_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    run = explained(capsys, *SMALL[1:], "--threads", "1", "--time")["run"]
    layer = groupconv.Conv2d(8, 8, 3)
    plan = layer.plan((1, 8, 8, 8))
    assert run["input_shape"] == [1, 8, 8, 8]
    assert run["output_shape"] == [1, 8, 6, 6]
    assert run["macs"] == plan.macs == 8 * 8 * 9 * 36
    assert run["algorithm"] == plan.algorithm
    assert run["isa"] == plan.isa
    assert run["threads"] == 1
    assert 0 < run["predicted_seconds"] < 1
    assert 0 < run["measured_seconds"] < 1


def test_compare_covers_every_valid_number_of_groups(capsys: pytest.CaptureFixture[str]) -> None:
    content = explained(capsys, *SMALL[1:], "--compare")
    comparison = content["comparison"]
    assert [entry["groups"] for entry in comparison] == groupconv.valid_groups(8, 8)
    assert [entry["macs"] for entry in comparison] == [
        content["run"]["macs"] // entry["groups"] for entry in comparison
    ]
    assert all(entry["measured_seconds"] > 0 for entry in comparison)


def test_compare_as_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "--compare"]) == 0
    rows = capsys.readouterr().out.splitlines()[-4:]
    assert [row.split()[0] for row in rows] == ["1", "2", "4", "8"]
    assert "(8, 1, 3, 3)" in rows[-1]


@pytest.mark.parametrize(
    ("arguments", "input_shape", "output_shape"),
    [
        (["--kernel", "3,5", "--input", "8,9"], [1, 8, 8, 9], [1, 4, 6, 5]),
        (["--kernel", "3", "--dims", "1", "--input", "2,8,9"], [2, 8, 9], [2, 4, 7]),
        (["--kernel", "3", "--dims", "1", "--input", "9", "--padding", "causal"], None, [1, 4, 9]),
        (["--kernel", "2,2,2", "--input", "8,4,4,4"], [1, 8, 4, 4, 4], [1, 4, 3, 3, 3]),
        (
            ["--kernel", "3", "--stride", "2", "--padding", "1,0", "--input", "9,9"],
            None,
            [1, 4, 5, 4],
        ),
        (
            ["--kernel", "3", "--dilation", "2", "--padding", "same", "--input", "9,9"],
            None,
            [1, 4, 9, 9],
        ),
        (
            ["--kernel", "3", "--transposed", "--stride", "2", "--input", "9,9"],
            None,
            [1, 4, 19, 19],
        ),
        (
            ["--kernel", "3", "--dtype", "float64", "--no-bias", "--input", "9,9"],
            None,
            [1, 4, 7, 7],
        ),
    ],
    ids=str,
)
def test_explain_takes_every_geometry(
    arguments: list[str],
    input_shape: list[int] | None,
    output_shape: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = explained(capsys, "--in", "8", "--out", "4", "--groups", "2", *arguments)
    assert content["run"]["output_shape"] == output_shape
    if input_shape is not None:
        assert content["run"]["input_shape"] == input_shape
    assert content["transposed"] == ("--transposed" in arguments)
    assert (content["bias_shape"] is None) == ("--no-bias" in arguments)


def test_explain_writes_files(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, png, out = (tmp_path / name for name in ("a.svg", "a.png", "a.json"))
    assert cli.main([*ARTICLE, "--svg", str(svg), "--png", str(png), "--json", str(out)]) == 0
    assert "in 0" in capsys.readouterr().out  # JSON in a file leaves the text where it was
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert json.loads(out.read_text())["groups"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["explain"], "required: --in, --out"),
        (["explain", "--in", "eight", "--out", "4"], "invalid int value: 'eight'"),
        (["explain", "--in", "8", "--out", "4", "--groups", "3"], "valid groups: 1, 2, 4"),
        (["explain", "--in", "8", "--out", "4", "--kernel", "5x5"], "'5x5' is no list of whole"),
        (["explain", "--in", "8", "--out", "4", "--kernel", "3,5", "--dims", "3"], "2 sizes for 3"),
        (["explain", "--in", "8", "--out", "4", "--time"], "need the shape of an --input"),
        ([*ARTICLE, "--input", "4,4"], "does not fit"),
        ([*ARTICLE, "--input", "1,4,9,9"], "must have 8 channels"),
        ([*ARTICLE, "--input", "9,9", "--threads", "0"], "--threads must be a whole number"),
        ([*ARTICLE, "--input", "9,9", "--padding", "SAME"], "'SAME' is no list of whole"),
        ([*SMALL, "--padding", "causal"], "padding='causal' is for conv1d"),
    ],
    ids=str,
)
def test_wrong_arguments_are_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(arguments)
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.out == ""


def test_failures_are_code_1(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "no such folder" / "a.svg"
    assert cli.main([*ARTICLE, "--svg", str(missing)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("groupconv explain: ")
    assert "no such folder" in error
    assert len(error.splitlines()) == 1


def test_png_without_matplotlib_is_code_1(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delitem(sys.modules, "groupconv._plot", raising=False)
    assert cli.main([*ARTICLE, "--png", str(tmp_path / "a.png")]) == 1
    assert "groupconv[plot]" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["info"], ARTICLE], ids=["info", "explain"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GROUPCONV_ISA", "avx1024", "GROUPCONV_ISA is 'avx1024'"),
        ("GROUPCONV_NUM_THREADS", "many", "GROUPCONV_NUM_THREADS must be"),
    ],
)
def test_wrong_environment_is_code_2(
    arguments: list[str], name: str, value: str, message: str
) -> None:
    ran = subprocess.run(
        command(*arguments),
        env=environment(**{name: value}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert message in ran.stderr
    assert ran.stdout == ""


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert groupconv.__version__ in text
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["groupconv"] == groupconv.__version__
    assert facts["isa"]["in use"] in facts["isa"]["detected"]


def test_ctrl_c_is_code_130_without_a_traceback() -> None:
    """Interrupted in the middle of a measurement, which shows its progress on a terminal."""
    terminal, stderr = open_terminal()
    # A test run in the background may have been told to ignore Ctrl-C, and its children with it.
    code = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('groupconv', run_name='__main__')"
    )
    arguments = ["explain", "--in", "64", "--out", "64", "--kernel", "3", "--input", "112,112"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--compare"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        os.close(stderr)
        seen = _read_until(terminal, "round 1")
        process.send_signal(signal.SIGINT)
        seen += _read_until(terminal, "interrupted")
        out = process.communicate(timeout=60)[0]
    os.close(terminal)
    assert process.returncode == 130
    assert "groupconv: interrupted" in seen
    assert "Traceback" not in seen
    assert out == ""


def test_a_reader_that_leaves_is_no_crash() -> None:
    arguments = ["explain", "--in", "64", "--out", "64", "--groups", "64"]
    with subprocess.Popen(
        command(*arguments),
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("changes", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_on_a_terminal_only(changes: dict[str, str], colored: bool) -> None:
    terminal, stdout = open_terminal()
    with subprocess.Popen(command(*ARTICLE), env=environment(**changes), stdout=stdout) as process:
        os.close(stdout)
        text = _read_until(terminal, "out 3")
    os.close(terminal)
    assert process.returncode == 0
    assert ("\x1b[" in text) == colored
    piped = subprocess.run(
        command(*ARTICLE), env=environment(**changes), capture_output=True, text=True, check=True
    )
    assert "\x1b[" not in piped.stdout


def test_a_terminal_without_box_drawing_gets_ascii() -> None:
    ran = subprocess.run(
        command(*ARTICLE),
        env=environment(PYTHONUTF8="0", PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=True,
    )
    assert b"in 0 -+- (2, 5, 5) --- out 0" in ran.stdout


def _read_until(terminal: int, text: str) -> str:
    """Read from a terminal until it has shown `text`, or its other end is closed."""
    seen = ""
    while text not in seen:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        seen += chunk.decode(errors="replace")
    return seen
