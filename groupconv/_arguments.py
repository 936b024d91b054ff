"""The arguments of a convolution that are not arrays: checked and brought to one form.

`Arguments` is what functions, gradients and layers hold after this; what depends on the arrays'
shapes as well is checked in ``_problem``. Every function names the argument it refuses, the value
it got and what would be right.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias, TypeGuard

import numpy as np

Integers: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | Sequence[int] | Sequence[tuple[int, int]] | str
PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
ActivationName: TypeAlias = Literal[
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "silu",
    "hardsigmoid",
    "hardswish",
    "gelu",
]
Activation: TypeAlias = ActivationName | tuple[ActivationName, float] | None

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "silu",
    "hardsigmoid",
    "hardswish",
    "gelu",
)
DEFAULT_PARAMETERS = {"leaky_relu": 0.01}
"""Activations that take a parameter, with PyTorch's default for it."""

LARGEST = 2**31 - 1
MOST_THREADS = 1024


@dataclass(frozen=True, slots=True)
class Arguments:
    """All arguments of a convolution but its arrays, checked and normalised."""

    transposed: bool
    ndim: int
    stride: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    activation: str | None
    activation_parameter: float
    algorithm: str

    @property
    def name(self) -> str:
        """Name of the function these arguments belong to, for messages."""
        return f"conv{'_transpose' if self.transposed else ''}{self.ndim}d"


def conv_arguments(
    ndim: int,
    stride: Integers = 1,
    padding: Padding = 0,
    dilation: Integers = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    activation: Activation = None,
    algorithm: str = "auto",
) -> Arguments:
    """Check the arguments of a forward convolution.

    Raises
    ------
    TypeError, ValueError
        Naming the first argument that is wrong.
    """
    name, parameter = activation_and_parameter(activation)
    return Arguments(
        transposed=False,
        ndim=ndim,
        stride=spatial(stride, "stride", ndim),
        padding=padding_form(padding, ndim, ("valid", "same", "causal")[: 3 if ndim == 1 else 2]),
        output_padding=(0,) * ndim,
        dilation=spatial(dilation, "dilation", ndim),
        groups=integer(groups, "groups"),
        padding_mode=choice(padding_mode, "padding_mode", PADDING_MODES),
        activation=name,
        activation_parameter=parameter,
        algorithm=string(algorithm, "algorithm"),
    )


def conv_transpose_arguments(
    ndim: int,
    stride: Integers = 1,
    padding: Padding = 0,
    output_padding: Integers = 0,
    groups: int = 1,
    dilation: Integers = 1,
    activation: Activation = None,
    algorithm: str = "auto",
) -> Arguments:
    """Check the arguments of a transposed convolution.

    Raises
    ------
    TypeError, ValueError
        Naming the first argument that is wrong.
    """
    name, parameter = activation_and_parameter(activation)
    arguments = Arguments(
        transposed=True,
        ndim=ndim,
        stride=spatial(stride, "stride", ndim),
        padding=padding_form(padding, ndim, ("valid", "same")),
        output_padding=spatial(output_padding, "output_padding", ndim, least=0),
        dilation=spatial(dilation, "dilation", ndim),
        groups=integer(groups, "groups"),
        padding_mode="zeros",
        activation=name,
        activation_parameter=parameter,
        algorithm=string(algorithm, "algorithm"),
    )
    limits = tuple(map(max, arguments.stride, arguments.dilation))
    if any(p >= limit for p, limit in zip(arguments.output_padding, limits, strict=True)):
        raise ValueError(
            "output_padding must be smaller than stride or dilation in each dimension: got "
            f"{arguments.output_padding} for stride {arguments.stride} and dilation "
            f"{arguments.dilation}"
        )
    if arguments.padding == "same" and any(arguments.output_padding):
        raise ValueError(
            "output_padding must be 0 with padding='same', which sets the output size to "
            f"input size * stride: got {arguments.output_padding}"
        )
    return arguments


def shown(value: object) -> str:
    """Short text of a refused value and its type."""
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = reprlib.repr(value)
    return text if value is None else f"{text} ({type(value).__name__})"


def is_integer(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Tell Python and NumPy integers from everything else; bools are no numbers here."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _within(values: tuple[int, ...], given: object, name: str, least: int) -> None:
    if any(not least <= v <= LARGEST for v in values):
        bound = f"at least {least}" if min(values) < least else f"at most {LARGEST}"
        raise ValueError(f"{name} must be {bound}, got {shown(given)}")


def integer(value: object, name: str, least: int = 1) -> int:
    """Check one integer argument.

    Raises
    ------
    TypeError
        When it is no integer: bools, floats, strings, arrays and None are refused.
    ValueError
        When it is smaller than `least` or too large for the core.
    """
    if not is_integer(value):
        raise TypeError(f"{name} must be an int, got {shown(value)}")
    number = operator.index(value)
    _within((number,), value, name, least)
    return number


def thread_count(value: object, name: str) -> int:
    """Check a number of threads, given as an int or as the text of an environment variable."""
    expected = f"{name} must be a whole number of threads from 1 to {MOST_THREADS}, got "
    if isinstance(value, str):
        digits = value.isascii() and value.isdigit() and len(value) < len(str(LARGEST))
        number = int(value) if digits else 0
    elif is_integer(value):
        number = operator.index(value)
    else:
        raise TypeError(expected + shown(value))
    if not 1 <= number <= MOST_THREADS:
        raise ValueError(expected + reprlib.repr(value))
    return number


def spatial(value: object, name: str, ndim: int, least: int = 1) -> tuple[int, ...]:
    """Bring an int, or one int per spatial dimension, to a tuple of `ndim` ints.

    Raises
    ------
    TypeError, ValueError
        As for `integer`, and for a sequence of another length than 1 or `ndim`.
    """
    if is_integer(value):
        values: tuple[int, ...] = (operator.index(value),)
    elif isinstance(value, tuple | list) and all(map(is_integer, value)):
        values = tuple(map(operator.index, value))
    else:
        raise TypeError(f"{name} must be an int or {per_dimension(ndim)}, got {shown(value)}")
    if len(values) not in (1, ndim):
        raise ValueError(
            f"{name} must be an int or {per_dimension(ndim)}, got {len(values)} values: "
            f"{shown(value)}"
        )
    _within(values, value, name, least)
    return values * ndim if len(values) == 1 else values


def per_dimension(ndim: int) -> str:
    """Words for one int per spatial dimension."""
    return "a sequence of 1 int" if ndim == 1 else f"a sequence of {ndim} ints (one per dimension)"


def shape_like(value: object, name: str, axes: str) -> tuple[int, ...]:
    """Check a whole shape given as a sequence of ints; its length is the caller's to check.

    Raises
    ------
    TypeError
        When it is no tuple or list of ints.
    ValueError
        When an entry is negative.
    """
    if not isinstance(value, tuple | list) or not all(map(is_integer, value)):
        raise TypeError(f"{name} must be a tuple of ints {axes}, got {shown(value)}")
    sizes = tuple(map(operator.index, value))
    if any(size < 0 for size in sizes):
        raise ValueError(f"{name} must not hold negative sizes, got {sizes}")
    return sizes


def string(value: object, name: str) -> str:
    """Check that an argument is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {shown(value)}")
    return str(value)


def choice(value: object, name: str, choices: tuple[str, ...]) -> str:
    """Check that an argument is one of a few strings; upper case is another string."""
    text = string(value, name)
    if text not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {text!r}")
    return text


def boolean(value: object, name: str) -> bool:
    """Check that an argument is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def real(value: object, name: str) -> float:
    """Check that an argument is a finite real number."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(value)


def padding_form(
    padding: object, ndim: int, names: tuple[str, ...]
) -> str | tuple[tuple[int, int], ...]:
    """Bring padding to one of `names` or to one ``(before, after)`` pair per dimension.

    Raises
    ------
    TypeError, ValueError
        When it is none of the accepted forms, has the wrong length or is negative.
    """
    if isinstance(padding, str):
        return _named_padding(padding, ndim, names)
    pairs = isinstance(padding, tuple | list) and any(
        isinstance(entry, tuple | list) for entry in padding
    )
    if not pairs:
        try:
            return tuple((p, p) for p in spatial(padding, "padding", ndim, least=0))
        except TypeError:
            raise TypeError(
                f"padding must be {_forms(ndim, names)}, got {shown(padding)}"
            ) from None
        except ValueError as error:
            hint = ""
            if ndim == 1 and isinstance(padding, tuple | list) and len(padding) == 2:
                hint = f"; {padding[0]} before and {padding[1]} after is padding=[{padding!r}]"
            raise ValueError(f"{error}{hint}") from None
    assert isinstance(padding, tuple | list)
    if not all(
        isinstance(entry, tuple | list) and len(entry) == 2 and all(map(is_integer, entry))
        for entry in padding
    ):
        raise TypeError(f"padding must be {_forms(ndim, names)}, got {shown(padding)}")
    if len(padding) not in (1, ndim):
        raise ValueError(
            f"padding must hold 1 or {ndim} (before, after) pairs, got {len(padding)}: "
            f"{shown(padding)}"
        )
    resolved = tuple((operator.index(before), operator.index(after)) for before, after in padding)
    _within(sum(resolved, ()), padding, "padding", 0)
    return resolved * ndim if len(resolved) == 1 else resolved


def _forms(ndim: int, names: tuple[str, ...]) -> str:
    return (
        f"an int, {per_dimension(ndim)}, one (before, after) pair of ints per dimension, or one of "
        f"{', '.join(map(repr, names))}"
    )


def _named_padding(padding: str, ndim: int, names: tuple[str, ...]) -> str:
    if padding == "causal" and padding not in names:
        raise ValueError(
            "padding='causal' is for conv1d, whose one dimension can be time: use "
            f"{', '.join(map(repr, names))} or (before, after) pairs"
        )
    if padding not in names:
        raise ValueError(f"padding must be {_forms(ndim, names)}, got {padding!r}")
    return str(padding)


def activation_and_parameter(activation: object) -> tuple[str | None, float]:
    """Split an activation into its name and its parameter (0.0 where it takes none).

    Raises
    ------
    TypeError, ValueError
        When the name is unknown, takes no parameter, or the parameter is no finite number.
    """
    if activation is None:
        return None, 0.0
    if isinstance(activation, tuple):
        if len(activation) != 2:
            raise ValueError(
                f"activation as a tuple must be (name, parameter), got {shown(activation)}"
            )
        name = choice(activation[0], "activation", ACTIVATIONS)
        if name not in DEFAULT_PARAMETERS:
            raise ValueError(
                f"activation {name!r} takes no parameter, got {shown(activation)}; "
                f"{', '.join(map(repr, DEFAULT_PARAMETERS))} does"
            )
        return name, real(activation[1], f"activation parameter of {name!r}") + 0.0
    if not isinstance(activation, str):
        raise TypeError(
            f"activation must be None, a name or a tuple (name, parameter), got {shown(activation)}"
        )
    name = choice(activation, "activation", ACTIVATIONS)
    return name, DEFAULT_PARAMETERS.get(name, 0.0)


def from_environment(name: str) -> int | None:
    """Read a number of threads from an environment variable, None when it is not set."""
    text = os.environ.get(name)
    return None if text is None else thread_count(text, name)


def random_generator(rng: Any) -> np.random.Generator:
    """Bring None, an int seed or a Generator to a Generator.

    Raises
    ------
    TypeError, ValueError
        For anything else, and for negative seeds.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and not is_integer(rng):
        raise TypeError(
            f"rng must be None, an int seed or a numpy.random.Generator, got {shown(rng)}"
        )
    if rng is not None and rng < 0:
        raise ValueError(f"rng as a seed must not be negative, got {rng}")
    return np.random.default_rng(rng)
