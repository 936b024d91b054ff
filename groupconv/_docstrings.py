"""Docstrings of functions that differ only in their number of dimensions, written once.

``@documented(text, ndim)`` fills the ``<placeholders>`` of a text; what several texts share stands
in `_SHARED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Documented = TypeVar("Documented", bound=Callable[..., Any])

_PER_DIMENSION = {
    1: {
        "dimensions": "one dimension",
        "size": "L",
        "kernel": "kL",
        "out": "L_out",
        "nines": "9",
        "fives": "5",
    },
    2: {
        "dimensions": "two dimensions",
        "size": "H, W",
        "kernel": "kH, kW",
        "out": "H_out, W_out",
        "nines": "9, 9",
        "fives": "5, 5",
    },
    3: {
        "dimensions": "three dimensions",
        "size": "D, H, W",
        "kernel": "kD, kH, kW",
        "out": "D_out, H_out, W_out",
        "nines": "9, 9, 9",
        "fives": "5, 5, 5",
    },
}

_SHARED = {
    "dtypes": "float32, float64, float16 or ``ml_dtypes.bfloat16``, one dtype for all arrays",
    "activation": """activation : str or (str, float), optional
    Applied last: ``relu``, ``relu6``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``silu``,
    ``hardsigmoid``, ``hardswish`` or ``gelu``, as PyTorch defines them. ``("leaky_relu", slope)``
    sets the slope below zero; it is 0.01 otherwise.""",
    "algorithm": """algorithm : str, optional
    Name of the algorithm to use; by default the one predicted to be fastest.""",
    "stride": """stride : int or sequence of int, optional
    Steps of the kernel, one for all dimensions or one each.""",
    "dilation": """dilation : int or sequence of int, optional
    Distance between neighbouring elements of the kernel.""",
    "groups": """groups : int, optional
    Number of separate paths; it divides both channel counts.""",
    "padding_mode": """padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}, optional
    What the input is padded with; no padded copy is made.""",
    "raises": """TypeError
    When an argument is of the wrong kind: no array, a dtype that is not supported or not shared,
    a float, bool or None where an int belongs.
ValueError
    When shapes do not fit each other or a value is out of range. The message names the argument,
    its value and what would be right; for `groups` it lists the valid numbers.""",
}


def documented(
    text: str, ndim: int, words: Mapping[str, str] | None = None
) -> Callable[[Documented], Documented]:
    """Give a function or class the docstring `text`, filled in for `ndim` dimensions.

    `words` are placeholders of the caller's own; what stands for a placeholder may hold others.
    """
    values = {"d": str(ndim), **_SHARED, **_PER_DIMENSION[ndim], **(words or {})}

    def filled(template: str) -> str:
        return re.sub(r"<(\w+)>", lambda match: filled(values[match[1]]), template)

    def with_docstring(target: Documented) -> Documented:
        target.__doc__ = filled(text)
        return target

    return with_docstring
