"""One layer's race: build every contender, check its answer, time those that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import groupconv
from groupconv.bench.arrays import Arrays, draw
from groupconv.bench.floor import Floor
from groupconv.bench.peers import OURS, Peer
from groupconv.bench.quiet import quiet_stdout
from groupconv.bench.suite import Layer
from groupconv.bench.timing import Timing, race
from groupconv.bench.truth import float64_truth

# Largest error, relative to the largest output, of an answer that counts as the same work. A peer
# beyond it (a low-precision Winograd, say) is shown but is never the fastest; beyond TOLERATED it
# has computed something else. The library itself has to keep the first.
GATE, TOLERATED = 1e-4, 1e-3


@dataclass(frozen=True, slots=True)
class Result:
    """What happened on one layer.

    Attributes
    ----------
    layer : Layer
    timings : dict of str to Timing
        By contender, in the table's order; only those whose answer was right.
    errors : dict of str to float
        Largest error relative to the largest output, of every contender that answered.
    failures : dict of str to str
        Why a contender that has the operation is not among the timings.
    floor : float
        The hardware's floor in seconds.
    bound : str
        Which limit makes the floor, ``"arithmetic"`` or ``"memory"``.
    """

    layer: Layer
    timings: dict[str, Timing]
    errors: dict[str, float]
    failures: dict[str, str]
    floor: float
    bound: str

    def seconds(self, name: str) -> float | None:
        """Median time of a contender, None where it did not run."""
        return self.timings[name].median if name in self.timings else None

    def within_gate(self, name: str) -> bool:
        """Whether the contender's answer counts as the same work."""
        return name in self.errors and self.errors[name] <= GATE

    @property
    def fastest_peer(self) -> str | None:
        """The fastest contender that is not groupconv and keeps the gate."""
        peers = [name for name in self.timings if not is_ours(name) and self.within_gate(name)]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    def speedup_over(self, name: str | None, ours: str = "groupconv") -> float | None:
        """Time of a contender over groupconv's: above one, groupconv is ahead."""
        theirs = None if name is None else self.seconds(name)
        mine = self.seconds(ours)
        return theirs / mine if theirs and mine else None

    @property
    def floor_fraction(self) -> float | None:
        """Floor over groupconv's time: one is the hardware's limit."""
        mine = self.seconds("groupconv")
        return self.floor / mine if mine else None


def is_ours(name: str) -> bool:
    """Whether a contender is groupconv, in either memory order."""
    return name in {peer.name for peer in OURS}


def race_layer(layer: Layer, peers: Sequence[Peer], floor: Floor, seconds: float) -> Result:
    """Race groupconv against peers on one layer.

    Its own number of threads is the caller's to set, by :func:`groupconv.num_threads`; the peers
    get the floor's.

    Parameters
    ----------
    layer : Layer
    peers : sequence of Peer
        Those that lack the operation are left out.
    floor : Floor
    seconds : float
        About how long the timing may take, all contenders together.

    Returns
    -------
    Result
        A contender that raises or computes something else loses the layer, not the race.
    """
    arrays = draw(layer)
    truth = float64_truth(layer, arrays, floor.threads)
    with quiet_stdout(), groupconv.num_threads(floor.threads):
        running, errors, failures = _enter(layer, peers, arrays, truth, floor.threads)
        timings = race(running, seconds, floor.threads)
    return Result(layer, timings, errors, failures, floor.seconds(layer), floor.bound(layer))


def _enter(
    layer: Layer,
    peers: Sequence[Peer],
    arrays: Arrays,
    truth: np.ndarray[Any, Any],
    threads: int,
) -> tuple[dict[str, Callable[[], Any]], dict[str, float], dict[str, str]]:
    """Build and check every contender: those that may run, errors of answers, failures."""
    running: dict[str, Callable[[], Any]] = {}
    errors: dict[str, float] = {}
    failures: dict[str, str] = {}
    for peer in (*peers, *OURS):
        if not peer.accepts(layer):
            continue
        try:
            contender = peer.build(layer, arrays, threads)
            answer = np.asarray(contender.read(contender.run()))
            errors[peer.name] = error = relative_error(answer, truth)
            if not error <= (GATE if is_ours(peer.name) else TOLERATED):  # so put, a NaN fails
                raise ValueError(f"wrong by {error:.2g} of the largest output")
            running[peer.name] = contender.run
        except Exception as error:  # whatever a library may throw
            failures[peer.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return running, errors, failures


def relative_error(answer: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Largest difference over the largest magnitude of the truth.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if answer.shape != truth.shape:
        raise ValueError(f"shape {answer.shape} instead of {truth.shape}")
    return float(np.abs(answer - truth).max() / np.abs(truth).max())
