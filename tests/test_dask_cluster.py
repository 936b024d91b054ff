"""Convolutions of Dask arrays on a real cluster of worker processes."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dask.array as da
import pytest
from dask_helpers import CUTS, LAYERS, assert_same, draw
from distributed import Client, LocalCluster

import groupconv
import groupconv.interop.dask as gd


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two worker processes of two threads each."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as workers,
        Client(workers) as client,
    ):
        yield client


@pytest.mark.parametrize("cut", CUTS)
def test_same_bits_from_two_processes(cluster: Client, cut: str) -> None:
    shape, weight_shape, options = LAYERS["grouped"]
    x, weight, bias = draw(*shape), draw(*weight_shape, seed=1), draw(weight_shape[0], seed=2)
    expected = groupconv.conv2d(x, weight, bias, activation="relu", **options)
    chunked = da.from_array(x, chunks=CUTS[cut](shape))
    lazy = gd.conv2d(chunked, weight, bias, activation="relu", **options)
    assert_same(lazy, expected, scheduler=cluster)


def test_paths_of_two_workers_never_meet(cluster: Client) -> None:
    # AlexNet's second layer on two machines: each computes its group from its own channels.
    x, weight = draw(1, 96, 27, 27), draw(256, 48, 5, 5, seed=1)
    lazy = gd.conv2d(da.from_array(x, chunks=(1, 48, 27, 27)), weight, padding=2, groups=2)
    assert lazy.chunks[1] == (128, 128)
    expected = groupconv.conv2d(x, weight, padding=2, groups=2)
    assert_same(lazy, expected, scheduler=cluster)


def test_workers_compute_with_one_thread_each(cluster: Client) -> None:
    def install() -> None:
        original = groupconv.conv2d

        def recording(*args: Any, **options: Any) -> Any:
            recording.seen.append(groupconv.get_num_threads())
            return original(*args, **options)

        recording.seen, recording.original = [], original
        groupconv.conv2d = recording

    def collect() -> list[int]:
        recording = groupconv.conv2d
        groupconv.conv2d = recording.original
        return recording.seen

    chunked = da.from_array(draw(8, 8, 12, 12), chunks=(1, 8, 12, 12))
    cluster.run(install)
    try:
        gd.conv2d(chunked, draw(8, 4, 3, 3), groups=2).compute(scheduler=cluster)
    finally:
        seen = cluster.run(collect)
    assert [count for worker in seen.values() for count in worker] == [1] * 8


def test_example_of_an_array_larger_than_its_worker() -> None:
    example = pathlib.Path(__file__).parents[1] / "examples" / "dask_large.py"
    options = ["--gib", "0.5", "--workers", "1", "--memory-mib", "400"]
    command = [sys.executable, str(example), *options]
    here = {"PYTHONPATH": str(pathlib.Path(groupconv.__file__).parents[1])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | here
    )
    assert done.returncode == 0, done.stderr
    assert "array 512 MiB in 64 pieces, 1 workers of 400 MiB each" in done.stdout
    assert "the same bits as one call" in done.stdout
