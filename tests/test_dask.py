"""Convolutions of Dask arrays: the same bits as one call, however the arrays are cut."""

from __future__ import annotations

import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import assume, given
from hypothesis import strategies as st

import groupconv
import groupconv.interop.dask as gd
from groupconv import reference
from groupconv.interop._dask_graph import merge_chunks
from groupconv.interop._windows import Axis, Run, Window


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    """Tasks run here and one by one, but for the tests that have a cluster."""
    with dask.config.set(scheduler="synchronous"):
        yield


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


def draw(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_same(lazy: da.Array, expected: np.ndarray[Any, Any], **compute: Any) -> None:
    """Shape and dtype known ahead, and every bit equal."""
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    found = lazy.compute(**compute)
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


# Windows


@st.composite
def axes(draw: st.DrawFn, transposed: bool) -> Axis:
    """An axis that a convolution may have."""
    size, kernel = draw(st.integers(1, 24)), draw(st.integers(1, 6))
    stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    modes = ["zeros", "replicate", "reflect", "circular"]
    mode = "zeros" if transposed else draw(st.sampled_from(modes))
    most = {"reflect": size - 1, "circular": size}.get(mode, 9)
    before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
    span = dilation * (kernel - 1)
    if transposed:
        extra = draw(st.integers(0, max(stride, dilation) - 1))
        out = (size - 1) * stride + span + 1 - before - after + extra
    else:
        out = (size + before + after - span - 1) // stride + 1
    assume(out > 0)
    return Axis(size, out, kernel, stride, dilation, before, after, mode, transposed)


@st.composite
def partitions(draw: st.DrawFn, total: int) -> tuple[int, ...]:
    """Chunk sizes that add up to `total`."""
    sizes = []
    while total:
        sizes.append(draw(st.integers(1, total)))
        total -= sizes[-1]
    return tuple(sizes)


def read(x: np.ndarray[Any, Any], window: Window) -> np.ndarray[Any, Any]:
    """The cells of a window, as a task gets them."""
    parts = [x[[run.start + run.step * i for i in range(run.count)]] for run in window.runs]
    return np.concatenate([np.zeros(window.zeros, x.dtype), *parts])


def convolve(
    axis: Axis, x: np.ndarray[Any, Any], window: Window, mode: str
) -> np.ndarray[Any, Any]:
    weight = np.arange(1, axis.kernel + 1)[None, None]
    options = {
        "stride": axis.stride,
        "padding": [(window.before, window.after)],
        "dilation": axis.dilation,
    }
    if axis.transposed:
        assert window.output_padding < max(axis.stride, axis.dilation)
        result = reference.conv_transpose(
            x[None, None], weight, output_padding=window.output_padding, **options
        )
    else:
        assert window.output_padding == 0
        result = reference.conv(x[None, None], weight, padding_mode=mode, **options)
    return result[0, 0]


@pytest.mark.parametrize("transposed", [False, True])
@given(data=st.data())
def test_windows_put_together_are_the_whole(data: st.DataObject, transposed: bool) -> None:
    axis = data.draw(axes(transposed))
    x = np.arange(1.0, axis.in_size + 1) ** 2
    (whole,) = axis.windows((axis.out_size,))
    expected = convolve(axis, x, whole, axis.padding_mode)
    assert len(expected) == axis.out_size
    cuts = data.draw(partitions(axis.out_size))
    windows = axis.windows(cuts)
    mode = axis.padding_mode if len(cuts) == 1 else "zeros"
    pieces = [convolve(axis, read(x, window), window, mode) for window in windows]
    assert [len(piece) for piece in pieces] == list(cuts)
    np.testing.assert_array_equal(np.concatenate(pieces), expected)


@given(data=st.data(), transposed=st.booleans(), multiple=st.integers(1, 5))
def test_cuts(data: st.DataObject, transposed: bool, multiple: int) -> None:
    axis = data.draw(axes(transposed))
    sizes = axis.cuts(data.draw(partitions(axis.in_size)), multiple)
    assert sum(sizes) == axis.out_size
    assert len(sizes) == 1 or min(sizes) >= max(2, axis.dilation)
    assert all(bound % multiple == 0 for bound in np.cumsum(sizes)[:-1])


def test_cuts_follow_the_chunks() -> None:
    same = Axis(30, 30, 3, 1, 1, 1, 1)
    assert same.cuts((10, 15, 5)) == (10, 15, 5)
    assert same.cuts((10, 15, 5), multiple=4) == (8, 16, 6)
    assert Axis(30, 15, 3, 2, 1, 1, 1).cuts((10, 15, 5)) == (5, 8, 2)
    assert Axis(30, 60, 4, 2, 1, 1, 1, transposed=True).cuts((10, 15, 5)) == (20, 30, 10)
    assert same.cuts((1,) * 30, multiple=8) == (8, 8, 8, 6)


def test_a_window_reads_no_more_than_its_outputs_need() -> None:
    middle = Axis(100, 100, 5, 1, 1, 2, 2).windows((40, 20, 40))[1]
    assert middle == Window(20, (Run(38, 1, 24),))
    strided = Axis(100, 50, 3, 2, 1, 1, 1).windows((20, 30))[1]
    assert strided == Window(30, (Run(39, 1, 61),))
    transposed = Axis(50, 100, 4, 2, 1, 1, 1, transposed=True).windows((40, 60))[1]
    assert transposed.runs == (Run(19, 1, 31),)


def test_borders_of_other_modes_are_read_where_they_come_from() -> None:
    def first(mode: str) -> tuple[Run, ...]:
        return Axis(10, 10, 7, 1, 1, 3, 3, mode).windows((5, 5))[0].runs

    inside = Run(0, 1, 8)
    assert first("replicate") == (Run(0, 0, 3), inside)
    assert first("reflect") == (Run(3, -1, 3), inside)
    assert first("circular") == (Run(7, 1, 3), inside)


@pytest.mark.parametrize(
    ("chunks", "unit", "merged"),
    [
        ((4, 4, 4), 4, (4, 4, 4)),
        ((3, 3, 3, 3), 4, (12,)),
        ((2, 2, 8, 1, 3), 4, (4, 8, 4)),
        ((0, 4, 0, 8), 4, (4, 8)),
        ((5, 3), 8, (8,)),
    ],
)
def test_channels_are_cut_between_groups(
    chunks: tuple[int, ...], unit: int, merged: tuple[int, ...]
) -> None:
    assert merge_chunks(chunks, unit) == merged


# The same bits


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """A function's name, its arrays, its arguments: mostly valid."""
    ndim, transposed = draw(st.integers(1, 3)), draw(st.booleans())
    limit = 20 if ndim < 3 else 8
    groups, in_each, out_each = (draw(st.integers(1, 4)) for _ in range(3))

    def per_axis(least: int, most: int) -> list[int]:
        return [draw(st.integers(least, most)) for _ in range(ndim)]

    dtype = draw(st.sampled_from(["float32", "float64", "float16"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 3)), groups * in_each, *per_axis(1, limit))
    x = rng.standard_normal(shape).astype(dtype)
    options: dict[str, Any] = {
        "stride": per_axis(1, 3),
        "padding": list(zip(per_axis(0, 6), per_axis(0, 6), strict=True)),
        "dilation": per_axis(1, 3),
        "groups": groups,
        "activation": draw(st.sampled_from([None, "relu", "silu", ("leaky_relu", 0.3)])),
    }
    if transposed:
        weight = (groups * in_each, out_each, *per_axis(1, 5))
        limits = map(max, options["stride"], options["dilation"])
        options["output_padding"] = [draw(st.integers(0, limit - 1)) for limit in limits]
    else:
        weight = (groups * out_each, in_each, *per_axis(1, 5))
        modes = ["zeros", "reflect", "replicate", "circular"]
        options["padding_mode"] = draw(st.sampled_from(modes))
    bias = rng.standard_normal(groups * out_each).astype(dtype) if draw(st.booleans()) else None
    name = f"conv{'_transpose' * transposed}{ndim}d"
    return name, [x, rng.standard_normal(weight).astype(dtype), bias], options


@given(data=st.data(), call=calls(), with_residual=st.booleans())
def test_same_bits_however_cut(
    data: st.DataObject, call: tuple[str, list[Any], dict[str, Any]], with_residual: bool
) -> None:
    name, (x, weight, bias), options = call
    try:
        expected = getattr(groupconv, name)(x, weight, bias, **options)
    except ValueError:  # the kernel is larger than the input, the padding than its mode allows
        assume(False)
    residual = None
    if with_residual:
        residual = (expected / 2).astype(x.dtype)
        expected = getattr(groupconv, name)(x, weight, bias, residual=residual, **options)
    chunks = tuple(data.draw(partitions(size)) for size in x.shape)
    lazy = getattr(gd, name)(
        da.from_array(x, chunks=chunks), weight, bias, residual=residual, **options
    )
    assert_same(lazy, expected)


LAYERS = {
    "grouped": ((2, 64, 40, 36), (64, 4, 3, 3), {"padding": 1, "groups": 16}),
    "dense": ((2, 32, 40, 36), (48, 32, 3, 3), {"padding": 1}),
    "a whole and pieces that prefer other tiles": ((1, 64, 24, 24), (64, 64, 3, 3), {"padding": 1}),
    "wide groups": ((2, 64, 40, 36), (64, 16, 3, 3), {"padding": 1, "groups": 4}),
    "depthwise": ((2, 32, 40, 36), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "depthwise 7x7": ((2, 32, 40, 36), (32, 1, 7, 7), {"padding": 3, "groups": 32}),
    "depthwise dilated": (
        (1, 16, 40, 36),
        (16, 1, 3, 3),
        {"padding": 4, "dilation": 4, "groups": 16},
    ),
    "depthwise wide": ((1, 16, 40, 80), (16, 1, 1, 37), {"padding": (0, 18), "groups": 16}),
    "depthwise transposed": (
        (1, 16, 20, 18),
        (16, 1, 4, 4),
        {"padding": 1, "stride": 2, "groups": 16, "transposed": True},
    ),
    "dense transposed": ((1, 32, 20, 18), (32, 24, 3, 3), {"padding": 1, "transposed": True}),
    "depthwise 14x14": ((2, 16, 14, 14), (16, 1, 5, 5), {"padding": 2, "groups": 16}),
    "depthwise strided": (
        (1, 16, 41, 36),
        (16, 1, 5, 5),
        {"padding": 2, "stride": 2, "groups": 16},
    ),
    "3-D depthwise": ((1, 6, 9, 20, 22), (6, 1, 3, 3, 3), {"padding": 1, "groups": 6}),
    "3-D depthwise of depth 1": (
        (1, 6, 9, 20, 22),
        (6, 1, 1, 5, 5),
        {"padding": (1, 2, 2), "groups": 6},
    ),
    "multiplier": ((2, 16, 40, 36), (32, 1, 3, 3), {"padding": 1, "groups": 16}),
    "strided": ((2, 64, 41, 36), (64, 4, 3, 3), {"padding": 1, "groups": 16, "stride": 2}),
    "dilated": ((2, 64, 40, 36), (64, 4, 3, 3), {"padding": 2, "groups": 16, "dilation": 2}),
    "pointwise": ((2, 64, 40, 36), (32, 16, 1, 1), {"groups": 4}),
    "5x5": ((2, 32, 40, 36), (32, 16, 5, 5), {"padding": 2, "groups": 2}),
    "small map": ((3, 128, 7, 7), (128, 32, 3, 3), {"padding": 1, "groups": 4}),
    "1-D": ((2, 32, 500), (32, 2, 31), {"padding": 15, "groups": 16}),
    "1-D long": ((2, 32, 500), (32, 8, 40), {"padding": 20, "groups": 4}),
    "1-D long circular": (
        (1, 16, 1000),
        (16, 16, 64),
        {"padding": 32, "padding_mode": "circular"},
    ),
    "1-D long reflect": (
        (1, 16, 1000),
        (16, 8, 64),
        {"padding": [(40, 3)], "dilation": 2, "groups": 2, "padding_mode": "reflect"},
    ),
    "rows of height 1": ((1, 16, 1, 1000), (16, 16, 1, 64), {"padding": (0, 32)}),
    "1-D long transposed": (
        (1, 32, 700),
        (32, 8, 33),
        {"dilation": 2, "transposed": True, "groups": 4},
    ),
    "3-D": ((1, 16, 9, 20, 22), (16, 4, 3, 3, 3), {"padding": 1, "groups": 4}),
}
CUTS = {
    "batch": lambda shape: (1, *shape[1:]),
    "channels": lambda shape: (shape[0], max(1, shape[1] // 4), *shape[2:]),
    "space": lambda shape: (*shape[:2], *(math.ceil(size / 3) for size in shape[2:])),
    "thin rows": lambda shape: (*shape[:2], 5, *shape[3:]),
    "single rows": lambda shape: (*shape[:2], 1, *shape[3:]),
    "everything": lambda shape: tuple(math.ceil(size / 2) for size in shape),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_same_bits_whatever_algorithm_a_layer_gets(layer: str, cut: str) -> None:
    shape, weight_shape, options = LAYERS[layer]
    options = dict(options)
    transposed = options.pop("transposed", False)
    outputs = weight_shape[1] * options.get("groups", 1) if transposed else weight_shape[0]
    x, weight, bias = draw(*shape), draw(*weight_shape, seed=1), draw(outputs, seed=2)
    name = f"conv{'_transpose' * transposed}{len(shape) - 2}d"
    expected = getattr(groupconv, name)(x, weight, bias, **options)
    chunked = da.from_array(x, chunks=CUTS[cut](shape))
    assert_same(getattr(gd, name)(chunked, weight, bias, **options), expected)


def test_borders_of_tiles_that_are_not_finite() -> None:
    x, weight = draw(1, 32, 40, 36), draw(32, 32, 3, 3, seed=1)
    x[0, 5, 17, 20], x[0, 9, 3, 0] = np.inf, np.nan
    expected = groupconv.conv2d(x, weight, padding=1)
    chunked = da.from_array(x, chunks=(1, 32, 14, 9))
    found = gd.conv2d(chunked, weight, padding=1).compute()
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.mark.parametrize("algorithm", ["direct", "reference"])
def test_algorithm_by_name(algorithm: str) -> None:
    x, weight = draw(2, 8, 12, 12), draw(8, 4, 3, 3, seed=1)
    expected = groupconv.conv2d(x, weight, groups=2, algorithm=algorithm)
    chunked = da.from_array(x, chunks=(1, 4, 5, 12))
    assert_same(gd.conv2d(chunked, weight, groups=2, algorithm=algorithm), expected)


def test_unbatched_and_empty_batch() -> None:
    x, weight = draw(2, 8, 12, 12), draw(8, 4, 3, 3, seed=1)
    residual = draw(8, 10, 10, seed=2)
    expected = groupconv.conv2d(x[0], weight, groups=2, residual=residual)
    chunked = da.from_array(x[0], chunks=(4, 5, 6))
    assert_same(gd.conv2d(chunked, weight, groups=2, residual=residual), expected)
    nothing = gd.conv2d(da.from_array(x[:0], chunks=(1, 4, 5, 6)), weight, groups=2)
    assert_same(nothing, groupconv.conv2d(x[:0], weight, groups=2))


def test_every_operand_may_be_a_dask_array() -> None:
    x, weight, bias = draw(2, 8, 12, 12), draw(16, 2, 3, 3, seed=1), draw(16, seed=2)
    residual = draw(2, 16, 12, 12, seed=3)
    options: dict[str, Any] = {"padding": 1, "groups": 4}
    expected = groupconv.conv2d(x, weight, bias, residual=residual, **options)
    lazy = gd.conv2d(
        da.from_array(x, chunks=(1, 4, 6, 12)),
        da.from_array(weight, chunks=(5, 1, 2, 3)),
        da.from_array(bias, chunks=3),
        residual=da.from_array(residual, chunks=(2, 7, 5, 4)),
        **options,
    )
    assert_same(lazy, expected)
    assert lazy.chunks == ((1, 1), (8, 8), (6, 6), (12,))


def test_memory_order_of_chunks_does_not_matter() -> None:
    x, weight = draw(2, 9, 11, 8), draw(8, 4, 3, 3, seed=1)
    expected = groupconv.conv2d(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), weight, groups=2)
    chunked = da.from_array(x, chunks=(1, 5, 6, 4)).transpose(0, 3, 1, 2)
    assert_same(gd.conv2d(chunked, weight, groups=2), expected)


def test_bfloat16() -> None:
    x, weight = (
        array.astype(ml_dtypes.bfloat16) for array in (draw(2, 8, 12, 12), draw(8, 4, 3, 3, seed=1))
    )
    expected = groupconv.conv2d(x, weight, padding=2, groups=2)
    chunked = da.from_array(x, chunks=(1, 4, 5, 6))
    assert_same(gd.conv2d(chunked, weight, padding=2, groups=2), expected)


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
def test_padding_by_name(padding: str) -> None:
    x, weight = draw(2, 8, 37), draw(8, 4, 5, seed=1)
    options: dict[str, Any] = {"padding": padding, "stride": 2, "groups": 2}
    expected = groupconv.conv1d(x, weight, **options)
    assert_same(gd.conv1d(da.from_array(x, chunks=(1, 4, 10)), weight, **options), expected)


def test_nothing_is_computed_ahead() -> None:
    def fail(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise RuntimeError("computed")

    chunked = da.ones((2, 8, 12, 12), chunks=(1, 4, 5, 6), dtype="float32")
    failing = chunked.map_blocks(fail, meta=np.empty((0,) * 4, "f4"))
    lazy = gd.conv2d(failing, draw(8, 4, 3, 3), groups=2)
    with pytest.raises(RuntimeError, match="computed"):
        lazy.compute()


def test_an_array_may_be_larger_than_memory() -> None:
    # 2**50 elements: only what the one slice needs may exist.
    x = da.zeros((2**10, 2**10, 2**15, 2**15), chunks=(1, 2**8, 2**13, 2**13), dtype="float32")
    lazy = gd.conv2d(x[:1, :, : 2**14, : 2**14], np.zeros((2**10, 1, 3, 3), "f4"), groups=2**10)
    assert lazy.shape == (1, 2**10, 2**14 - 2, 2**14 - 2)
    assert lazy.numblocks == (1, 4, 2, 2)


def test_tasks_take_the_threads_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(x: Any, weight: Any, bias: Any, **options: Any) -> Any:
        seen.append(groupconv.get_num_threads())
        return np.zeros((1, 8, 10, 10), "f4")

    monkeypatch.setattr(groupconv, "conv2d", record)
    chunked = da.from_array(draw(2, 8, 12, 12), chunks=(1, 8, 12, 12))
    weight = draw(8, 4, 3, 3)
    gd.conv2d(chunked, weight, groups=2).compute()
    gd.conv2d(chunked, weight, groups=2, threads=3).compute()
    assert seen == [1, 1, 3, 3]


# Mistakes


def test_mistakes_are_those_of_the_functions() -> None:
    x, weight = draw(2, 8, 12, 12), draw(8, 4, 3, 3)
    chunked = da.from_array(x, chunks=(1, 4, 6, 6))
    for arguments, options in (
        ((weight,), {"groups": 3}),
        ((weight,), {"groups": 2, "stride": 0}),
        ((weight.astype("f8"),), {"groups": 2}),
        ((weight, draw(7)), {"groups": 2}),
        ((weight,), {"groups": 2, "padding": 12, "padding_mode": "reflect"}),
        ((weight,), {"groups": 2, "algorithm": "magic"}),
        ((weight,), {"groups": 2, "residual": draw(2, 8, 9, 9)}),
    ):
        with pytest.raises((TypeError, ValueError)) as expected:
            groupconv.conv2d(x, *arguments, **options)
        with pytest.raises(expected.type) as found:
            gd.conv2d(chunked, *arguments, **options)
        assert str(found.value) == str(expected.value)


def test_mistakes_of_its_own() -> None:
    weight = draw(8, 4, 3, 3)
    with pytest.raises(TypeError, match=r"input must be a Dask array, got ndarray.*from_array"):
        gd.conv2d(draw(2, 8, 12, 12), weight, groups=2)
    chunked = da.from_array(draw(2, 8, 12, 12), chunks=(1, 4, 6, 6))
    with pytest.raises(ValueError, match="threads must be a whole number"):
        gd.conv2d(chunked, weight, groups=2, threads=0)
    unknown = chunked[chunked[:, 0, 0, 0] > -9]
    with pytest.raises(ValueError, match=r"input has chunks of unknown size.*compute_chunk_sizes"):
        gd.conv2d(unknown, weight, groups=2)


# A real cluster


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
