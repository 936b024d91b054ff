"""Shape arithmetic, memory layouts and cache keys: what stands between arguments and the core."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupconv._arguments import conv_arguments, conv_transpose_arguments
from groupconv._arrays import (
    Layout,
    dense_strides,
    empty,
    frozen,
    is_channels_last,
    may_overlap,
    overlaps_itself,
)
from groupconv._calls import BoundedCache, key_of
from groupconv._geometry import conv_geometry, conv_transpose_geometry, valid_groups
from groupconv._problem import (
    forward_problem,
    input_gradient_problem,
    weight_gradient_problem,
)

FLOAT32 = np.dtype("float32")


def layout(*shape: int, channels_last: bool = False) -> Layout:
    return Layout(shape, dense_strides(shape, 4, channels_last), FLOAT32)


# --- sizes --------------------------------------------------------------------------------------


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 4),
)
def test_same_gives_the_ceiling_with_the_odd_cell_after(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    arguments = conv_arguments(1, stride, "same", dilation)
    geometry = conv_geometry(arguments, (1, 1, size), (1, 1, kernel))
    (before,), (after,) = geometry.before, geometry.after
    assert geometry.out_size == (math.ceil(size / stride),)
    assert before in (after, after - 1)
    # No smaller padding reaches that many outputs, unless none is needed at all.
    span = dilation * (kernel - 1) + 1
    assert (
        before + after == 0 or size + before + after == (geometry.out_size[0] - 1) * stride + span
    )


@given(size=st.integers(1, 30), kernel=st.integers(1, 9), dilation=st.integers(1, 4))
def test_causal_pads_before_and_keeps_the_length(size: int, kernel: int, dilation: int) -> None:
    geometry = conv_geometry(conv_arguments(1, 1, "causal", dilation), (1, 1, size), (1, 1, kernel))
    assert geometry.out_size == (size,)
    assert (geometry.before, geometry.after) == ((dilation * (kernel - 1),), (0,))


@pytest.mark.parametrize(
    ("padding", "before", "after"),
    [
        (2, (2, 2), (2, 2)),
        ((1, 2), (1, 2), (1, 2)),
        ([3], (3, 3), (3, 3)),
        (((1, 2), (3, 4)), (1, 3), (2, 4)),
        ([[1, 2]], (1, 1), (2, 2)),
        (np.int32(1), (1, 1), (1, 1)),
        ("valid", (0, 0), (0, 0)),
    ],
)
def test_padding_forms(padding: object, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    geometry = conv_geometry(conv_arguments(2, 1, padding), (1, 1, 9, 9), (1, 1, 2, 2))
    assert (geometry.before, geometry.after) == (before, after)
    assert geometry.out_size == tuple(8 + b + a for b, a in zip(before, after, strict=True))


@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
)
def test_transposed_sizes_invert_strided_sizes(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int
) -> None:
    """A convolution of any size that `output_size` allows comes back to the input's size."""
    arguments = conv_transpose_arguments(1, stride, [(before, after)], dilation=dilation)
    back = conv_arguments(1, stride, [(before, after)], dilation)
    shape, weight = (1, 1, size), (1, 1, kernel)
    least = (size - 1) * stride - before - after + dilation * (kernel - 1) + 1
    for length in range(max(least, 1), least + stride):
        geometry = conv_transpose_geometry(arguments, shape, weight, output_size=(length,))
        assert geometry.out_size == (length,)
        assert conv_geometry(back, (1, 1, length), weight).out_size == (size,)
    if least < 1:
        with pytest.raises(ValueError, match="padding"):
            conv_transpose_geometry(arguments, shape, weight)
    for length in (least - 1, least + stride):
        if length >= 0:
            with pytest.raises(ValueError, match="output_size"):
                conv_transpose_geometry(arguments, shape, weight, output_size=(length,))


@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 3),
)
def test_transposed_same_multiplies_the_size(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    geometry = conv_transpose_geometry(
        conv_transpose_arguments(1, stride, "same", dilation=dilation), (1, 1, size), (1, 1, kernel)
    )
    assert geometry.out_size == (size * stride,)
    forward = conv_geometry(
        conv_arguments(1, stride, "same", dilation), (1, 1, size * stride), (1, 1, kernel)
    )
    assert (forward.out_size, forward.before) == ((size,), geometry.before)


def test_gradients_are_the_other_operations_with_channels_exchanged() -> None:
    x, w, g = layout(2, 12, 9, 8), layout(6, 4, 3, 2), layout(2, 6, 4, 4)
    arguments = conv_arguments(2, 2, ((1, 0), (1, 0)), 1, 3)
    by_input = input_gradient_problem(arguments, x.shape, w, g)
    assert (by_input.op, by_input.in_per_group, by_input.out_per_group) == ("conv_transpose", 2, 4)
    assert (by_input.in_size, by_input.out_size) == ((4, 4), (9, 8))
    by_weight = weight_gradient_problem(arguments, x, w.shape, g)
    assert (by_weight.op, by_weight.in_per_group, by_weight.out_per_group) == ("grad_weight", 4, 2)
    assert (by_weight.input_strides, by_weight.weight_strides) == (x.strides, g.strides)
    assert by_weight.output_strides == w.strides

    transposed = conv_transpose_arguments(2, 2, ((1, 0), (1, 0)), (1, 0), 3)
    up = forward_problem(transposed, g, layout(6, 4, 3, 2))
    assert (up.op, up.in_per_group, up.out_per_group) == ("conv_transpose", 2, 4)
    assert up.out_size == (9, 7)
    back = input_gradient_problem(transposed, g.shape, w, layout(2, 12, 9, 7))
    assert (back.op, back.in_size, back.out_size) == ("conv", (9, 7), (4, 4))


def test_problems_are_values() -> None:
    arguments = conv_arguments(2, (1, 2), "same", groups=2, activation=("leaky_relu", 0.1))
    again = conv_arguments(2, [1, 2], "same", [1], np.int64(2), activation=("leaky_relu", 0.1))
    x, w = layout(1, 4, 5, 5), layout(6, 2, 3, 3)
    first, second = (forward_problem(a, x, w, layout(6)) for a in (arguments, again))
    assert first == second
    assert hash(first) == hash(second)
    assert first.activation_parameter == 0.1
    for name in first.__slots__:
        with pytest.raises(AttributeError):
            setattr(first, name, 2)


def test_unbatched_arrays_get_a_batch_axis_of_their_own() -> None:
    problem = forward_problem(conv_arguments(2), layout(4, 5, 5), layout(6, 4, 3, 3))
    assert problem.batch == 1
    assert problem.input_strides == np.empty((4, 5, 5), "f4")[None].strides
    assert problem.output_strides == np.empty((1, 6, 3, 3), "f4").strides


@given(st.integers(1, 60), st.integers(1, 60))
def test_valid_groups_are_the_common_divisors(inputs: int, outputs: int) -> None:
    want = [g for g in range(1, 61) if inputs % g == 0 and outputs % g == 0]
    assert valid_groups(inputs, outputs) == want


def test_results_beyond_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="more than memory can address"):
        forward_problem(
            conv_arguments(3, 1, 2**31 - 1), layout(1, 1, 1, 1, 1), layout(1, 1, 1, 1, 1)
        )


# --- memory layouts -----------------------------------------------------------------------------

SIZES = [
    (2, 8, 5, 6),
    (1, 8, 5, 6),
    (2, 1, 5, 6),
    (2, 8, 1, 1),
    (1, 1, 1, 1),
    (2, 8, 5, 1),
    (2, 8, 1, 6),
    (2, 8, 7),
    (2, 8, 1),
    (2, 1, 7),
    (2, 8, 3, 5, 6),
    (1, 8, 1, 1, 1),
]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_channels_last_where_sizes_of_one_are_ambiguous(shape: tuple[int, ...]) -> None:
    everything_one = all(n == 1 for n in shape)
    assert not is_channels_last(shape, np.empty(shape, "f4").strides)
    last = empty(shape, FLOAT32, channels_last=True)
    assert is_channels_last(shape, last.strides) == (not everything_one)
    assert last.strides == dense_strides(shape, 4, channels_last=True)
    assert np.moveaxis(last, 1, -1).flags.c_contiguous


def test_channels_last_of_views() -> None:
    last = empty((2, 8, 10, 10), FLOAT32, channels_last=True)
    for view in (last[:, :3], last[:, :, ::2, 1:], last[1:], last[:, 2:3]):
        assert is_channels_last(view.shape, view.strides)
    for view in (last[:, ::-1], last[:, :, ::-1], last.swapaxes(2, 3), last[:0]):
        assert not is_channels_last(view.shape, view.strides)
    # An axis that None adds has stride 0 and tells nothing: the image is (H, W, C) all the same.
    image = np.empty((10, 10, 8), "f4").transpose(2, 0, 1)[None]
    assert is_channels_last(image.shape, image.strides)
    assert not is_channels_last((1, 8, 9), np.empty((8, 9), "f4")[None].strides)


@pytest.fixture(scope="module")
def interpolate() -> Callable[..., Any]:
    """PyTorch's scaling, here by 1: a copy in the memory format that it takes the input's for."""
    return pytest.importorskip("torch.nn.functional").interpolate


@given(st.data())
def test_channels_last_is_pytorchs_rule(
    interpolate: Callable[..., Any], data: st.DataObject
) -> None:
    import torch

    rank = data.draw(st.sampled_from([4, 5]))
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 1, 2, 3]), min_size=rank, max_size=rank)))
    order = data.draw(st.permutations(range(rank)))
    strides, step = [0] * rank, 1
    for axis in order:
        strides[axis] = step
        step *= shape[axis] * data.draw(st.sampled_from([1, 1, 2]))
    copy = interpolate(torch.empty_strided(shape, strides), shape[2:])
    last, usual = (dense_strides(shape, 1, channels_last) for channels_last in (True, False))
    if last != usual:
        assert copy.stride() == (last if is_channels_last(shape, tuple(strides)) else usual)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), min_size=1, max_size=3),
    st.sampled_from([1, 2, 4]),
)
def test_overlap_of_an_array_with_itself(axes: list[tuple[int, int]], itemsize: int) -> None:
    shape, strides = (tuple(values) for values in zip(*axes, strict=True))
    cells = [
        sum(i * t for i, t in zip(index, strides, strict=True)) + byte
        for index in itertools.product(*map(range, shape))
        for byte in range(itemsize)
    ]
    assert overlaps_itself(shape, strides, itemsize) == (len(set(cells)) < len(cells))


def test_overlap_of_broadcast_arrays_costs_no_memory() -> None:
    assert overlaps_itself((2**20, 2**20, 2**20), (0, 0, 0), 4)
    assert not overlaps_itself((2**20, 2**20), (2**22, 4), 4)


def test_overlap_of_two_arrays_is_exact_for_slices() -> None:
    buffer = np.zeros((4, 6, 5), "f4")
    assert not may_overlap(buffer[:, :3], buffer[:, 3:])
    assert not may_overlap(buffer[..., ::2], buffer[..., 1::2])
    assert may_overlap(buffer[:, :4], buffer[:, 3:])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_frozen_memory_opens_to_nobody(dtype: str) -> None:
    source = np.arange(6, dtype=dtype).reshape(2, 3)
    array = frozen(source)
    source[...] = 0
    assert (array == np.arange(6).reshape(2, 3)).all()
    assert frozen(array) is array
    link: object = array
    while isinstance(link, np.ndarray):
        with pytest.raises(ValueError, match="WRITEABLE"):
            link.flags.writeable = True
        link = link.base
    assert (frozen(array.T) == array.T).all()


# --- keys and caches ----------------------------------------------------------------------------


def test_keys_tell_apart_what_compares_equal() -> None:
    alike = [1, True, 1.0, np.float64(1), np.True_, (1,), [1], (True,), (1.0,), ((1,),), "1"]
    keys = [key_of(value) for value in alike]
    assert len(set(keys)) == len(keys)
    assert key_of((1, (2, 3))) == key_of((1, (2, 3)))
    assert key_of(np.int64(3)) == key_of(np.int64(3))


def test_keys_of_what_cannot_be_hashed_are_never_found() -> None:
    for value in ({1: 2}, {1}, bytearray(b"1"), (1, {2})):
        assert key_of(value) != key_of(value)


def test_array_keys_are_layouts() -> None:
    first = np.zeros((2, 3), "f4")
    assert key_of(first) == key_of(first + 1)
    for other in (first.astype("f8"), first.T, first[:, ::2], first.astype(">f4")):
        assert key_of(first) != key_of(other)


def test_caches_are_bounded_with_many_writers() -> None:
    cache: BoundedCache[int] = BoundedCache(8)
    workers = [
        threading.Thread(target=lambda start=start: [cache.keep((start, i), i) for i in range(500)])
        for start in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(cache) <= 8
    assert cache.keep("last", 1) == 1
    assert cache["last"] == 1
    assert len(cache) <= 8
