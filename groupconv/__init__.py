"""Convolutions with groups on CPUs: dense, grouped, depthwise; 1-D to 3-D; forward and backward.

Functions (`conv2d`, ...), layers (`Conv2d`, ...) and gradients (`grad.conv2d_input`, ...) take
NumPy arrays and have PyTorch's names, arguments and meaning; `connections` shows what a choice of
groups connects.

>>> import numpy as np
>>> import groupconv as gc
>>> x = np.ones((1, 8, 9, 9), "float32")
>>> gc.Conv2d(8, 4, kernel_size=5, groups=4)(x).shape
(1, 4, 5, 5)
"""

from groupconv import grad
from groupconv._config import show_config
from groupconv._core import version
from groupconv._include import get_include, get_sources
from groupconv._threads import get_num_threads, num_threads, set_num_threads
from groupconv.connections import connections, valid_groups
from groupconv.functional import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from groupconv.layers import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)

__version__ = version()

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "__version__",
    "connections",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "get_include",
    "get_num_threads",
    "get_sources",
    "grad",
    "num_threads",
    "set_num_threads",
    "show_config",
    "valid_groups",
]
