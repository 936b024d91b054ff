"""From arguments and array layouts to a `Problem`, refusing arrays that do not belong together.

A `Problem` states one convolution without data, in the terms of the core. Forward, transposed and
gradient calls arrive here, and leave as one of three operations:

===================  ========================================================================
``conv``             ``out[n,k,o] = bias[k] + sum over c,r of w[k,c,r] x[n,c,o*s + r*d - p]``
``conv_transpose``   ``out[n,k,o] = bias[k] + sum over c,r with i*s = o + p - r*d of
                     w[c,k,r] x[n,c,i]``; also the gradient of ``conv`` by its input
``grad_weight``      ``out[k,c,r] = sum over n,o of g[n,k,o] x[n,c,o*s + r*d - p]``
===================  ========================================================================

with strides s, dilations d and paddings p, one per dimension. The gradient of ``conv_transpose``
by its input is a ``conv``; its gradient by the weight is ``grad_weight`` with x and g exchanged.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from groupconv._arguments import Arguments, shape_like
from groupconv._arrays import Array, Layout, dense_strides, is_channels_last, overlaps_itself
from groupconv._geometry import Geometry, conv_geometry, conv_transpose_geometry

DTYPES = ("float32", "float64", "float16", "bfloat16")
Laid = Array | Layout


@dataclass(frozen=True, slots=True)
class Problem:
    """One convolution without data: sizes, strides in bytes, and what is fused into it.

    Arrays always carry a batch axis here. The weight slot of ``grad_weight`` holds the gradient of
    the output, and its output slot the gradient of the weight. `weights_ahead` tells whether the
    weights are prepared ahead of calls, as layers do, or in each call.
    """

    op: str
    dtype: str
    ndim: int
    batch: int
    groups: int
    in_per_group: int
    out_per_group: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    out_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad_before: tuple[int, ...]
    pad_after: tuple[int, ...]
    padding_mode: str
    activation: str | None
    activation_parameter: float
    algorithm: str
    has_residual: bool
    input_strides: tuple[int, ...]
    weight_strides: tuple[int, ...]
    output_strides: tuple[int, ...]
    residual_strides: tuple[int, ...]
    weights_ahead: bool = False


@functools.lru_cache(maxsize=64)
def _name_of(dtype: np.dtype[Any]) -> str:
    """Name of a dtype, which NumPy works out anew at each asking, in 10 microseconds."""
    return dtype.name


def check_dtype(dtype: np.dtype[Any], name: str, wanted: np.dtype[Any] | None = None) -> None:
    """Refuse a dtype that is not one of the storage types in native byte order, or not `wanted`."""
    supported = _name_of(dtype) in DTYPES
    if supported and not dtype.isnative:
        raise TypeError(
            f"{name} has dtype {dtype.str!r} of foreign byte order: convert it with "
            f"{name}.astype({dtype.name!r})"
        )
    if not supported:
        raise TypeError(
            f"{name} must have dtype {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {dtype}: "
            f"cast it, for example {name}.astype('float32')"
        )
    if wanted is not None and dtype != wanted:
        raise TypeError(
            f"{name} must have the layer's dtype {wanted}, got {dtype}: cast it with "
            f"{name}.astype({wanted.name!r})"
        )


def storage_dtype(dtype: object, name: str = "dtype") -> np.dtype[Any]:
    """Bring what names a dtype to one of the storage types.

    Raises
    ------
    TypeError
        When it names none of them.
    """
    wanted = f"{name} must be {', '.join(DTYPES[:-1])} or ml_dtypes.bfloat16"
    if dtype is None:
        raise TypeError(f"{wanted}, got None")
    try:
        resolved: np.dtype[Any] = np.dtype(cast(Any, dtype))
    except TypeError as error:
        hint = ": import ml_dtypes first" if dtype == "bfloat16" else ""
        raise TypeError(f"{wanted}, got {dtype!r}{hint}") from error
    if resolved.name not in DTYPES or not resolved.isnative:
        raise TypeError(f"{wanted}, in native byte order, got {resolved.str!r}")
    return resolved


def _common_dtype(arrays: dict[str, Laid | None]) -> np.dtype[Any]:
    """Check that all arrays of a call share one supported dtype; the first one sets it."""
    first, dtype = None, np.dtype(np.float32)
    for name, array in arrays.items():
        if array is None:
            continue
        check_dtype(array.dtype, name)
        if first is None:
            first, dtype = name, array.dtype
        elif array.dtype != dtype:
            raise TypeError(
                f"{name} has dtype {array.dtype} but {first} has {dtype}: all arrays of a call "
                f"share one dtype; cast one, for example {name}.astype({first}.dtype)"
            )
    return dtype


def check_shape(array: Laid | None, name: str, shape: tuple[int, ...], meaning: str) -> None:
    """Refuse an array, where given, of another shape than `shape`."""
    if array is not None and array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} ({meaning}), got {array.shape}")


def _with_batch(array: Laid, rank: int) -> tuple[int, ...]:
    """Strides with the batch axis that NumPy's ``array[None]`` has."""
    return array.strides if len(array.shape) == rank else (0, *array.strides)


def _output_strides(
    out: Laid | None, shape: tuple[int, ...], like: Laid | None, itemsize: int
) -> tuple[int, ...]:
    """Strides of `out` after checking it, else of a fresh array in the memory order of `like`.

    `shape` is the whole shape with batch axis; `like` None asks for C order.
    """
    if math.prod(shape) * itemsize >= 2**63:
        raise ValueError(f"the result would have shape {shape}, more than memory can address")
    rank = len(shape)
    if out is not None:
        if overlaps_itself(out.shape, out.strides, itemsize):
            raise ValueError(
                f"out must not overlap itself, got strides {out.strides} for shape {out.shape}"
            )
        return _with_batch(out, rank)
    channels_last = False
    if like is not None:
        strides = _with_batch(like, rank)
        whole = like.shape if len(like.shape) == rank else (1, *like.shape)
        channels_last = is_channels_last(whole, strides)
    return dense_strides(shape, itemsize, channels_last)


def forward_problem(
    arguments: Arguments,
    input: Laid,
    weight: Laid,
    bias: Laid | None = None,
    residual: Laid | None = None,
    out: Laid | None = None,
    output_size: object = None,
    *,
    weights_ahead: bool = False,
) -> Problem:
    """State a forward or transposed convolution of these arrays.

    Parameters
    ----------
    arguments : Arguments
        Checked arguments; they say which of the two it is.
    input, weight, bias, residual, out : ndarray or Layout
        What the caller gave; only shape, strides and dtype are looked at.
    output_size : tuple of int, optional
        Wanted size of a transposed convolution.
    weights_ahead : bool, optional
        Whether the weights are prepared ahead of calls.

    Raises
    ------
    TypeError
        For dtypes that are not supported or not shared.
    ValueError
        For shapes that do not fit each other or the arguments, and an `out` that overlaps itself.
    """
    dtype = _common_dtype(
        {"weight": weight, "input": input, "bias": bias, "residual": residual, "out": out}
    )
    if arguments.transposed:
        geometry = conv_transpose_geometry(
            arguments, input.shape, weight.shape, output_size=output_size
        )
    else:
        geometry = conv_geometry(arguments, input.shape, weight.shape)
    check_shape(bias, "bias", (geometry.out_channels,), "one per output channel")
    check_shape(residual, "residual", geometry.output_shape, "the result's")
    check_shape(out, "out", geometry.output_shape, "the result's")
    shape = (geometry.batch, geometry.out_channels, *geometry.out_size)
    return Problem(
        op="conv_transpose" if arguments.transposed else "conv",
        dtype=_name_of(dtype),
        ndim=arguments.ndim,
        batch=geometry.batch,
        groups=arguments.groups,
        in_per_group=geometry.in_channels // arguments.groups,
        out_per_group=geometry.out_channels // arguments.groups,
        in_size=geometry.in_size,
        kernel=geometry.kernel,
        out_size=geometry.out_size,
        stride=arguments.stride,
        dilation=arguments.dilation,
        pad_before=geometry.before,
        pad_after=geometry.after,
        padding_mode=arguments.padding_mode,
        activation=arguments.activation,
        activation_parameter=arguments.activation_parameter,
        algorithm=arguments.algorithm,
        has_residual=residual is not None,
        input_strides=_with_batch(input, len(shape)),
        weight_strides=weight.strides,
        output_strides=_output_strides(out, shape, input, dtype.itemsize),
        residual_strides=() if residual is None else _with_batch(residual, len(shape)),
        weights_ahead=weights_ahead,
    )


def gradient_geometry(
    arguments: Arguments,
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_output: Laid,
    names: tuple[str, str],
) -> Geometry:
    """Work out the sizes of the convolution whose gradient is asked, and check `grad_output`."""
    if arguments.transposed:
        geometry = conv_transpose_geometry(arguments, input_shape, weight_shape, names)
    else:
        geometry = conv_geometry(arguments, input_shape, weight_shape, names)
    meaning = f"the result's of {arguments.name} for {names[0]} {input_shape}"
    check_shape(grad_output, "grad_output", geometry.output_shape, meaning)
    return geometry


def input_gradient_problem(
    arguments: Arguments,
    input_size: object,
    weight: Laid,
    grad_output: Laid,
    out: Laid | None = None,
) -> Problem:
    """State the gradient of a convolution by its input: the other of ``conv``, ``conv_transpose``.

    Padding modes other than zeros are the caller's to fold back.

    Raises
    ------
    TypeError, ValueError
        As for `forward_problem`.
    """
    dtype = _common_dtype({"weight": weight, "grad_output": grad_output, "out": out})
    input_shape = shape_like(input_size, "input_size", "(the whole shape of the input)")
    geometry = gradient_geometry(
        arguments, input_shape, weight.shape, grad_output, ("input_size", "weight")
    )
    check_shape(out, "out", input_shape, "input_size")
    shape = (geometry.batch, geometry.in_channels, *geometry.in_size)
    return _gradient_problem(
        arguments,
        geometry,
        op="conv" if arguments.transposed else "conv_transpose",
        dtype=_name_of(dtype),
        in_per_group=geometry.out_channels // arguments.groups,
        out_per_group=geometry.in_channels // arguments.groups,
        in_size=geometry.out_size,
        out_size=geometry.in_size,
        padding_mode="zeros",
        input_strides=_with_batch(grad_output, len(shape)),
        weight_strides=weight.strides,
        output_strides=_output_strides(out, shape, grad_output, dtype.itemsize),
    )


def weight_gradient_problem(
    arguments: Arguments,
    input: Laid,
    weight_size: object,
    grad_output: Laid,
    out: Laid | None = None,
) -> Problem:
    """State the gradient of a convolution by its weight.

    In a transposed convolution the input takes the part of the gradient and the other way round.

    Raises
    ------
    TypeError, ValueError
        As for `forward_problem`.
    """
    dtype = _common_dtype({"input": input, "grad_output": grad_output, "out": out})
    shape = shape_like(weight_size, "weight_size", "(the whole shape of the weight)")
    geometry = gradient_geometry(
        arguments, input.shape, shape, grad_output, ("input", "weight_size")
    )
    check_shape(out, "out", shape, "weight_size")
    image, gradient = (grad_output, input) if arguments.transposed else (input, grad_output)
    in_size, out_size = geometry.in_size, geometry.out_size
    if arguments.transposed:
        in_size, out_size = out_size, in_size
    rank = arguments.ndim + 2
    return _gradient_problem(
        arguments,
        geometry,
        op="grad_weight",
        dtype=_name_of(dtype),
        in_per_group=shape[1],
        out_per_group=shape[0] // arguments.groups,
        in_size=in_size,
        out_size=out_size,
        padding_mode=arguments.padding_mode,
        input_strides=_with_batch(image, rank),
        weight_strides=_with_batch(gradient, rank),
        output_strides=_output_strides(out, shape, None, dtype.itemsize),
    )


def _gradient_problem(arguments: Arguments, geometry: Geometry, **rest: Any) -> Problem:
    """Fill in what both gradients take over from the convolution, and that nothing is fused."""
    return Problem(
        ndim=arguments.ndim,
        batch=geometry.batch,
        groups=arguments.groups,
        kernel=geometry.kernel,
        stride=arguments.stride,
        dilation=arguments.dilation,
        pad_before=geometry.before,
        pad_after=geometry.after,
        activation=None,
        activation_parameter=0.0,
        algorithm=arguments.algorithm,
        has_residual=False,
        residual_strides=(),
        **rest,
    )
