"""Gradients of the convolutions by input, weight and bias, with the names of ``torch.nn.grad``.

Each takes the arguments of its convolution, and `grad_output`: the gradient of a loss by the
convolution's result. Any groups, stride, dilation, kernel and padding mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from groupconv._arguments import (
    Integers,
    Padding,
    PaddingMode,
    conv_arguments,
    conv_transpose_arguments,
)
from groupconv._arrays import Array, ArrayInput
from groupconv._docstrings import documented
from groupconv._gradients import (
    bias_gradient,
    conv_input_gradient,
    input_gradient,
    weight_gradient,
)

__all__ = [
    "conv1d_bias",
    "conv1d_input",
    "conv1d_weight",
    "conv2d_bias",
    "conv2d_input",
    "conv2d_weight",
    "conv3d_bias",
    "conv3d_input",
    "conv3d_weight",
    "conv_transpose1d_bias",
    "conv_transpose1d_input",
    "conv_transpose1d_weight",
    "conv_transpose2d_bias",
    "conv_transpose2d_input",
    "conv_transpose2d_weight",
    "conv_transpose3d_bias",
    "conv_transpose3d_input",
    "conv_transpose3d_weight",
]

_INPUT = """Gradient of `<function>` by its input.

Parameters
----------
input_size : tuple of int
    Shape of the input: ``(N, C, <size>)``, or ``(C, <size>)`` without batch. With strides several
    input sizes give one output size; this says which.
weight : array
    ``<weight_shape>``;
    <dtypes>.
grad_output : array
    Of the shape of the result of `<function>`:
    ``(N, K, <out>)`` or ``(K, <out>)``.
<options>
out : ndarray, optional
    Where to write: shape `input_size`, the dtype of the others, any strides that overlap neither
    themselves nor another array of the call.

Returns
-------
ndarray
    Of shape `input_size`; `out` itself where given. It lies in memory channels last when
    `grad_output` does.

Raises
------
<raises>

Notes
-----
The adjoint of the convolution: ``sum(convolved * grad_output) = sum(input * result)``.
<input_note>

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> w, g = np.ones(<weight_ones>, "float32"), np.ones((1, 4, <result_ones>), "float32")
>>> gc.grad.<function>_input((1, 8, <input_ones>), w, g, groups=4).shape
(1, 8, <input_ones>)
"""

_WEIGHT = """Gradient of `<function>` by its weight.

Parameters
----------
input : array
    ``(N, C, <size>)``, or ``(C, <size>)`` without batch;
    <dtypes>.
weight_size : tuple of int
    Shape of the weight: ``<weight_shape>``.
grad_output : array
    Of the shape of the result of `<function>`:
    ``(N, K, <out>)`` or ``(K, <out>)``.
<options>
out : ndarray, optional
    Where to write: shape `weight_size`, the dtype of the others, any strides that overlap neither
    themselves nor another array of the call.

Returns
-------
ndarray
    Of shape `weight_size`, zeros for an empty batch; `out` itself where given.

Raises
------
<raises>

Notes
-----
::

    <weight_formula>

with one o and r per dimension; the same bits for any number of threads.

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> x, g = np.ones((1, 8, <input_ones>), "float32"), np.ones((1, 4, <result_ones>), "float32")
>>> gc.grad.<function>_weight(x, <weight_ones>, g, groups=4).shape
<weight_ones>
"""

_BIAS = """Gradient of `<function>` by its bias: the sum over batch and positions.

Parameters
----------
grad_output : array
    Of the shape of the result of `<function>`:
    ``(N, K, <out>)`` or ``(K, <out>)``;
    float32, float64, float16 or ``ml_dtypes.bfloat16``.

Returns
-------
ndarray
    ``(K,)``, of the dtype of `grad_output`, zeros for an empty batch.

Raises
------
TypeError
    When `grad_output` is no array or of a dtype that is not supported.
ValueError
    When it has the wrong number of dimensions, no channels or no size.

Notes
-----
``result[k] = sum over n, o of grad_output[n, k, o]``, summed in float64 and rounded once.

Examples
--------
>>> import numpy as np
>>> import groupconv as gc
>>> gc.grad.<function>_bias(np.ones((2, 4, <fives>), "float32")).shape
(4,)
"""

_CONV_OPTIONS = {
    "function": "conv<d>d",
    "weight_shape": "(K, C / groups, <kernel>)",
    "options": """<stride>
padding : int, sequence or str, optional
    In any form that `<function>` takes.
<dilation>
<groups>
<padding_mode>""",
    "input_note": """Computed as a transposed convolution; for padding modes other than zeros the
borders of the padded input's gradient are then added to the cells they were copied from.""",
    "weight_formula": """result[k, c, r] = sum over n, o of
        grad_output[n, k, o] * padded[n, g * C / groups + c, o * stride + r * dilation]""",
    "weight_ones": "(4, 2, <fives>)",
    "input_ones": "<nines>",
    "result_ones": "<fives>",
}

_TRANSPOSE_OPTIONS = {
    "function": "conv_transpose<d>d",
    "weight_shape": "(C, K / groups, <kernel>)",
    "options": """<stride>
padding : int, sequence or str, optional
    In any form that `<function>` takes.
output_padding : int or sequence of int, optional
    As given to `<function>`.
<groups>
<dilation>""",
    "input_note": "It is computed as a convolution.",
    "weight_formula": """result[c, k, r] = sum over n, i of
        input[n, c, i] * grad_output[n, g * K / groups + k, i * stride + r * dilation - before]""",
    "weight_ones": "(8, 1, <fives>)",
    "input_ones": "<fives>",
    "result_ones": "<nines>",
}


@documented(_INPUT, 1, _CONV_OPTIONS)
def conv1d_input(
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode
    return conv_input_gradient(1, input_size, weight, grad_output, out, *options)


@documented(_WEIGHT, 1, _CONV_OPTIONS)
def conv1d_weight(
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode
    return weight_gradient(conv_arguments, 1, input, weight_size, grad_output, out, *options)


@documented(_BIAS, 1, _CONV_OPTIONS)
def conv1d_bias(grad_output: ArrayInput) -> Array:
    return bias_gradient("conv1d", 1, grad_output)


@documented(_INPUT, 2, _CONV_OPTIONS)
def conv2d_input(
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode
    return conv_input_gradient(2, input_size, weight, grad_output, out, *options)


@documented(_WEIGHT, 2, _CONV_OPTIONS)
def conv2d_weight(
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode
    return weight_gradient(conv_arguments, 2, input, weight_size, grad_output, out, *options)


@documented(_BIAS, 2, _CONV_OPTIONS)
def conv2d_bias(grad_output: ArrayInput) -> Array:
    return bias_gradient("conv2d", 2, grad_output)


@documented(_INPUT, 3, _CONV_OPTIONS)
def conv3d_input(
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode
    return conv_input_gradient(3, input_size, weight, grad_output, out, *options)


@documented(_WEIGHT, 3, _CONV_OPTIONS)
def conv3d_weight(
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    out: Array | None = None,
) -> Array:
    options = stride, padding, dilation, groups, padding_mode
    return weight_gradient(conv_arguments, 3, input, weight_size, grad_output, out, *options)


@documented(_BIAS, 3, _CONV_OPTIONS)
def conv3d_bias(grad_output: ArrayInput) -> Array:
    return bias_gradient("conv3d", 3, grad_output)


@documented(_INPUT, 1, _TRANSPOSE_OPTIONS)
def conv_transpose1d_input(
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation
    return input_gradient(
        conv_transpose_arguments, 1, input_size, weight, grad_output, out, *options
    )


@documented(_WEIGHT, 1, _TRANSPOSE_OPTIONS)
def conv_transpose1d_weight(
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation
    return weight_gradient(
        conv_transpose_arguments, 1, input, weight_size, grad_output, out, *options
    )


@documented(_BIAS, 1, _TRANSPOSE_OPTIONS)
def conv_transpose1d_bias(grad_output: ArrayInput) -> Array:
    return bias_gradient("conv_transpose1d", 1, grad_output)


@documented(_INPUT, 2, _TRANSPOSE_OPTIONS)
def conv_transpose2d_input(
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation
    return input_gradient(
        conv_transpose_arguments, 2, input_size, weight, grad_output, out, *options
    )


@documented(_WEIGHT, 2, _TRANSPOSE_OPTIONS)
def conv_transpose2d_weight(
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation
    return weight_gradient(
        conv_transpose_arguments, 2, input, weight_size, grad_output, out, *options
    )


@documented(_BIAS, 2, _TRANSPOSE_OPTIONS)
def conv_transpose2d_bias(grad_output: ArrayInput) -> Array:
    return bias_gradient("conv_transpose2d", 2, grad_output)


@documented(_INPUT, 3, _TRANSPOSE_OPTIONS)
def conv_transpose3d_input(
    input_size: Sequence[int],
    weight: ArrayInput,
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation
    return input_gradient(
        conv_transpose_arguments, 3, input_size, weight, grad_output, out, *options
    )


@documented(_WEIGHT, 3, _TRANSPOSE_OPTIONS)
def conv_transpose3d_weight(
    input: ArrayInput,
    weight_size: Sequence[int],
    grad_output: ArrayInput,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    out: Array | None = None,
) -> Array:
    options = stride, padding, output_padding, groups, dilation
    return weight_gradient(
        conv_transpose_arguments, 3, input, weight_size, grad_output, out, *options
    )


@documented(_BIAS, 3, _TRANSPOSE_OPTIONS)
def conv_transpose3d_bias(grad_output: ArrayInput) -> Array:
    return bias_gradient("conv_transpose3d", 3, grad_output)
