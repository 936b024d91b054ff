"""The forward operations on Dask arrays, for work beyond one machine's memory.

Names and arguments are those of :mod:`groupconv`; the result is a lazy Dask array whose chunks
follow the input's:

- along the batch, chunk by chunk;
- along the channels, at the boundaries between groups: a task then computes whole paths, from their
  input channels to their output channels, and needs no other. Chunk boundaries inside of a group
  are merged away, so a dense convolution (``groups=1``) has all its channels in one chunk;
- along space, each task reading the cells around its own that the kernel reaches.

The result has the same bits as one call on the whole array in C order, where all workers have the
instruction set of the process that makes the graph. The algorithm is therefore chosen once, for the
whole problem, and every task uses that one; pieces of space begin where the algorithm's own tiles
do. Give ``algorithm=`` to choose it yourself. One exception: around an infinity or NaN algorithms
that transform (``winograd``, ``fourier``) compute directly, as far as their blocks reach, and those
end with the pieces; finite outputs nearby may differ in their last bits.

Each task computes with one thread, since a Dask worker runs as many tasks at once as it has
threads; ``threads=`` changes that for workers that keep their cores idle otherwise.
"""

from __future__ import annotations

from groupconv._arguments import (
    Activation,
    Integers,
    Padding,
    PaddingMode,
    conv_arguments,
    conv_transpose_arguments,
)
from groupconv._docstrings import documented

try:
    import dask.array as da
except ImportError as error:
    raise ImportError("groupconv.interop.dask needs Dask: pip install 'groupconv[dask]'") from error

from groupconv.interop._dask_graph import AnyArray, convolve

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

_CONV = """Convolve a Dask array, as :func:`groupconv.conv<d>d` does a NumPy array.

Parameters
----------
input : dask.array.Array, (N, C, <size>) or (C, <size>)
    <dtypes>. Chunks of any sizes that are known.
weight : dask.array.Array or ndarray, (K, C/groups, <kernel>)
bias : dask.array.Array or ndarray, (K,), optional
<stride>
padding : int, str, sequence of int or sequence of (int, int), optional
    As for :func:`groupconv.conv<d>d`.
<dilation>
<groups>
<padding_mode>
<activation>
residual : dask.array.Array or ndarray, of the result's shape, optional
    Added before the activation.
<algorithm>
threads : int, optional
    Threads of each task; 1 by default.

Returns
-------
dask.array.Array, (N, K, <out>) or (K, <out>)
    Lazy; once computed, the same bits as :func:`groupconv.conv<d>d` of the whole arrays.

Raises
------
<raises>
"""

_CONV_TRANSPOSE = """Convolve a Dask array transposed, as :func:`groupconv.conv_transpose<d>d` does.

Parameters
----------
input : dask.array.Array, (N, C, <size>) or (C, <size>)
    <dtypes>. Chunks of any sizes that are known.
weight : dask.array.Array or ndarray, (C, K/groups, <kernel>)
bias : dask.array.Array or ndarray, (K,), optional
<stride>
padding : int, str, sequence of int or sequence of (int, int), optional
    As for :func:`groupconv.conv_transpose<d>d`.
output_padding : int or sequence of int, optional
    Added to one end of the output; smaller than stride or dilation.
<groups>
<dilation>
<activation>
residual : dask.array.Array or ndarray, of the result's shape, optional
    Added before the activation.
<algorithm>
threads : int, optional
    Threads of each task; 1 by default.

Returns
-------
dask.array.Array, (N, K, <out>) or (K, <out>)
    Lazy; once computed, the same bits as :func:`groupconv.conv_transpose<d>d` of the whole arrays.

Raises
------
<raises>
"""


@documented(_CONV, 1)
def conv1d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation = None,
    residual: AnyArray | None = None,
    algorithm: str = "auto",
    threads: int = 1,
) -> da.Array:
    arguments = conv_arguments(
        1, stride, padding, dilation, groups, padding_mode, activation, algorithm
    )
    return convolve(arguments, activation, input, weight, bias, residual, threads)


@documented(_CONV, 2)
def conv2d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation = None,
    residual: AnyArray | None = None,
    algorithm: str = "auto",
    threads: int = 1,
) -> da.Array:
    arguments = conv_arguments(
        2, stride, padding, dilation, groups, padding_mode, activation, algorithm
    )
    return convolve(arguments, activation, input, weight, bias, residual, threads)


@documented(_CONV, 3)
def conv3d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation = None,
    residual: AnyArray | None = None,
    algorithm: str = "auto",
    threads: int = 1,
) -> da.Array:
    arguments = conv_arguments(
        3, stride, padding, dilation, groups, padding_mode, activation, algorithm
    )
    return convolve(arguments, activation, input, weight, bias, residual, threads)


@documented(_CONV_TRANSPOSE, 1)
def conv_transpose1d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    activation: Activation = None,
    residual: AnyArray | None = None,
    algorithm: str = "auto",
    threads: int = 1,
) -> da.Array:
    arguments = conv_transpose_arguments(
        1, stride, padding, output_padding, groups, dilation, activation, algorithm
    )
    return convolve(arguments, activation, input, weight, bias, residual, threads)


@documented(_CONV_TRANSPOSE, 2)
def conv_transpose2d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    activation: Activation = None,
    residual: AnyArray | None = None,
    algorithm: str = "auto",
    threads: int = 1,
) -> da.Array:
    arguments = conv_transpose_arguments(
        2, stride, padding, output_padding, groups, dilation, activation, algorithm
    )
    return convolve(arguments, activation, input, weight, bias, residual, threads)


@documented(_CONV_TRANSPOSE, 3)
def conv_transpose3d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    *,
    activation: Activation = None,
    residual: AnyArray | None = None,
    algorithm: str = "auto",
    threads: int = 1,
) -> da.Array:
    arguments = conv_transpose_arguments(
        3, stride, padding, output_padding, groups, dilation, activation, algorithm
    )
    return convolve(arguments, activation, input, weight, bias, residual, threads)
