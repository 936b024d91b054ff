"""How gradients are computed, for any number of dimensions; `grad` holds the public names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from groupconv._arguments import Arguments, conv_arguments
from groupconv._arrays import Array, ArrayInput, as_array
from groupconv._calls import fill, find_call
from groupconv._geometry import check_batched
from groupconv._problem import check_dtype, input_gradient_problem, weight_gradient_problem


def input_gradient(
    arguments: Callable[..., Arguments],
    ndim: int,
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    out: Array | None,
    *options: Any,
) -> Array:
    """Gradient by the input, with borders of zeros."""
    w, g = as_array(weight, "weight"), as_array(grad_output, "grad_output")

    def compute(target: Array | None) -> Array:
        arrays = (input_size, w, g, target)
        call = find_call(input_gradient_problem, arguments, ndim, arrays, options, g)
        return call.compute(g, w, out=target)

    if out is None:
        return compute(None)
    return fill(out, {"weight": weight, "grad_output": grad_output}, compute)


def conv_input_gradient(
    ndim: int,
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    out: Array | None,
    *options: Any,
) -> Array:
    """Gradient of a forward convolution by its input, whatever its padding mode."""
    mode = options[-1]
    if isinstance(mode, str) and mode in ("reflect", "replicate", "circular"):
        return _folded_input_gradient(ndim, input_size, weight, grad_output, out, *options)
    return input_gradient(conv_arguments, ndim, input_size, weight, grad_output, out, *options)


def _folded_input_gradient(
    ndim: int,
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    out: Array | None,
    *options: Any,
) -> Array:
    """Gradient through a padding that copies: that of the padded input, its borders folded back.

    The half precisions go through float32, so that each result is rounded once, after the folding.
    """
    w, g = as_array(weight, "weight"), as_array(grad_output, "grad_output")
    checked = conv_arguments(ndim, *options)

    def compute(target: Array | None) -> Array:
        problem = input_gradient_problem(checked, input_size, w, g, target)
        before, after = problem.pad_before, problem.pad_after
        wide = np.promote_types(g.dtype, np.float32) if g.dtype.kind == "f" else np.float32
        padded_size = (
            *input_size[:-ndim],
            *(sum(sizes) for sizes in zip(problem.out_size, before, after, strict=True)),
        )
        padded = input_gradient(
            conv_arguments,
            ndim,
            padded_size,
            w.astype(wide, copy=False),
            g.astype(wide, copy=False),
            None,
            checked.stride,
            0,
            checked.dilation,
            checked.groups,
        )
        folded = _fold(padded, before, after, checked.padding_mode)
        if target is None:
            return folded.astype(g.dtype)
        target[...] = folded
        return target

    if out is None:
        return compute(None)
    return fill(out, {"weight": weight, "grad_output": grad_output}, compute)


def _fold(padded: Array, before: tuple[int, ...], after: tuple[int, ...], mode: str) -> Array:
    """Add each border cell to the cell it was copied from, in place; return the view inside."""
    first = padded.ndim - len(before)
    for axis, (b, a) in enumerate(zip(before, after, strict=True), first):
        lines = np.moveaxis(padded, axis, 0)
        size = len(lines) - b - a
        head, inside, tail = lines[:b], lines[b : b + size], lines[b + size :]
        if mode == "reflect":
            inside[1 : b + 1] += head[::-1]
            inside[size - 1 - a : size - 1] += tail[::-1]
        elif mode == "circular":
            inside[size - b :] += head
            inside[:a] += tail
        else:
            inside[0] += head.sum(axis=0)
            inside[-1] += tail.sum(axis=0)
        padded = np.moveaxis(inside, 0, axis)
    return padded


def weight_gradient(
    arguments: Callable[..., Arguments],
    ndim: int,
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    out: Array | None,
    *options: Any,
) -> Array:
    """Gradient by the weight."""
    x, g = as_array(input, "input"), as_array(grad_output, "grad_output")

    def compute(target: Array | None) -> Array:
        arrays = (x, weight_size, g, target)
        call = find_call(weight_gradient_problem, arguments, ndim, arrays, options, x)
        # The core knows one weight gradient: a transposed convolution's has the two exchanged.
        image, gradient = (x, g) if arguments is conv_arguments else (g, x)
        return call.compute(image, gradient, out=target)

    if out is None:
        return compute(None)
    return fill(out, {"input": input, "grad_output": grad_output}, compute)


def bias_gradient(function: str, ndim: int, grad_output: ArrayInput) -> Array:
    """Gradient by the bias, summed in float64."""
    g = as_array(grad_output, "grad_output")
    check_dtype(g.dtype, "grad_output")
    check_batched(g.shape, ndim, function, "grad_output")
    axes = tuple(axis for axis in range(g.ndim) if axis != g.ndim - ndim - 1)
    total: Array = np.add.reduce(g, axis=axes, dtype=np.float64)
    return total.astype(g.dtype)
