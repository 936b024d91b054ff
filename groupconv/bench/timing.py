"""Timing contenders in turns, so that a slow moment of the machine hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# A sample lasts this long or one call, whichever is longer: far above the clock's own cost.
_SAMPLE_SECONDS = 0.002
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 200
# Above one thread, pools that spin after a call slow whoever comes next. A pause before the sample
# lets them fall asleep; the sample's own first, untimed call wakes the pool it needs.
_SETTLE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: each sample's mean."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def fastest(self) -> float:
        return min(self.samples)


def _seconds_of(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def race(
    contenders: Mapping[str, Callable[[], object]], seconds: float, threads: int = 1
) -> dict[str, Timing]:
    """Time every contender, one sample of each per round.

    Parameters
    ----------
    contenders : mapping of str to callable
    seconds : float
        About how long all of it may take; five rounds are run in any case.
    threads : int, optional
        Threads the contenders use. Above one, each sample waits for other pools to fall asleep.

    Returns
    -------
    dict of str to Timing
        In the order of `contenders`.
    """
    calls, round_seconds = {}, 0.0
    settle = _SETTLE_SECONDS if threads > 1 else 0.0
    for name, run in contenders.items():
        run()  # first calls make plans, pools and pages
        once = min(_seconds_of(run, 1), _seconds_of(run, 1))
        calls[name] = max(1, int(_SAMPLE_SECONDS / once)) if once > 0 else 1
        round_seconds += calls[name] * once + (settle + once if settle else 0)
    rounds = int(seconds / round_seconds) if round_seconds else _MOST_ROUNDS
    rounds = max(_FEWEST_ROUNDS, min(_MOST_ROUNDS, rounds))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            if settle:
                time.sleep(settle)
                run()
            samples[name].append(_seconds_of(run, calls[name]))
    return {name: Timing(tuple(taken)) for name, taken in samples.items()}
