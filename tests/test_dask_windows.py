"""What a piece of an output reads of its input: windows of one axis put together are the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dask_helpers import partitions
from hypothesis import assume, given
from hypothesis import strategies as st

from groupconv import reference
from groupconv.interop._dask_graph import merge_chunks
from groupconv.interop._windows import Axis, Run, Window


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
