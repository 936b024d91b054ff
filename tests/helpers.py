"""What the numerical tests share: problems, memory layouts with NaN guards, the rounding bound."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._arrays import as_array
from groupconv._core import Plan
from groupconv._problem import weight_gradient_problem

try:
    import ml_dtypes
except ImportError:  # bfloat16 is optional, here as in the library
    BFLOAT16 = ()
    finfo = np.finfo
else:
    BFLOAT16 = (np.dtype(ml_dtypes.bfloat16),)
    finfo = ml_dtypes.finfo

FLOATS = (np.dtype("float32"), np.dtype("float64"))
HALVES = (np.dtype("float16"), *BFLOAT16)

# Unit roundoff of the arithmetic, and of storing its result, per storage type.
ARITHMETIC = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-24, "bfloat16": 2.0**-24}
STORAGE = {"float32": 0.0, "float64": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST = {"float32": 2.0**-149, "float64": 2.0**-1074, "float16": 2.0**-24, "bfloat16": 2.0**-133}
MOST_UNITS = 64


@dataclass(frozen=True)
class Case:
    """Sizes and arguments of one convolution; arrays are drawn on demand, the same every time."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    groups: int = 1
    in_per_group: int = 1
    out_per_group: int = 1
    batch: int = 2
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    padding_mode: str = "zeros"
    output_padding: Any = 0

    def __str__(self) -> str:
        """The fields that are not at their default, as a test's identifier."""
        shape = "x".join(map(str, self.size))
        kernel = "x".join(map(str, self.kernel))
        text = f"{self.groups}*({self.in_per_group}to{self.out_per_group})-{shape}-k{kernel}"
        for name in ("batch", "stride", "padding", "dilation", "padding_mode", "output_padding"):
            value = getattr(self, name)
            if value != getattr(Case, name):
                text += f"-{name}={value}".replace(" ", "")
        return text

    @property
    def ndim(self) -> int:
        return len(self.size)

    @property
    def in_channels(self) -> int:
        return self.groups * self.in_per_group

    @property
    def out_channels(self) -> int:
        return self.groups * self.out_per_group

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.batch, self.in_channels, *self.size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_per_group, *self.kernel)

    @property
    def transposed_weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_per_group, *self.kernel)

    @property
    def out_size(self) -> tuple[int, ...]:
        where = (self.stride, self.padding, self.dilation)
        return reference.output_size(self.size, self.kernel, *where)

    @property
    def transposed_out_size(self) -> tuple[int, ...]:
        where = (self.stride, self.padding, self.output_padding, self.dilation)
        return reference.transposed_output_size(self.size, self.kernel, *where)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of a convolution or of its gradients."""
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        return {name: getattr(self, name) for name in names}

    @property
    def transposed_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a transposed convolution."""
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        return {name: getattr(self, name) for name in names}

    def draw(self, name: str, shape: tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        """Draw normal numbers that depend on the case, the name and the shape alone."""
        seed = zlib.crc32(repr((self, name, shape)).encode())
        return np.random.default_rng(seed).standard_normal(shape).astype(dtype)

    def arrays(self, dtype: Any = "float32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input, weight and bias of the convolution."""
        return (
            self.draw("input", self.input_shape, dtype),
            self.draw("weight", self.weight_shape, dtype),
            self.draw("bias", (self.out_channels,), dtype),
        )

    def output_gradient(self, dtype: Any = "float32", transposed: bool = False) -> np.ndarray:
        """Draw a gradient by the output of the convolution, or of the transposed one."""
        size = self.transposed_out_size if transposed else self.out_size
        return self.draw("gradient", (self.batch, self.out_channels, *size), dtype)

    def transposed_arrays(
        self, dtype: Any = "float32"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input, weight and bias of the transposed convolution."""
        return (
            self.draw("input", self.input_shape, dtype),
            self.draw("weight", self.transposed_weight_shape, dtype),
            self.draw("bias", (self.out_channels,), dtype),
        )

    def but(self, **changes: Any) -> Case:
        """Return the same case with some fields changed."""
        return replace(self, **changes)


# Names of the kinds of grouping: (groups, in_per_group, out_per_group).
KINDS = {
    "dense": (1, 5, 6),
    "dense-wide": (1, 3, 17),
    "grouped": (3, 4, 4),
    "grouped-odd": (5, 3, 7),
    "depthwise": (6, 1, 1),
    "multiplier": (4, 1, 3),
    "reducing": (3, 5, 1),
}


def kind(name: str) -> dict[str, int]:
    """Channel counts of one of `KINDS`, as fields of a `Case`."""
    return dict(zip(("groups", "in_per_group", "out_per_group"), KINDS[name], strict=True))


def function(name: str, ndim: int) -> Callable[..., Any]:
    """Look up ``conv`` or ``conv_transpose`` of a dimension: ``groupconv.conv2d``."""
    return getattr(gc, f"{name}{ndim}d")


def gradient(name: str, ndim: int, of: str) -> Callable[..., Any]:
    """Look up a gradient: ``groupconv.grad.conv2d_weight``."""
    return getattr(gc.grad, f"{name}{ndim}d_{of}")


def weight_gradient_by(
    algorithm: str,
    case: Case,
    x: np.ndarray,
    g: np.ndarray,
    out: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """Compute a gradient by the weight, by an algorithm that "auto" need not choose."""
    # what as_array copies (memory off its alignment) fill() would copy back
    target = out if as_array(out, "out") is out else np.empty(out.shape, out.dtype)
    x, g = as_array(x, "input"), as_array(g, "gradient")
    arguments = conv_arguments(case.ndim, **case.arguments)
    problem = weight_gradient_problem(arguments, x, case.weight_shape, g, target)
    Plan(replace(problem, algorithm=algorithm)).run(x, g, None, None, target, threads)
    if target is not out:
        out[...] = target
    return out


def algorithms(call: Callable[..., Any], *operands: Any, **arguments: Any) -> list[str]:
    """Names of the algorithms that can do this call, as the error for an unknown name lists them.

    ``auto``, which stands for one of them, is left out.
    """
    try:
        call(*operands, **arguments, algorithm="no such algorithm")
    except ValueError as error:
        names = str(error).rpartition(": ")[2].split(", ")
        assert names[0] == "auto"
        return names[1:]
    raise AssertionError("an unknown algorithm was accepted")


def has_own_bound(algorithm: str) -> bool:
    """Tell the algorithms whose error has another bound: see test_winograd, test_fourier."""
    return "winograd" in algorithm or "fourier" in algorithm


# --- rounding -----------------------------------------------------------------------------------


def exact(operation: Callable[..., Any], *operands: Any, **arguments: Any) -> np.ndarray:
    """Evaluate a reference with at least 29 bits more than the operands carry.

    float64 operands are taken to longdouble, so that the reference's own error does not count.
    """

    def widen(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            return value.astype(np.longdouble)
        return value

    return operation(
        *map(widen, operands), **{name: widen(value) for name, value in arguments.items()}
    )


def assert_within(
    got: np.ndarray, want: np.ndarray, bound: np.ndarray, units: float = MOST_UNITS
) -> None:
    """Check a result against the exact one: |got - want| <= units * roundoff * bound.

    Parameters
    ----------
    got : array
        The result; its dtype sets the unit roundoff, and half types may be rounded once more.
    want : array
        The exact result, in a wider type. NaN and infinities must be met as they are.
    bound : array
        Sum of the magnitudes of the terms, from `reference.error_bound`.
    units : float
        See `units_for`.
    """
    name = got.dtype.name
    assert got.shape == want.shape
    got = got.astype(want.dtype)
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), "NaN elsewhere than expected")
    np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])
    got, want, bound = got[finite], want[finite], bound[finite]
    assert np.isfinite(got).all(), "an infinity where the exact result is finite"
    error = np.abs(got - want)
    computed = units * ARITHMETIC[name] * bound
    # Storing rounds what was computed, not the exact result.
    allowed = computed + STORAGE[name] * (np.abs(want) + computed) + SMALLEST[name]
    if not (error <= allowed).all():
        worst = int(np.argmax(error - allowed))
        measured = float((error / np.maximum(bound * ARITHMETIC[name], 1e-300)).max())
        raise AssertionError(
            f"{np.count_nonzero(error > allowed)} of {error.size} values are off: flat index "
            f"{np.flatnonzero(finite)[worst]} is {got[worst]:.9g}, exactly {want[worst]:.9g}; "
            f"largest error {measured:.3g} units, {units:g} allowed"
        )


# Where an algorithm that transforms may have been chosen, with its larger error.
TRANSFORM_UNITS = 1024


def units_for(*taps: int) -> int:
    """Roundings that a product may meet on its way into a sum of so many, a bias and a residual.

    With n of them the error is at most n unit roundoffs of the sum of magnitudes. For long sums
    that worst case is never approached, so no test allows more than 64.
    """
    return min(math.prod(taps) + 3, MOST_UNITS)


def check_conv(
    case: Case, dtype: Any = "float32", layout: str = "contiguous", **options: Any
) -> None:
    """Compare a convolution, input and output between guards, with the reference."""
    x, w, b = case.arrays(dtype)
    with guarded((case.batch, case.out_channels, *case.out_size), dtype, layout) as out:
        conv = function("conv", case.ndim)
        assert conv(place(x, layout), w, b, **case.arguments, **options, out=out) is out
    want = exact(reference.conv, x, w, b, **case.arguments)
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    assert_within(out, want, bound, units_for(case.in_per_group, *case.kernel))


def check_epilogue(case: Case, **options: Any) -> None:
    """Compare a convolution with bias, residual and ReLU with the reference."""
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    conv = function("conv", case.ndim)
    got = conv(x, w, b, **case.arguments, residual=residual, activation="relu", **options)
    plain = exact(reference.conv, x, w, b, **case.arguments) + residual
    bound = reference.error_bound(reference.conv, x, w, b, **case.arguments)
    assert_within(got, np.maximum(plain, 0), bound + abs(residual))


def check_conv_transpose(
    case: Case, dtype: Any = "float32", layout: str = "contiguous", **options: Any
) -> None:
    """Compare a transposed convolution, input and output between guards, with the reference."""
    x, w, b = case.transposed_arrays(dtype)
    arguments = case.transposed_arguments
    with guarded((case.batch, case.out_channels, *case.transposed_out_size), dtype, layout) as out:
        conv_transpose = function("conv_transpose", case.ndim)
        assert conv_transpose(place(x, layout), w, b, **arguments, **options, out=out) is out
    want = exact(reference.conv_transpose, x, w, b, **arguments)
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **arguments)
    assert_within(out, want, bound, units_for(case.in_per_group, *case.kernel))


# --- memory -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How an array lies in memory.

    Parameters
    ----------
    order : str
        Memory order of the axes from slowest to fastest: ``c`` as they are, ``last`` batch,
        spatial, channel; ``reversed`` all axes backwards.
    step : int
        Distance of neighbours along spatial axes, in elements of the memory they lie in.
    channel_step : int
        The same along batch and channels.
    margin : int
        Guard cells at both ends of every axis, which makes rows and planes non-contiguous.
    shift : int
        Bytes by which the start is off its alignment.
    """

    order: str = "c"
    step: int = 1
    channel_step: int = 1
    margin: int = 0
    shift: int = 0
    writeable: bool = field(default=True)


LAYOUTS = {
    "contiguous": Layout(),
    "channels_last": Layout(order="last"),
    "axes_reversed": Layout(order="reversed"),
    "slice": Layout(margin=3),
    "channels_last_slice": Layout(order="last", margin=2),
    "every_other": Layout(step=2, margin=1),
    "every_third_channel": Layout(channel_step=3, margin=1),
    "flipped": Layout(step=-1),
    "flipped_slice": Layout(step=-1, channel_step=-1, margin=2),
    "channels_last_every_other": Layout(order="last", step=-2, margin=1),
    "misaligned": Layout(shift=1),
    "half_aligned": Layout(shift=2),
}

GUARD_BYTES = 256
UNTOUCHED = 0xFF  # all bits set: a NaN of every dtype, and not one that arithmetic produces


def _buffer(shape: tuple[int, ...], dtype: Any, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return a view of `shape` in the given layout and the bytes it lies in, all of them NaN."""
    dtype = np.dtype(dtype)
    ndim = len(shape)
    order = {
        "c": list(range(ndim)),
        "last": [0, *range(2, ndim), 1],
        "reversed": list(range(ndim))[::-1],
    }[layout.order]
    steps = [layout.channel_step if axis < 2 else layout.step for axis in range(ndim)]
    extents = [
        max(0, (size - 1) * abs(step) + 1) + 2 * layout.margin
        for size, step in zip(shape, steps, strict=True)
    ]
    size = math.prod(extents) * dtype.itemsize
    raw = np.full(size + 2 * GUARD_BYTES + 64, UNTOUCHED, np.uint8)
    start = GUARD_BYTES + -(raw.ctypes.data + GUARD_BYTES) % 64 + layout.shift
    whole = raw[start : start + size].view(dtype).reshape([extents[axis] for axis in order])
    whole = whole.transpose([order.index(axis) for axis in range(ndim)])
    index = []
    for count, step in zip(shape, steps, strict=True):
        taken = slice(layout.margin, layout.margin + max(0, (count - 1) * abs(step) + 1), abs(step))
        index.append(taken)
    view = whole[tuple(index)]
    view = view[tuple(slice(None, None, -1 if step < 0 else 1) for step in steps)]
    assert view.shape == tuple(shape)
    return view, raw


def place(array: np.ndarray, layout: str) -> np.ndarray:
    """Copy an array (N, C, ...) into the named layout, between NaN: a stray read shows."""
    view, _ = _buffer(array.shape, array.dtype, LAYOUTS[layout])
    view[...] = array
    view.flags.writeable = False
    return view


@contextlib.contextmanager
def guarded(shape: tuple[int, ...], dtype: Any, layout: str = "contiguous") -> Iterator[np.ndarray]:
    """Lend an output array between guards; on leaving, exactly its elements must be written."""
    view, raw = _buffer(shape, dtype, LAYOUTS[layout])
    yield view
    result = view.copy()
    unwritten = np.full(1, UNTOUCHED, np.uint8).repeat(result.itemsize).view(result.dtype)
    missed = result.view(_bits(result.dtype)) == unwritten.view(_bits(result.dtype))
    assert not missed.any(), f"{np.count_nonzero(missed)} of {missed.size} outputs not written"
    view[...] = np.broadcast_to(unwritten, shape)
    assert (raw == UNTOUCHED).all(), (
        f"{np.count_nonzero(raw != UNTOUCHED)} bytes outside the output were written"
    )
    view[...] = result


def _bits(dtype: np.dtype) -> str:
    return f"u{dtype.itemsize}"


def assert_same_bits(got: np.ndarray, want: np.ndarray, message: str = "") -> None:
    """Check that two results have the same bits, NaN included."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    got, want = (np.ascontiguousarray(array).view(_bits(array.dtype)) for array in (got, want))
    differing = np.count_nonzero(got != want)
    assert differing == 0, f"{differing} of {got.size} values differ in their bits {message}"
