"""What the tests of Dask arrays share: layers, ways to cut them, equality to the bit."""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import numpy as np
from hypothesis import strategies as st

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
    "depthwise 31x31": ((2, 32, 40, 80), (32, 1, 31, 31), {"padding": 15, "groups": 32}),
    "depthwise transposed": (
        (1, 16, 20, 18),
        (16, 1, 4, 4),
        {"padding": 1, "stride": 2, "groups": 16, "transposed": True},
    ),
    "dense transposed": ((1, 32, 20, 18), (32, 24, 3, 3), {"padding": 1, "transposed": True}),
    "transposed by two, 4x4": (
        (1, 64, 21, 18),
        (64, 32, 4, 4),
        {"padding": 1, "stride": 2, "transposed": True},
    ),
    "transposed by two, 5x3": (
        (1, 64, 21, 18),
        (64, 32, 5, 3),
        {"padding": 2, "stride": 2, "transposed": True},
    ),
    "transposed by two, 4x5": (
        (1, 64, 21, 18),
        (64, 32, 4, 5),
        {"padding": 0, "stride": 2, "transposed": True},
    ),
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


def draw(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_same(lazy: da.Array, expected: np.ndarray[Any, Any], **compute: Any) -> None:
    """Shape and dtype known ahead, and every bit equal."""
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    found = lazy.compute(**compute)
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@st.composite
def partitions(draw: st.DrawFn, total: int) -> tuple[int, ...]:
    """Chunk sizes that add up to `total`."""
    sizes = []
    while total:
        sizes.append(draw(st.integers(1, total)))
        total -= sizes[-1]
    return tuple(sizes)
