"""PyTorch models whose convolutions groupconv computes.

>>> from groupconv.interop.torch import accelerate
>>> model = accelerate(model)                 # training and inference    # doctest: +SKIP
>>> model = accelerate(model, fuse=True)      # and faster inference      # doctest: +SKIP

`accelerate` changes a model in place and `restore` undoes that; `report` tells what was changed
and what was left to PyTorch; `functional` is for code that calls convolutions as functions.
Importing this module registers the operators ``groupconv::convolution``,
``groupconv::input_gradient`` and ``groupconv::weight_gradient``, which programs saved by
``torch.export`` refer to.
"""

from __future__ import annotations

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "groupconv.interop.torch needs PyTorch: pip install 'groupconv[torch]'"
    ) from error

from groupconv.interop.torch import functional
from groupconv.interop.torch._convolutions import Accelerated
from groupconv.interop.torch._report import Report, report
from groupconv.interop.torch._swap import accelerate, restore

__all__ = ["Accelerated", "Report", "accelerate", "functional", "report", "restore"]
