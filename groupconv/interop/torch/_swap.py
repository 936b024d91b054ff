"""`accelerate`, and the way back."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from groupconv.interop.torch import _programs
from groupconv.interop.torch._classes import Changed, change, change_back
from groupconv.interop.torch._convolutions import CONVOLUTIONS, mixin_for, reason_to_leave
from groupconv.interop.torch._prepared import Memo

Module = TypeVar("Module", bound=nn.Module)


def accelerate(module: Module, fuse: bool = False) -> Module:
    """Have groupconv compute the convolutions of a PyTorch module.

    Every ``nn.Conv1d`` to ``nn.Conv3d`` and ``nn.ConvTranspose1d`` to ``nn.ConvTranspose3d`` in it
    stays the object it is, with its parameters, hooks and names, and gets another ``forward``.
    Training, ``state_dict``, ``copy.deepcopy``, ``torch.save``, ``torch.compile`` and
    ``torch.export`` work as before.

    Parameters
    ----------
    module : nn.Module
        A model, or a convolution; changed in place.
    fuse : bool, optional
        In inference (evaluation mode, gradients off), also compute what stands around a convolution
        in the same call: zero padding before it; batch normalisation, a residual added, and an
        activation after it. They are found by ``torch.fx``, in as large parts of the model as it
        can trace. Each part so changed is compared with the original the first time it runs.
        After replacing submodules of the model, call this again.

    Returns
    -------
    nn.Module
        `module` itself.

    See Also
    --------
    report : what was changed, and what was left alone and why.
    restore : undoes it.

    Notes
    -----
    Tensors and arrays share their memory both ways. In inference weights are prepared once, in a
    copy where the algorithm reads another form or a batch normalisation is folded in, and again
    after an edit: by an optimiser, ``load_state_dict``, or anything else that PyTorch counts as
    one. Of edits that it does not count (``weight.data``, NumPy views), those that touch none of a
    few sampled values go unnoticed. `torch.get_num_threads` limits the threads, as does
    `groupconv.num_threads`.

    Calls of ``torch.nn.functional.conv2d`` and its like are no modules: with `fuse` they are
    computed by groupconv in the parts that ``torch.fx`` can trace; elsewhere use
    `groupconv.interop.torch.functional`.

    A call goes to PyTorch's own convolution when its tensors are on another device or of a dtype
    that groupconv lacks, under autocast, and inside of ``torch.func`` transforms and forward-mode
    differentiation.

    Do not call it while another thread uses the module.

    Examples
    --------
    >>> import torch
    >>> from groupconv.interop.torch import accelerate, report
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(8, 8, 3, padding=1, groups=4),
    ...     torch.nn.BatchNorm2d(8),
    ...     torch.nn.ReLU(),
    ... )
    >>> model = accelerate(model.eval(), fuse=True)
    >>> with torch.inference_mode():
    ...     y = model(torch.zeros(1, 8, 16, 16))
    >>> print(report(model))
    1 of 1 convolutions computed by groupconv, 1 fused
      0: convolution + batch norm + relu
    """
    restore(module)
    for part in module.modules():
        if isinstance(part, CONVOLUTIONS) and reason_to_leave(part) is None:
            change(part, mixin_for(part), Memo())
    if fuse:
        _programs.fuse(module)
    return module


def restore(module: Module) -> Module:
    """Undo `accelerate`.

    Parameters
    ----------
    module : nn.Module
        A module, accelerated or not; changed in place.

    Returns
    -------
    nn.Module
        `module` itself, its parameters and buffers as they are now.
    """
    for part in module.modules():
        if isinstance(part, Changed):
            change_back(part)
    return module
