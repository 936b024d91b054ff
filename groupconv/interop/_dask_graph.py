"""How a convolution of a Dask array is cut into tasks; the functions are in :mod:`.dask`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import dask.array as da
import numpy as np

import groupconv
from groupconv._arguments import Activation, Arguments, thread_count
from groupconv._arrays import Layout, as_array, dense_strides
from groupconv._core import Plan
from groupconv._geometry import Geometry, conv_geometry, conv_transpose_geometry
from groupconv._problem import forward_problem
from groupconv.interop._windows import Axis, Run, Window

AnyArray: TypeAlias = da.Array | np.ndarray[Any, Any]


class Operands(NamedTuple):
    """The arrays of one convolution, all of Dask's."""

    input: da.Array
    weight: da.Array
    bias: da.Array | None
    residual: da.Array | None

    def with_batch(self) -> Operands:
        """The same with a batch axis."""
        residual = None if self.residual is None else self.residual[None]
        return self._replace(input=self.input[None], residual=residual)


def convolve(
    arguments: Arguments,
    activation: Activation,
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None,
    residual: AnyArray | None,
    threads: int,
) -> da.Array:
    """Cut a forward or transposed convolution into tasks and return the lazy result.

    Parameters
    ----------
    arguments : Arguments
        Checked arguments; they say which of the two it is.
    activation : str, (str, float) or None
        As the caller gave it.
    input, weight, bias, residual : dask.array.Array or ndarray
    threads : int
        Of each task.

    Raises
    ------
    TypeError, ValueError
        As the functions on NumPy arrays, and for an `input` whose chunks have unknown sizes.
    """
    if not isinstance(input, da.Array):
        raise TypeError(
            f"input must be a Dask array, got {type(input).__name__}: make one with "
            "dask.array.from_array(input, chunks=...)"
        )
    threads = thread_count(threads, "threads")
    operands = Operands(
        _as_dask(input, "input"),
        _as_dask(weight, "weight"),
        None if bias is None else _as_dask(bias, "bias"),
        None if residual is None else _as_dask(residual, "residual"),
    )
    layouts: Iterable[Any] = map(_layout, operands)
    plan = Plan(forward_problem(arguments, *layouts))
    find_geometry = conv_transpose_geometry if arguments.transposed else conv_geometry
    geometry = find_geometry(arguments, input.shape, operands.weight.shape)
    if not geometry.batched:
        operands = operands.with_batch()
    result = _blockwise(
        arguments,
        geometry,
        operands,
        algorithm=plan.algorithm,
        activation=activation,
        threads=threads,
    )
    return result if geometry.batched else result[0]


def _as_dask(array: AnyArray, name: str) -> da.Array:
    """A Dask array of known chunks; an array of this process becomes one of a single chunk."""
    if not isinstance(array, da.Array):
        return da.from_array(as_array(array, name), chunks=-1)
    if any(size != size for sizes in array.chunks for size in sizes):  # unknown sizes are NaN
        raise ValueError(
            f"{name} has chunks of unknown size: call {name}.compute_chunk_sizes() before"
        )
    return array


def _layout(array: da.Array | None) -> Layout | None:
    """The layout that the whole array has in C order."""
    if array is None:
        return None
    return Layout(array.shape, dense_strides(array.shape, array.dtype.itemsize), array.dtype)


def _blockwise(
    arguments: Arguments,
    geometry: Geometry,
    operands: Operands,
    *,
    algorithm: str,
    activation: Activation,
    threads: int,
) -> da.Array:
    """One task for each piece of the output: a batch chunk, some groups, a window of each axis."""
    x, weight, bias, residual = operands
    in_per_group = geometry.in_channels // arguments.groups
    out_per_group = geometry.out_channels // arguments.groups
    in_chunks = merge_chunks(x.chunks[1], in_per_group)
    out_chunks = tuple(chunk // in_per_group * out_per_group for chunk in in_chunks)
    x = x.rechunk({1: in_chunks})
    multiple = _tile(algorithm, arguments, geometry)
    sizes, edges = [], []
    for number, axis in enumerate(_axes(arguments, geometry)):
        pieces = axis.cuts(x.chunks[2 + number], multiple)
        windows = axis.windows(pieces)
        x = _gather(x, 2 + number, windows)
        sizes.append(pieces)
        edges.append(_edges(windows))
    weight_chunks = in_chunks if arguments.transposed else out_chunks
    weight = weight.rechunk({0: weight_chunks} | dict.fromkeys(range(1, weight.ndim), -1))
    if bias is not None:
        bias = bias.rechunk((out_chunks,))
    if residual is not None:
        residual = residual.rechunk((x.chunks[0], out_chunks, *sizes))

    spatial = [f"space{number}" for number in range(arguments.ndim)]
    output = ("batch", "channel", *spatial)
    blocks: list[Any] = [x, output, weight, ("channel", *_inner("weight", weight.ndim - 1))]
    blocks += [bias, None if bias is None else ("channel",)]
    blocks += [residual, None if residual is None else output]
    for name, edge in zip(spatial, edges, strict=True):
        blocks += [edge, (name, *_inner(name, 1))]
    return da.blockwise(
        compute_piece,
        output,
        *blocks,
        adjust_chunks={"channel": out_chunks} | dict(zip(spatial, sizes, strict=True)),
        align_arrays=False,
        concatenate=True,
        dtype=x.dtype,
        meta=np.empty((0,) * x.ndim, x.dtype),
        token=arguments.name,
        arguments=arguments,
        activation=activation,
        algorithm=algorithm,
        in_per_group=in_per_group,
        threads=threads,
    )


def _tile(algorithm: str, arguments: Arguments, geometry: Geometry) -> int:
    """Outputs along an axis in whose tile or block an output's bits depend on its place.

    Only algorithms that transform have such; all others add up an output's products in one order
    wherever it lies.
    """
    if algorithm.startswith("winograd"):
        # winograd_3x1: tiles of 3 x 1 outputs, which lie `stride` apart if transposed
        tile = max(int(size) for size in algorithm.split("_")[1].split("x"))
        return tile * (max(arguments.stride) if arguments.transposed else 1)
    if algorithm.endswith("fourier"):  # blocks along rows: fourier.c, depthwise_fourier.c
        span = arguments.dilation[-1] * (geometry.kernel[-1] - 1) + 1
        points = 1 << (2 * span - 1).bit_length()
        return points - span + 1
    return 1


def _inner(name: str, count: int) -> tuple[str, ...]:
    """Names for axes of a single chunk, which a task gets whole."""
    return tuple(f"{name}.{number}" for number in range(count))


def _axes(arguments: Arguments, geometry: Geometry) -> list[Axis]:
    per_axis = zip(
        geometry.in_size,
        geometry.out_size,
        geometry.kernel,
        arguments.stride,
        arguments.dilation,
        geometry.before,
        geometry.after,
        strict=True,
    )
    mode, transposed = arguments.padding_mode, arguments.transposed
    return [
        Axis(in_size, out_size, kernel, stride, dilation, before, after, mode, transposed)
        for in_size, out_size, kernel, stride, dilation, before, after in per_axis
    ]


def merge_chunks(chunks: Sequence[int], unit: int) -> tuple[int, ...]:
    """Sizes of the smallest chunks that end where given ones do and hold whole units.

    Parameters
    ----------
    chunks : sequence of int
        Their sum is a multiple of `unit`.
    unit : int

    Returns
    -------
    tuple of int
    """
    merged, pending = [], 0
    for chunk in chunks:
        pending += chunk
        if pending and pending % unit == 0:
            merged.append(pending)
            pending = 0
    return tuple(merged)


def _gather(x: da.Array, axis: int, windows: Sequence[Window]) -> da.Array:
    """The array whose chunks along an axis are the windows, overlaps and all."""
    if len(windows) == 1:
        return x.rechunk({axis: -1})
    pieces = [_read(x, axis, window).rechunk({axis: -1}) for window in windows]
    return da.concatenate(pieces, axis)


def _read(x: da.Array, axis: int, window: Window) -> da.Array:
    if window.zeros:
        shape = (*x.shape[:axis], window.zeros, *x.shape[axis + 1 :])
        chunks = (*x.chunks[:axis], (window.zeros,), *x.chunks[axis + 1 :])
        return da.zeros(shape, dtype=x.dtype, chunks=chunks)
    runs = [_read_run(x, axis, run) for run in window.runs]
    return runs[0] if len(runs) == 1 else da.concatenate(runs, axis)


def _read_run(x: da.Array, axis: int, run: Run) -> da.Array:
    if run.step == 0:
        return da.repeat(_read_run(x, axis, Run(run.start, 1, 1)), run.count, axis)
    end = run.start + run.step * run.count
    positions = slice(run.start, end if end >= 0 else None, run.step)
    return x[(slice(None),) * axis + (positions,)]


def _edges(windows: Sequence[Window]) -> da.Array:
    """What the padding arguments of each window's call are: before, after, output padding."""
    table = [(window.before, window.after, window.output_padding) for window in windows]
    return da.from_array(np.array(table, np.int64), chunks=(1, 3))


def compute_piece(
    x: np.ndarray[Any, Any],
    weight: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    residual: np.ndarray[Any, Any] | None,
    *edges: np.ndarray[Any, Any],
    arguments: Arguments,
    activation: Activation,
    algorithm: str,
    in_per_group: int,
    threads: int,
) -> np.ndarray[Any, Any]:
    """Compute one piece of the output: the body of every task, on whatever worker."""
    before, after, output_padding = zip(*(edge[0].tolist() for edge in edges), strict=True)
    options: dict[str, Any] = {
        "stride": arguments.stride,
        "padding": tuple(zip(before, after, strict=True)),
        "dilation": arguments.dilation,
        "groups": x.shape[1] // in_per_group,
        "activation": activation,
        "algorithm": algorithm,
    }
    if arguments.transposed:
        options["output_padding"] = output_padding
    else:
        options["padding_mode"] = arguments.padding_mode
    if residual is not None:
        options["residual"] = np.ascontiguousarray(residual)
    operation = getattr(groupconv, arguments.name)
    with groupconv.num_threads(threads):
        # The algorithm was chosen for arrays in C order; it may not take others.
        return operation(np.ascontiguousarray(x), np.ascontiguousarray(weight), bias, **options)
