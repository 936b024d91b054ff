"""Convolutions of Dask arrays: the same bits as one call, however the arrays are cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from dask_helpers import CUTS, LAYERS, assert_same, draw, partitions
from hypothesis import assume, given
from hypothesis import strategies as st

import groupconv
import groupconv.interop.dask as gd


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    """Tasks run here and one by one, but for the tests that have a cluster."""
    with dask.config.set(scheduler="synchronous"):
        yield


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


@pytest.mark.parametrize(
    ("algorithm", "kernel", "stride"),
    [
        ("winograd_4x1", 3, 1),
        ("winograd_3x1", 7, 2),
        ("winograd_2x1", 5, 1),
        ("winograd_1x4", 3, 1),
        ("winograd_4x4", 3, 1),
        ("winograd_2x2", 3, 1),
    ],
)
def test_pieces_begin_where_tiles_do(algorithm: str, kernel: int, stride: int) -> None:
    """Whatever the size of the tiles: rows and columns are cut elsewhere."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 8, 41, 43)).astype("f4")
    w = rng.standard_normal((5, 8, kernel, kernel)).astype("f4")
    options = {"stride": stride, "padding": 1, "algorithm": algorithm}
    expected = groupconv.conv2d(x, w, **options)
    for size in (5, 8, 10, 13):
        lazy = gd.conv2d(da.from_array(x, chunks=(1, 8, size, size)), w, **options)
        assert_same(lazy, expected)


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
