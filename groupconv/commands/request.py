"""One convolution on one input: its layer, its plan, and the time a call takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import groupconv
from groupconv._threads import get_num_threads
from groupconv.bench.timing import race
from groupconv.connections import Connections, valid_groups

ROUNDS = 5
_SECONDS_PER_SAMPLE = 0.06


@dataclass(frozen=True, slots=True)
class Request:
    """A convolution asked about.

    Attributes
    ----------
    connections : Connections
    input_shape : tuple of int
        ``(N, C, *spatial)``.
    geometry : dict
        ``stride``, ``padding`` and ``dilation``, as for the layers.
    dtype : str
    """

    connections: Connections
    input_shape: tuple[int, ...]
    geometry: dict[str, Any]
    dtype: str = "float32"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return self.connections.output_shape(self.input_shape, **self.geometry)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of the whole batch."""
        return self.connections.macs(self.input_shape, **self.geometry)

    def layer(self) -> Any:
        """Make the layer, with the same random weights every time."""
        c = self.connections
        name = f"Conv{'Transpose' if c.transposed else ''}{len(c.kernel_size)}d"
        return getattr(groupconv, name)(
            c.in_channels,
            c.out_channels,
            c.kernel_size,
            groups=c.groups,
            bias=c.bias,
            dtype=self.dtype,
            rng=0,
            **self.geometry,
        )

    def call(self) -> Callable[[], object]:
        """Make the layer and its arrays; what is returned computes once."""
        layer = self.layer()
        x = np.random.default_rng(0).standard_normal(self.input_shape).astype(self.dtype)
        out = layer(x)
        return lambda: layer(x, out=out)

    def with_groups(self, groups: int) -> Request:
        """Ask the same with another number of groups."""
        return replace(self, connections=replace(self.connections, groups=groups))


def request(
    connections: Connections, input_shape: tuple[int, ...], geometry: dict[str, Any], dtype: str
) -> Request:
    """Check a request and complete its shape, whose batch and channels may be missing.

    Raises
    ------
    TypeError, ValueError
        When the convolution is not possible on such an input.
    """
    connections.macs(input_shape, **geometry)
    ndim = len(connections.kernel_size)
    missing = (1, connections.in_channels)[: ndim + 2 - len(input_shape)]
    return Request(connections, (*missing, *input_shape), geometry, dtype)


def groups_to_compare(connections: Connections, most: int = 16) -> list[int]:
    """Pick numbers of groups from 1 to the largest; all of them, unless they are very many."""
    valid = valid_groups(connections.in_channels, connections.out_channels)
    if len(valid) <= most:
        return valid
    return [valid[i * (len(valid) - 1) // (most - 1)] for i in range(most)]


def measure(
    requests: Sequence[Request], on_round: Callable[[str], None] = lambda name: None
) -> list[float]:
    """Time requests in turns, so that a slow moment of the machine hits all of them alike.

    Parameters
    ----------
    requests : sequence of Request
    on_round : callable, optional
        Told the name of each of `ROUNDS` rounds before it begins.

    Returns
    -------
    list of float
        Seconds of one call of each, as the median of many samples.
    """
    calls = {str(i): each.call() for i, each in enumerate(requests)}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS):
        on_round(f"round {number + 1}")
        timings = race(calls, _SECONDS_PER_SAMPLE * len(calls), get_num_threads())
        for name, timing in timings.items():
            samples[name] += timing.samples
    return [statistics.median(taken) for taken in samples.values()]
