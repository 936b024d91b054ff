"""Depthwise convolution along one dimension, read where it lies: tiles of 8 vectors."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, Case, check_conv, check_conv_transpose

NAME = "depthwise_line"


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("kernel", range(1, 33))
def test_every_kernel(kernel: int, dtype: np.dtype) -> None:
    """Tiles that end with the input, a position before or behind it, between NaN."""
    for tiles, more in ((1, 0), (2, -1), (2, 1), (3, 5)):
        width = 128 * tiles + more + kernel - 1
        for padding in (0, (kernel - 1, 0), (kernel // 2, 1)):
            case = Case((width,), (kernel,), 2, 1, 1, batch=1, padding=[padding] if padding else 0)
            check_conv(case, dtype, algorithm=NAME)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("kernel", [2, 8, 15, 17, 32])
def test_transposed(kernel: int, dtype: np.dtype) -> None:
    for width in (256, 257, 300):
        for padding in (0, 1):
            case = Case((width,), (kernel,), 2, 1, 1, batch=1, padding=padding)
            check_conv_transpose(case, dtype, algorithm=NAME)


@pytest.mark.parametrize("dilation", [2, 3])
def test_dilation(dilation: int) -> None:
    for kernel in (2, 9, 31):
        case = Case((400,), (kernel,), 3, 1, 2, padding=4, dilation=dilation)
        check_conv(case, algorithm=NAME)
