"""The race of ``groupconv bench``: its layers, its clock, its gate, its reports."""

from __future__ import annotations

import argparse
import ctypes
import io
import itertools
import json
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import groupconv
from groupconv import _core, reference
from groupconv.bench import chart, cli, floor, layer_race, peers, progress, report, timing, truth
from groupconv.bench.arrays import draw
from groupconv.bench.quiet import quiet_stdout
from groupconv.bench.suite import SUITE, Layer, parse, select

TINY = {
    "conv1d": "test/conv1d conv1d 2x6x11 4x3x3 s2 p1 g2",
    "conv2d": "test/conv2d conv2d 2x6x9x7 9x2x3x2 s2,1 p1,0 d1,2 g3",
    "conv3d": "test/conv3d conv3d 1x4x5x4x6 4x1x2x3x1 p0,1,0 g4",
    "transposed": "test/transposed conv_transpose2d 1x4x5x3 4x2x3x2 s2,3 p1,0 g2 op1,0",
    "float64": "test/float64 conv2d 1x4x6x6 4x4x3x3 p1 float64",
    "grad_input": "test/grad_input conv2d_input 2x4x7x7 6x2x3x3 s2 p1 g2",
    "grad_weight": "test/grad_weight conv2d_weight 2x4x7x7 6x2x3x3 p2 d2 g2",
}


class FakePeer(peers.Peer):
    """A peer whose answer is the truth, spoilt to order."""

    distribution = "numpy"
    modules = ()

    def __init__(self, name: str, spoil: Callable[[np.ndarray], Any] = np.asarray):
        self.name, self._spoil = name, spoil

    def accepts(self, layer: Layer) -> bool:
        return self.name != "lacks"

    def build(self, layer: Layer, arrays: Any, threads: int) -> peers.Contender:
        answer = truth.by_reference(layer, arrays.astype("float64"))
        return peers.Contender(lambda: answer, self._spoil)


def spoilt(relative: float) -> Callable[[np.ndarray], np.ndarray]:
    """Adds an error, relative to the largest output, to one of the outputs."""

    def spoil(answer: np.ndarray) -> np.ndarray:
        answer = answer.copy()
        answer.flat[0] += relative * np.abs(answer).max()
        return answer

    return spoil


def arguments(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(texts)


@pytest.fixture(autouse=True)
def threads_of_pytorch() -> Iterator[None]:
    """PyTorch races with as many threads as it is told, and keeps them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def known_floor(monkeypatch: pytest.MonkeyPatch) -> floor.Floor:
    """A machine of 100 GFLOP/s, half that in float64, that copies 10 GB/s whatever the size."""
    monkeypatch.setattr(_core, "peak_gflops", {"float32": 100.0, "float64": 50.0}.get)
    monkeypatch.setattr(_core, "copy_gbs", lambda size: 10.0)
    return floor.Floor()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes only when a contender or a pause says so."""

    class Clock:
        now = 0.0
        slept = 0.0

        def sleep(self, seconds: float) -> None:
            self.now += seconds
            self.slept += seconds

    fake = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: fake.now)
    monkeypatch.setattr(timing.time, "sleep", fake.sleep)
    return fake


# The layers


def test_suite_is_whole() -> None:
    families = [layer.family for layer in SUITE]
    counts = {family: families.count(family) for family in dict.fromkeys(families)}
    assert counts == {
        "grouped": 16,
        "depthwise": 13,
        "dense": 8,
        "conv1d": 3,
        "conv3d": 3,
        "transposed": 4,
        "float64": 2,
        "grad_input": 6,
        "grad_weight": 6,
    }
    assert len({layer.label for layer in SUITE}) == len(SUITE)
    assert {layer.dtype for layer in SUITE if layer.family == "float64"} == {"float64"}


@pytest.mark.parametrize("layer", SUITE, ids=lambda layer: layer.label)
def test_sizes_are_those_of_the_references(layer: Layer) -> None:
    find = reference.transposed_output_size if layer.transposed else reference.output_size
    sizes = layer.arguments()
    groups = sizes.pop("groups")
    assert layer.output[2:] == find(layer.input[2:], layer.weight[2:], **sizes)
    channels = layer.weight[1] * groups if layer.transposed else layer.weight[0]
    assert layer.output[:2] == (layer.input[0], channels)
    in_per_group = layer.weight[0] // groups if layer.transposed else layer.weight[1]
    assert layer.input[1] == in_per_group * groups


def test_work_is_that_of_the_plan() -> None:
    for layer in (layer for layer in SUITE if not layer.gradient and layer.input[0] == 1):
        kind = "ConvTranspose" if layer.transposed else "Conv"
        weight = np.zeros(layer.weight, layer.dtype)
        module = getattr(groupconv, f"{kind}{layer.ndim}d").from_weight(weight, **layer.arguments())
        assert layer.flops == 2 * module.plan(layer.input).macs, layer.label


def test_traffic_counts_every_array_once() -> None:
    layer = parse("test/layer conv2d 2x6x8x8 4x3x3x3 g2 float64")
    assert layer.output == (2, 4, 6, 6)
    assert layer.traffic == 8 * (2 * 6 * 64 + 4 * 3 * 9 + 2 * 4 * 36)


def test_parse_names_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"'x3' .*'test/layer'"):
        parse("test/layer conv2d 1x4x8x8 4x4x3x3 x3")


def test_select_by_parts() -> None:
    assert select("") == SUITE
    assert [layer.name for layer in select("alexnet, x3d")] == [
        "alexnet.conv2",
        "alexnet.conv4",
        "x3d_s",
    ]
    with pytest.raises(ValueError, match=r"'alxnet'.*grouped, depthwise"):
        select("alexnet,alxnet")


# The answers


@pytest.mark.parametrize("line", TINY.values(), ids=TINY)
def test_references_and_pytorch_agree_on_the_truth(line: str) -> None:
    layer = parse(line)
    arrays = draw(layer)
    expected = truth.by_reference(layer, arrays.astype("float64"))
    answer = truth.float64_truth(layer, arrays)
    assert answer.dtype == np.float64
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("line", TINY.values(), ids=TINY)
def test_our_contenders_answer_right(line: str) -> None:
    layer = parse(line)
    arrays = draw(layer)
    expected = truth.by_reference(layer, arrays.astype("float64"))
    accepted = [peer for peer in peers.OURS if peer.accepts(layer)]
    assert accepted
    for peer in accepted:
        contender = peer.build(layer, arrays, threads=1)
        answer = contender.read(contender.run())
        assert layer_race.relative_error(answer, expected) < 1e-5
        if peer.name.endswith("channels_last"):
            assert np.moveaxis(contender.run(), 1, -1).flags.c_contiguous


def test_drawn_arrays_repeat() -> None:
    layer = parse(TINY["grad_weight"])
    first, again, other = draw(layer), draw(layer), draw(layer, seed=8)
    np.testing.assert_array_equal(first.grad_output, again.grad_output)
    assert not np.array_equal(first.input, other.input)
    assert first.grad_output.shape == layer.output
    assert draw(parse(TINY["conv2d"])).bias.shape == (9,)
    assert draw(parse(TINY["float64"])).weight.dtype == np.float64


def test_installed_peers_agree() -> None:
    # In a process of its own: the libraries' thread pools and their fork handlers stay out of ours.
    layers = "mobilenetv2.7,post.8to4.groups4,post.3to3,conformer,depthwise_1d,resnext3d,stage1.f64"
    command = [sys.executable, "-m", "groupconv", "bench", "--only", layers]
    command += ["--seconds", "0.01", "--json", "-"]
    here = {"PYTHONPATH": str(pathlib.Path(groupconv.__file__).parents[1])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | here
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["failures"] for row in found["layers"]] == [{}] * 7, done.stderr
    installed = [peer for peer in peers.PEERS.values() if peer.installed()]
    assert set(found["versions"]) == {peer.name for peer in (*installed, *peers.OURS)}
    for row in found["layers"]:
        layer = next(layer for layer in SUITE if layer.label == row["layer"])
        racing = {peer.name for peer in (*installed, *peers.OURS) if peer.accepts(layer)}
        assert set(row["contenders"]) == racing


# The clock


def test_race_takes_turns(clock: Any) -> None:
    calls = []

    def contender(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            calls.append(name)
            clock.now += seconds

        return run

    timings = timing.race({"a": contender("a", 0.004), "b": contender("b", 0.012)}, seconds=0.16)
    assert {name: each.median for name, each in timings.items()} == pytest.approx(
        {"a": 0.004, "b": 0.012}
    )
    assert [len(each.samples) for each in timings.values()] == [10, 10]
    assert calls[6:] == ["a", "b"] * 10


def test_short_calls_share_a_sample(clock: Any) -> None:
    def run() -> None:
        clock.now += 0.00025

    timings = timing.race({"short": run}, seconds=1e-9)
    assert len(timings["short"].samples) == 5
    assert clock.now == pytest.approx(0.00025 * (3 + 5 * 8))
    assert timings["short"].median == pytest.approx(0.00025)


def test_median_and_fastest_sample() -> None:
    assert timing.Timing((3.0, 1.0, 8.0)).median == 3.0
    assert timing.Timing((3.0, 1.0, 8.0)).fastest == 1.0


def test_pools_may_fall_asleep_between_samples(clock: Any) -> None:
    def run() -> None:
        clock.now += 0.01

    timing.race({"one": run}, seconds=0.1, threads=1)
    assert clock.slept == 0
    timing.race({"two": run}, seconds=0.1, threads=2)
    assert clock.slept > 0


# The floor


def test_floor_is_the_larger_limit(known_floor: floor.Floor) -> None:
    heavy = parse("test/heavy conv2d 1x64x32x32 64x64x3x3 p1")
    light = parse("test/light conv2d 1x64x32x32 64x1x3x3 p1 g64")
    assert known_floor.seconds(heavy) == pytest.approx(heavy.flops / 100e9)
    assert known_floor.bound(heavy) == "arithmetic"
    assert known_floor.seconds(light) == pytest.approx(light.traffic / 10e9)
    assert known_floor.bound(light) == "memory"


def test_floor_knows_dtypes_and_threads(known_floor: floor.Floor) -> None:
    assert known_floor.peak("float64") == 50e9
    assert known_floor.peak("float16") == known_floor.peak("float32") == 100e9
    assert floor.Floor(threads=3).peak("float32") == 300e9
    assert known_floor.measured()["gflops"] == {"float64": 50.0, "float32": 100.0}


def test_copies_are_measured_at_the_size_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(_core, "copy_gbs", lambda size: asked.append(size) or 10.0)
    rates = floor.Floor()
    rates.copy_rate(2**20)
    rates.copy_rate(2**20 - 1)  # remembered
    rates.copy_rate(2**20 + 1)
    assert asked == [2**19, 2**20]


@pytest.mark.parametrize("threads", [1, 2])
def test_this_machine_can_be_measured(threads: int) -> None:
    rates = floor.Floor(threads)
    assert 1e8 < rates.peak("float64") < 1e14
    assert 1e8 < rates.copy_rate(1 << 20) < 1e14
    assert rates.seconds(SUITE[0]) > 0


# The race of one layer


def test_gate(known_floor: floor.Floor) -> None:
    racing = [
        FakePeer("right"),
        FakePeer("coarse", spoilt(5e-4)),
        FakePeer("wrong", spoilt(2e-3)),
        FakePeer("nan", lambda answer: answer * np.nan),
        FakePeer("misshapen", lambda answer: answer[:1]),
        FakePeer("raises", lambda answer: 1 / 0),
        FakePeer("lacks"),
    ]
    result = layer_race.race_layer(parse(TINY["conv2d"]), racing, known_floor, seconds=0.001)
    assert set(result.timings) == {"right", "coarse", "groupconv", "groupconv_channels_last"}
    assert set(result.failures) == {"wrong", "nan", "misshapen", "raises"}
    assert result.failures["raises"] == "ZeroDivisionError: division by zero"
    assert "wrong by 0.002 of the largest output" in result.failures["wrong"]
    assert "(1, 9, 5, 5) instead of (2, 9, 5, 5)" in result.failures["misshapen"]
    assert result.errors["coarse"] == pytest.approx(5e-4, rel=1e-3)
    assert not result.within_gate("coarse")
    assert result.fastest_peer == "right"


def test_everybody_gets_the_same_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Recording(FakePeer):
        def build(self, layer: Layer, arrays: Any, threads: int) -> peers.Contender:
            seen.append((threads, groupconv.get_num_threads()))
            return super().build(layer, arrays, threads)

    limits = floor.Floor(threads=3)
    monkeypatch.setattr(limits, "seconds", lambda layer: 1.0)
    monkeypatch.setattr(limits, "bound", lambda layer: "memory")
    layer_race.race_layer(parse(TINY["conv2d"]), [Recording("peer")], limits, 0.001)
    assert seen == [(3, 3)]


def test_our_own_answers_keep_the_stricter_gate(
    known_floor: floor.Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_race, "OURS", (FakePeer("groupconv", spoilt(5e-4)),))
    result = layer_race.race_layer(parse(TINY["conv2d"]), [FakePeer("right")], known_floor, 0.001)
    assert set(result.failures) == {"groupconv"}


def result_of(line: str, error: float = 1e-6, **seconds: float) -> layer_race.Result:
    """A result with given times, on a machine whose floor is one millisecond."""
    layer = parse(line)
    timings = {name: timing.Timing((value,)) for name, value in seconds.items()}
    errors = {name: error if name == "ncnn" else 1e-6 for name in seconds}
    return layer_race.Result(layer, timings, errors, {}, floor=0.001, bound="memory")


def test_ratios() -> None:
    result = result_of(TINY["conv2d"], torch=0.009, ncnn=0.004, groupconv=0.002)
    assert result.fastest_peer == "ncnn"
    assert result.speedup_over("ncnn") == 2
    assert result.speedup_over("torch") == 4.5
    assert result.floor_fraction == 0.5
    assert result.speedup_over("mnn") is None
    coarse = result_of(TINY["conv2d"], error=5e-4, torch=0.009, ncnn=0.004, groupconv=0.002)
    assert coarse.fastest_peer == "torch"


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
