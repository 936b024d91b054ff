"""The choices of `groups` that everybody starts with, run and described."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

import groupconv

_KERNEL = 5
_INPUT = 12
# Input channels, output channels, groups: dense, then fewer outputs, more outputs, as many.
_CASES = ((3, 3, 1), (8, 4, 4), (8, 4, 2), (4, 8, 4), (4, 8, 2), (4, 4, 4), (4, 4, 2))


@dataclass(frozen=True, slots=True)
class Case:
    """One choice of channels and groups, and what came of it."""

    in_channels: int
    out_channels: int
    groups: int
    kind: str
    weight_shape: tuple[int, ...]
    weights: int
    dense_weights: int
    inputs_of_an_output: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def run_cases() -> list[Case]:
    """Run a 5 x 5 convolution of every case on a 12 x 12 input."""
    return list(_run())


def _run() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for inputs, outputs, groups in _CASES:
        layer = groupconv.Conv2d(inputs, outputs, _KERNEL, groups=groups, rng=rng)
        x = rng.standard_normal((1, inputs, _INPUT, _INPUT), dtype=np.float32)
        connections = layer.connections()
        yield Case(
            in_channels=inputs,
            out_channels=outputs,
            groups=groups,
            kind=connections.kind,
            weight_shape=layer.weight.shape,
            weights=layer.weight.size,
            dense_weights=inputs * outputs * _KERNEL**2,
            inputs_of_an_output=connections.in_per_group,
            input_shape=x.shape,
            output_shape=layer(x).shape,
        )


def table(cases: list[Case]) -> str:
    """Lay the cases out as lines of text."""
    heads = (
        "channels",
        "groups",
        "kind",
        "weight",
        "weights",
        "of dense",
        "an output reads",
        "result",
    )
    rows = [
        (
            f"{case.in_channels} -> {case.out_channels}",
            str(case.groups),
            case.kind,
            str(case.weight_shape),
            str(case.weights),
            f"{case.weights / case.dense_weights:.0%}",
            f"{case.inputs_of_an_output} of {case.in_channels} inputs",
            str(case.output_shape),
        )
        for case in cases
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    )


def as_json(cases: list[Case]) -> list[dict[str, object]]:
    """Return the cases as JSON objects."""
    return [asdict(case) for case in cases]
