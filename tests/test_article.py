"""The cases by which the groups parameter is usually explained: 5 x 5 kernels, few channels."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import Case, check_conv

import groupconv as gc
from groupconv import reference

# (in_channels, out_channels, groups): the shape of the weight
SHAPES = {
    (3, 3, 1): (3, 3, 5, 5),
    (8, 4, 4): (4, 2, 5, 5),
    (8, 4, 2): (4, 4, 5, 5),
    (4, 8, 4): (8, 1, 5, 5),
    (4, 8, 2): (8, 2, 5, 5),
    (4, 4, 4): (4, 1, 5, 5),
    (4, 4, 2): (4, 2, 5, 5),
}
cases = pytest.mark.parametrize(("channels", "shape"), SHAPES.items(), ids=str)


@cases
def test_shapes_and_parameters(channels: tuple[int, int, int], shape: tuple[int, ...]) -> None:
    in_channels, out_channels, groups = channels
    layer = gc.Conv2d(in_channels, out_channels, kernel_size=5, groups=groups)
    assert layer.weight.shape == shape
    assert layer.bias.shape == (out_channels,)
    assert layer.weight.size == in_channels * out_channels * 25 // groups
    assert layer(np.zeros((1, in_channels, 9, 9), "float32")).shape == (1, out_channels, 5, 5)


def test_three_to_three_has_225_weights() -> None:
    assert gc.Conv2d(3, 3, 5).weight.size == 225


@cases
def test_values(channels: tuple[int, int, int], shape: tuple[int, ...]) -> None:
    in_channels, out_channels, groups = channels
    case = Case((11, 12), (5, 5), groups, in_channels // groups, out_channels // groups)
    assert case.weight_shape == shape
    for dtype in ("float32", "float64", "float16"):
        check_conv(case, dtype)
    x, w, b = case.arrays()
    layer = gc.Conv2d.from_weight(w, b, groups=groups)
    bound = reference.error_bound(reference.conv, x, w, b, groups=groups)
    want = reference.conv(x, w, b, groups=groups)
    assert (abs(layer(x) - want) <= 64 * 2.0**-24 * bound).all()


@cases
def test_an_output_sees_its_group_alone(
    channels: tuple[int, int, int], shape: tuple[int, ...]
) -> None:
    """Changing one input channel changes the output channels of its group, all of them, only."""
    in_channels, out_channels, groups = channels
    x, w = np.ones((1, in_channels, 6, 6), "float32"), np.ones(shape, "float32")
    before = gc.conv2d(x, w, groups=groups)
    for channel in range(in_channels):
        changed = x.copy()
        changed[:, channel] += 1
        differs = (gc.conv2d(changed, w, groups=groups) != before).all(axis=(0, 2, 3))
        group = channel // (in_channels // groups)
        expected = np.arange(out_channels) // (out_channels // groups) == group
        np.testing.assert_array_equal(differs, expected)


@cases
def test_groups_are_convolutions_side_by_side(
    channels: tuple[int, int, int], shape: tuple[int, ...]
) -> None:
    in_channels, out_channels, groups = channels
    case = Case((9, 9), (5, 5), groups, in_channels // groups, out_channels // groups)
    x, w, b = case.arrays("float64")
    parts = [
        gc.conv2d(*part)
        for part in zip(
            np.split(x, groups, axis=1), np.split(w, groups), np.split(b, groups), strict=True
        )
    ]
    together = gc.conv2d(x, w, b, groups=groups)
    np.testing.assert_allclose(together, np.concatenate(parts, axis=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [0, -1, 3, 8])
def test_groups_must_divide_both(groups: int) -> None:
    x, w = np.zeros((1, 8, 9, 9), "float32"), np.zeros((4, 2, 5, 5), "float32")
    with pytest.raises(ValueError, match="groups"):
        gc.conv2d(x, w, groups=groups)
    if groups == 3:
        with pytest.raises(ValueError, match="1, 2, 4"):
            gc.Conv2d(8, 4, 5, groups=groups)
