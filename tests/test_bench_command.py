"""The command ``groupconv bench``: its options, what it prints and writes."""

from __future__ import annotations

import argparse
import ctypes
import io
import itertools
import json
import math
from typing import Any

import pytest
from bench_helpers import TINY, result_of

from groupconv.bench import chart, cli, floor, layer_race, peers, progress, report
from groupconv.bench.quiet import quiet_stdout
from groupconv.bench.suite import Layer, parse

pytestmark = pytest.mark.usefixtures("threads_of_pytorch")


def arguments(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(texts)


# What is printed and written


def test_table() -> None:
    table = report.Table([peers.PEERS["torch"], peers.PEERS["ncnn"]])
    result = result_of(TINY["conv2d"], error=5e-4, torch=0.0125, ncnn=0.004, groupconv=0.002)
    header, row = table.header(), table.row(result)
    assert len(header) == len(row)
    for name, cell in (("torch", "12.500"), ("ncnn", "~4.000"), ("groupconv", "2.000")):
        assert header.index(name) + len(name) == row.index(cell) + len(cell)
    assert row.split()[-4:] == ["0", "6.25", "6.25", "50%"]
    failed = layer_race.Result(parse(TINY["conv3d"]), {}, {}, {"torch": "no"}, 0.001, "memory")
    assert table.row(failed).split()[2:] == ["failed", *"-------"]


def test_summary() -> None:
    lines = report.summary(
        [
            result_of(TINY["conv2d"], torch=0.008, ncnn=0.004, groupconv=0.002),
            result_of(TINY["conv2d"], torch=0.004, ncnn=0.001, groupconv=0.002),
            layer_race.Result(parse(TINY["conv3d"]), {}, {}, {"ncnn": "no"}, 0.001, "memory"),
        ]
    )
    assert "peer/gc   1.00, torch/gc   2.83, floor   0.50" in lines[0]
    assert lines[0].endswith("worst peer/gc   0.50, ahead on 1/2")
    assert lines[1] == "failed: test/conv3d ncnn: no"
    both = {"torch_channels_last": 0.004, "groupconv_channels_last": 0.001}
    lines = report.summary([result_of(TINY["conv2d"], **both, groupconv=0.002)])
    assert lines[1] == "channels_last geometric mean: torch/gc   4.00; worst   4.00, 1 layers"


def test_chart_has_a_bar_for_every_layer(tmp_path: Any) -> None:
    results = [
        result_of(TINY["conv1d"], torch=0.008, ncnn=0.004, groupconv=0.002),
        result_of(TINY["conv2d"], torch=0.001, groupconv=0.002),
        result_of(TINY["conv3d"], groupconv=0.002),  # nobody to compare with
    ]
    figure = chart.draw_chart(results, "a machine")
    (axes,) = figure.axes
    bars = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert bars == [(1, 1.0), (1, -0.5)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["test/conv1d", "test/conv2d"]
    chart.save_chart(results, "a machine", tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no layer"):
        chart.draw_chart(results[2:], "a machine")


def test_quiet_stdout_silences_c_libraries(capfd: pytest.CaptureFixture[str]) -> None:
    libc = ctypes.CDLL(None)
    print("before")
    with quiet_stdout():
        libc.puts(b"a banner")
    libc.puts(b"after")
    libc.fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"


def test_progress_by_lines_and_by_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = io.StringIO()
    for stream, expected in ((io.StringIO(), "[1/2] first\n[2/2] second\n"), (Terminal(), None)):
        with progress.Progress(2, "layer", stream) as shown:
            for name in ("first", "second"):
                shown.begin(name)
                shown.print(f"row {name}", out)
        if expected:
            assert stream.getvalue() == expected
        else:
            assert "second:" in stream.getvalue()
            assert "1/2" in stream.getvalue()
    assert out.getvalue() == "row first\nrow second\n" * 2


# The command


def test_command_writes_table_json_and_chart(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found, picture = tmp_path / "found.json", tmp_path / "chart.png"
    options = ["--only", "mobilenetv2.7,dense/post", "--peers", "torch", "--seconds", "0.01"]
    args = arguments(*options, "--json", str(found), "--png", str(picture))
    assert cli.run(args) == cli.EXIT_OK
    printed = capsys.readouterr()
    rows = [line for line in printed.out.splitlines() if line.startswith(("depthwise/", "dense/"))]
    assert len(rows) == 2
    assert printed.err.splitlines() == ["[1/2] depthwise/mobilenetv2.7", "[2/2] dense/post.3to3"]
    written = json.loads(found.read_text())
    assert [row["layer"] for row in written["layers"]] == [
        "depthwise/mobilenetv2.7",
        "dense/post.3to3",
    ]
    first = written["layers"][0]
    times = {name: entry["seconds"] for name, entry in first["contenders"].items()}
    assert first["speedup_over_torch"] == pytest.approx(times["torch"] / times["groupconv"])
    assert first["floor_fraction"] == pytest.approx(first["floor_seconds"] / times["groupconv"])
    assert first["contenders"]["groupconv"]["gflops"] == pytest.approx(
        first["gflop"] / times["groupconv"]
    )
    assert written["machine"]["threads"] == 1
    assert math.isfinite(written["machine"]["gflops"]["float32"])
    assert picture.stat().st_size > 5000


def test_command_without_peers_and_with_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments("--only", "mobilenetv2.7", "--peers", "", "--seconds", "0.01", "--json", "-")
    assert cli.run(args) == cli.EXIT_OK
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)["layers"][0]["contenders"]) == [
        "groupconv",
        "groupconv_channels_last",
    ]
    assert "depthwise/mobilenetv2.7" in printed.err


def test_command_passes_threads_and_seconds_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(layer: Layer, racing: Any, limits: floor.Floor, seconds: float) -> layer_race.Result:
        seen.append((limits.threads, seconds))
        return result_of(TINY["conv2d"], groupconv=0.002)

    monkeypatch.setattr(cli, "race_layer", record)
    options = ("--only", "mobilenetv2.7", "--peers", "", "--threads", "3", "--seconds", "0.5")
    assert cli.run(arguments(*options)) == cli.EXIT_OK
    assert seen == [(3, 0.5)]


def test_command_fails_when_we_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = layer_race.Result(parse(TINY["conv2d"]), {}, {}, {"groupconv": "no"}, 0.001, "memory")
    monkeypatch.setattr(cli, "race_layer", lambda *_: failed)
    assert cli.run(arguments("--only", "mobilenetv2.7", "--peers", "")) == cli.EXIT_FAILED
    assert "failed: test/conv2d groupconv: no" in capsys.readouterr().out


def test_interrupted_command_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    turns = itertools.count()

    def interrupted(*_: Any) -> layer_race.Result:
        if next(turns):
            raise KeyboardInterrupt
        return result_of(TINY["conv2d"], groupconv=0.002)

    monkeypatch.setattr(cli, "race_layer", interrupted)
    found = tmp_path / "found.json"
    with pytest.raises(KeyboardInterrupt):
        cli.run(arguments("--only", "depthwise", "--peers", "", "--json", str(found)))
    assert len(json.loads(found.read_text())["layers"]) == 1


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments("--list", "--only", "conv3d")) == cli.EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "conv3d/x3d_s",
        "conv3d/resnext3d",
        "conv3d/conv3d_stem_groups8",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nothing"), "'nothing' is in the name of no layer"),
        (("--peers", "trch"), "'trch' is no peer; the peers are torch,"),
        (("--json", "/no/such/folder/a.json"), "the folder of '/no/such/folder/a.json'"),
        (("--png", "/no/such/folder/a.png"), "the folder of '/no/such/folder/a.png'"),
    ],
)
def test_wrong_options(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments(*options)) == cli.EXIT_USAGE
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("option", ["--threads=0", "--seconds=0", "--seconds=nan", "--threads=x"])
def test_numbers_are_checked(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments(option)
    assert option.partition("=")[0] in capsys.readouterr().err


def test_a_peer_asked_for_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.PEERS["ncnn"], "modules", ("no_such_module",), raising=False)
    with pytest.raises(ValueError, match=r"ncnn is not installed: pip install ncnn"):
        peers.choose("ncnn")
    assert "ncnn" not in [peer.name for peer in peers.choose(None)]
    (missing,) = (line for line in report.heading([], 1) if line.startswith("not installed: "))
    assert "ncnn" in missing.removeprefix("not installed: ").split(", ")
