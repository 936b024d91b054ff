"""Every benchmark of ``asv_bench`` runs, at its smallest size, and measures what it says."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import groupconv
from groupconv import _core
from groupconv.bench.suite import SUITE

FOLDER = pathlib.Path(__file__).parents[1] / "asv_bench"
KINDS = re.compile(r"(time|timeraw|track|peakmem)_\w+")

sys.path.insert(0, str(FOLDER))
try:
    benchmarks = importlib.import_module("benchmarks")
    suite = importlib.import_module("benchmarks.suite")
    measure = importlib.import_module("benchmarks.measure")
    MODULES = [
        importlib.import_module(f"benchmarks.{found.name}")
        for found in pkgutil.iter_modules(benchmarks.__path__)
    ]
    from benchmarks.instruction_sets import InstructionSets
finally:
    sys.path.remove(str(FOLDER))


def classes() -> Iterator[type]:
    """The benchmark classes, as asv finds them: public names with benchmarks as methods."""
    for module in MODULES:
        for name, found in vars(module).items():
            own = inspect.isclass(found) and found.__module__ == module.__name__
            if own and not name.startswith("_") and methods(found):
                yield found


def methods(found: type) -> list[str]:
    return [name for name in dir(found) if KINDS.fullmatch(name)]


def work(parameters: tuple[Any, ...]) -> float:
    """What makes a combination of parameters big: its layer, its groups, its threads."""
    size = 1.0
    for value in parameters:
        if value in suite.LAYERS:
            size *= suite.flops(suite.LAYERS[value])
        elif isinstance(value, int):
            size *= value
    return size


def smallest(found: type) -> tuple[Any, ...]:
    return min(itertools.product(*getattr(found, "params", ())), key=work)


CASES = [(found, name) for found in classes() for name in methods(found)]


@pytest.fixture(scope="module")
def limits() -> dict[str, Any]:
    """What asv gives to every benchmark of a class with ``setup_cache``: measured once."""
    return measure.machine_limits()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest samples, and our thread count as it was afterwards."""
    monkeypatch.setattr(measure, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(groupconv._threads, "_chosen", None)


def prepared(found: type, limits: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
    """An instance after its setup, and the arguments that asv passes."""
    instance, arguments = found(), smallest(found)
    if hasattr(instance, "setup_cache"):
        arguments = (limits, *arguments)
    if hasattr(instance, "setup"):
        instance.setup(*arguments)
    return instance, arguments


@pytest.mark.parametrize(
    ("found", "name"),
    [case for case in CASES if case[0] is not InstructionSets],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.usefixtures("quick")
def test_benchmark_runs(found: type, name: str, limits: dict[str, Any]) -> None:
    instance, arguments = prepared(found, limits)
    measured = getattr(instance, name)(*arguments)
    if name.startswith("track_"):
        assert math.isfinite(measured)
        assert measured >= 0
        assert getattr(found, name).unit
    else:
        assert measured is None


@pytest.mark.parametrize("isa", _core.isa_available())
@pytest.mark.usefixtures("quick")
def test_instruction_sets_run(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUPCONV_ISA", "baseline")  # so that it is put back afterwards
    label, _ = smallest(InstructionSets)
    benchmark = InstructionSets()
    benchmark.setup(label, isa)
    assert _core.isa_in_use() == isa
    assert benchmark.time_layer(label, isa) is None
    assert benchmark.track_gflops(label, isa) > 0


def test_instruction_sets_of_other_machines_are_skipped() -> None:
    with pytest.raises(NotImplementedError, match="this machine has no vax"):
        InstructionSets().setup(smallest(InstructionSets)[0], "vax")


def test_every_family_is_measured() -> None:
    layers = importlib.import_module("benchmarks.layers")
    measured = {
        label
        for found in vars(layers).values()
        if inspect.isclass(found) and hasattr(found, "params")
        for label in found.params[0]
    }
    assert measured == set(suite.LAYERS)
    assert len(layers.Float16.params[0]) == len(layers.ChannelsLast.params[0]) == 37


@pytest.mark.usefixtures("quick")
def test_variants_are_what_they_say(limits: dict[str, Any]) -> None:
    layers = importlib.import_module("benchmarks.layers")
    half, _ = prepared(layers.Float16, limits)
    assert half.run().dtype == "float16"
    last, _ = prepared(layers.ChannelsLast, limits)
    assert last.run().transpose(0, 2, 3, 1).flags.c_contiguous


def test_groups_sweep_keeps_the_shape() -> None:
    groups = importlib.import_module("benchmarks.groups")
    assert groups.GroupsSweep.params == ([3, 1], [1, 2, 4, 8, 16, 32, 64, 128, 256])
    for kernel, count in itertools.product(*groups.GroupsSweep.params):
        layer = groups.swept(kernel, count)
        assert suite.output_shape(layer) == (1, 256, 28, 28)
        assert suite.flops(layer) * count == 2 * 256 * 256 * 28 * 28 * kernel**2


def test_median_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []

    def run() -> None:
        calls.append(now[0])
        now[0] += 0.001 if len(calls) % 2 else 0.003

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    assert measure.median_seconds(run) == pytest.approx(0.003, abs=0.0021)
    assert len(calls) > 50


def test_the_same_layers_as_the_race() -> None:
    assert list(suite.LAYERS) == [layer.label for layer in SUITE]
    for ours, (label, theirs) in zip(SUITE, suite.LAYERS.items(), strict=True):
        assert (ours.op, ours.input, ours.weight) == (theirs.op, theirs.input, theirs.weight)
        assert (ours.dtype, ours.family) == (theirs.dtype, theirs.family)
        assert ours.groups == theirs.arguments.get("groups", 1)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
            assert getattr(ours, name) == suite.per_axis(theirs, name, default), label
        assert ours.output == suite.output_shape(theirs)
        assert ours.flops == suite.flops(theirs)
        assert ours.traffic == suite.traffic(theirs)


def test_raw_statements_run() -> None:
    overhead = importlib.import_module("benchmarks.overhead")
    functions: dict[str, Callable[[], str]] = {
        name: found for name, found in vars(overhead).items() if KINDS.fullmatch(name)
    }
    assert list(functions) == ["timeraw_import"]
    command = [sys.executable, "-c", functions["timeraw_import"]()]
    here = {"PYTHONPATH": str(pathlib.Path(groupconv.__file__).parents[1])}
    assert subprocess.run(command, timeout=60, env=os.environ | here).returncode == 0
