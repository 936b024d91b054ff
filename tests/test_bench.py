"""The race of ``groupconv bench``: its layers, its clock, its floor, its gate."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench_helpers import TINY, result_of

import groupconv
from groupconv import _core, reference
from groupconv.bench import floor, layer_race, peers, timing, truth
from groupconv.bench.arrays import draw
from groupconv.bench.suite import SUITE, Layer, parse, select

pytestmark = pytest.mark.usefixtures("threads_of_pytorch")


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


def test_ratios() -> None:
    result = result_of(TINY["conv2d"], torch=0.009, ncnn=0.004, groupconv=0.002)
    assert result.fastest_peer == "ncnn"
    assert result.speedup_over("ncnn") == 2
    assert result.speedup_over("torch") == 4.5
    assert result.floor_fraction == 0.5
    assert result.speedup_over("mnn") is None
    coarse = result_of(TINY["conv2d"], error=5e-4, torch=0.009, ncnn=0.004, groupconv=0.002)
    assert coarse.fastest_peer == "torch"
