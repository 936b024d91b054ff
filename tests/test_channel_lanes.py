"""Convolution with output channels in the lanes: widths, groups and channels around its tiles."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FLOATS,
    HALVES,
    Case,
    assert_same_bits,
    assert_within,
    check_conv,
    exact,
    guarded,
    place,
    units_for,
)

import groupconv as gc
from groupconv import reference

WIDTHS = [1, 2, 6, 7, 8, 9, 13, 14, 15, 16, 17, 28, 29, 33]

each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def check(case: Case, dtype: np.dtype, layout: str = "channels_last") -> None:
    check_conv(case, dtype, layout, algorithm="channel_lanes")


@each_dtype
@pytest.mark.parametrize("width", WIDTHS)
def test_depthwise_widths(width: int, dtype: np.dtype) -> None:
    """Every count of taps meets its own mix of chunks of 7, 5, 3 and 1."""
    kinds = ((1, 1, 1), (2, 2, 1), (3, 1, 2), (4, 3, 1), (5, 2, 2), (15, 1, 1))
    for taps, stride, dilation in kinds:
        where = {"stride": stride, "dilation": dilation, "padding": (1, taps // 2 * dilation)}
        if width + 2 * where["padding"][1] > (taps - 1) * dilation:
            check(Case((5, width), (3, taps), 19, **where), dtype)


@each_dtype
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64])
def test_depthwise_channels(channels: int, dtype: np.dtype) -> None:
    for kernel, stride in ((3, 1), (5, 2)):
        check(Case((9, 10), (kernel, kernel), channels, stride=stride, padding=1), dtype)


@each_dtype
@pytest.mark.parametrize("out_per_group", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("in_per_group", [1, 2, 3, 4, 8])
def test_groups_that_share_vectors(in_per_group: int, out_per_group: int, dtype: np.dtype) -> None:
    for groups, stride in ((2, 1), (5, 2), (9, 1)):
        case = Case((6, 11), (3, 3), groups, in_per_group, out_per_group, stride=stride, padding=1)
        check(case, dtype)


@each_dtype
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "flipped_slice"])
@pytest.mark.parametrize("out_per_group", [1, 7, 15, 16, 17, 32, 33, 48, 70])
def test_tiles_of_channels(out_per_group: int, layout: str, dtype: np.dtype) -> None:
    for width in (1, 6, 8, 15):
        check(Case((4, width), (3, 3), 1, 5, out_per_group, padding=1), dtype, layout)
        check(Case((4, width), (1, 1), 2, 5, out_per_group), dtype, layout)


PLANES = [
    Case((9, 20), (3, 3), 1, 80, 40, padding=1),  # pieces of the channels
    Case((130, 121), (3, 3), 1, 16, 16, batch=1, padding=1),  # several boxes
    Case((21, 23), (3, 5), 3, 4, 17, stride=2, padding=(1, 2), dilation=(2, 1)),
    Case((5, 6, 9), (3, 2, 3), 2, 6, 16, stride=(1, 2, 1), padding=1),
    Case((6, 1), (3, 1), 2, 3, 16, padding=(1, 0)),
    Case((4, 1), (1, 1), 2, 3, 16, stride=(1, 20), padding=(0, 9)),  # columns of padding alone
    Case((3, 30), (1, 1), 2, 40, 33, stride=(1, 2)),
    Case((4, 256), (1, 1), 1, 20, 16),  # channels that share a cache set
    Case((2, 512), (3, 3), 1, 20, 16, padding=1),
]


@each_dtype
@pytest.mark.parametrize("case", PLANES, ids=str)
def test_planes(case: Case, dtype: np.dtype) -> None:
    for layout in ("contiguous", "slice", "flipped_slice", "misaligned"):
        check(case, dtype, layout)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode: str) -> None:
    case = Case((6, 9), (3, 5), 2, 3, 20, padding=[(2, 1), (3, 4)], padding_mode=mode)
    for dtype in (*FLOATS, *HALVES):
        for layout in ("channels_last", "contiguous", "slice"):
            check(case, dtype, layout)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_types(dtype: np.dtype) -> None:
    for layout in ("contiguous", "channels_last"):
        check(Case((7, 7), (3, 3), 1, 12, 24, padding=1), dtype, layout)


def check_residual(case: Case, layouts: tuple[str, str], activation, dtype: np.dtype) -> None:
    """Input and result in the first layout, the residual in the second."""
    x, w, b = case.arrays(dtype)
    shape = (case.batch, case.out_channels, *case.out_size)
    residual = case.draw("residual", shape, dtype)
    with guarded(shape, dtype, layouts[0]) as out:
        got = gc.conv2d(
            place(x, layouts[0]),
            w,
            b,
            **case.arguments,
            activation=activation,
            residual=place(residual, layouts[1]),
            algorithm="channel_lanes",
            out=out,
        )
    options = {**case.arguments, "residual": residual}
    want = exact(reference.conv, x, w, b, **options, activation=activation)
    bound = reference.error_bound(reference.conv, x, w, b, **options)
    assert_within(got, want, bound, 2 * units_for(case.in_per_group, *case.kernel))


each_activation = pytest.mark.parametrize(
    "activation", ["relu", "relu6", "silu", ("leaky_relu", 0.2)], ids=str
)


@each_dtype
@each_activation
@pytest.mark.parametrize("kinds", [(21, 1, 1), (6, 4, 4), (2, 9, 20)], ids=str)
def test_residual_and_activation(kinds: tuple[int, ...], activation, dtype: np.dtype) -> None:
    case = Case((7, 10), (3, 3), *kinds, padding=1)
    for layout in ("channels_last", "channels_last_slice"):
        check_residual(case, (layout, layout), activation, dtype)


@each_dtype
@each_activation
@pytest.mark.parametrize("kinds", [(2, 16, 32), (1, 5, 48), (2, 3, 20)], ids=str)
@pytest.mark.parametrize("size", [(7, 7), (3, 10), (17, 29)], ids=str)
def test_residual_and_activation_of_planes(
    size: tuple[int, ...], kinds: tuple[int, ...], activation, dtype: np.dtype
) -> None:
    """Whole vectors of channels are turned, across rows that all arrays join; others are not."""
    case = Case(size, (3, 3), *kinds, padding=1)
    for out, residual in (
        ("contiguous", "contiguous"),
        ("slice", "contiguous"),
        ("contiguous", "slice"),
        ("contiguous", "channels_last"),
    ):
        check_residual(case, (out, residual), activation, dtype)


@each_dtype
def test_a_layer_of_several_widths(dtype: np.dtype) -> None:
    """Tiles of different widths read weights in different orders, which a layer keeps apart."""
    case = Case((7, 7), (3, 3), 2, 16, 32, padding=1)
    _, w, _ = case.arrays(dtype)
    layer = gc.Conv2d.from_weight(w, padding=1, groups=2, algorithm="channel_lanes")
    for width in (7, 6, 3, 8, 2, 14, 7):
        x, _, _ = case.but(size=(7, width)).arrays(dtype)
        assert_same_bits(layer(x), gc.conv2d(x, w, **case.arguments, algorithm="channel_lanes"))


@pytest.mark.parametrize("kinds", [(21, 1, 1), (6, 4, 4), (6, 1, 2), (1, 9, 20)], ids=str)
def test_what_is_not_finite_stays_in_its_window(kinds: tuple[int, ...]) -> None:
    case = Case((9, 17), (3, 3), *kinds, padding=1)
    x, w, b = case.arrays()
    x[1, 0, 4, 8], x[0, -1, 0, 16] = np.inf, np.nan
    got = gc.conv2d(place(x, "channels_last"), w, b, **case.arguments, algorithm="channel_lanes")
    want = reference.conv(x, w, b, **case.arguments)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


@pytest.mark.parametrize("kinds", [(21, 1, 1), (6, 4, 4), (1, 9, 20)], ids=str)
def test_padding_is_an_operand(kinds: tuple[int, ...]) -> None:
    """An infinite weight over padding gives NaN."""
    case = Case((5, 9), (3, 3), *kinds, padding=1)
    x, w, b = case.arrays()
    w[0, 0, 0, 2] = np.inf
    got = gc.conv2d(place(x, "channels_last"), w, b, **case.arguments, algorithm="channel_lanes")
    want = reference.conv(x, w, b, **case.arguments)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    assert np.isnan(got[:, 0, 0]).all()
    assert np.isnan(got[:, 0, :, -1]).all()


def test_what_it_refuses() -> None:
    x, w = np.ones((1, 4, 5, 5), "f4"), np.ones((4, 4, 3, 3), "f4")
    with pytest.raises(ValueError, match="cannot do this problem"):
        gc.conv_transpose2d(x, w, algorithm="channel_lanes")
