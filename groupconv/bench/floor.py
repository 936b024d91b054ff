"""The hardware's floor: the least time a layer can take on this machine.

Two limits are measured, in the process that races: how many multiply-adds a second the cores can do
with everything in registers, and how fast they copy memory. A layer needs at least
``max(operations / peak, bytes / copy rate)`` seconds. Operations are those of the definition, so an
algorithm that saves multiplications (Winograd's, Fourier's) may run below the floor: fractions
above one are real there.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from groupconv import _core
from groupconv.bench.suite import Layer

_COPY_SECONDS = 0.01
_COPY_ROUNDS = 5


class Floor:
    """Measures this machine's limits on demand and remembers them.

    The rate of a copy depends on which caches hold it, so it is taken at the layer's own size,
    rounded to a power of two: a layer called again and again finds its arrays where a copy of the
    same size, made again and again, finds its own.

    Parameters
    ----------
    threads : int
        How many threads copy, and the factor of the peak of one.
    """

    def __init__(self, threads: int = 1):
        self.threads = threads
        self._peaks: dict[str, float] = {}
        self._copies: dict[int, float] = {}

    def peak(self, dtype: str) -> float:
        """Operations per second of all threads, in the arithmetic of a storage dtype."""
        arithmetic = "float64" if dtype == "float64" else "float32"
        if arithmetic not in self._peaks:
            self._peaks[arithmetic] = 1e9 * _core.peak_gflops(arithmetic) * self.threads
        return self._peaks[arithmetic]

    def copy_rate(self, traffic: int) -> float:
        """Bytes per second, read and written both counted, of a copy that moves `traffic` bytes."""
        size = 1 << max(12, math.ceil(math.log2(traffic)) - 1)
        if size not in self._copies:
            self._copies[size] = measure_copy(size, self.threads)
        return self._copies[size]

    def measured(self) -> dict[str, dict[str, float]]:
        """What was measured so far: GFLOP/s by dtype, GB/s of copies by bytes moved."""
        return {
            "gflops": {dtype: rate / 1e9 for dtype, rate in self._peaks.items()},
            "copy_gbs": {str(2 * size): rate / 1e9 for size, rate in sorted(self._copies.items())},
        }

    def seconds(self, layer: Layer) -> float:
        """The layer's floor in seconds."""
        return max(
            layer.flops / self.peak(layer.dtype), layer.traffic / self.copy_rate(layer.traffic)
        )

    def bound(self, layer: Layer) -> str:
        """Which limit makes the floor: ``"arithmetic"`` or ``"memory"``."""
        arithmetic = layer.flops / self.peak(layer.dtype)
        return "arithmetic" if arithmetic >= self.seconds(layer) else "memory"


def measure_copy(size: int, threads: int = 1) -> float:
    """Measure the rate of copying memory.

    Parameters
    ----------
    size : int
        Bytes read; as many are written.
    threads : int, optional
        Each copies its own share, all at the same time.

    Returns
    -------
    float
        Bytes per second, read and written both counted; the best of a few rounds.
    """
    if threads == 1:
        return 1e9 * _core.copy_gbs(size)  # without NumPy's cost per call, which small copies feel
    share = max(1, size // threads)
    pairs = [(np.ones(share, np.uint8), np.zeros(share, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(_copy_rate, pairs)) for _ in range(_COPY_ROUNDS))


def _copy_rate(pair: tuple[np.ndarray, np.ndarray]) -> float:
    """Bytes per second of one thread, which is not alone."""
    source, target = pair
    copies, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _COPY_SECONDS:
        for _ in range(8):  # the clock is read once for several copies
            np.copyto(target, source)
        copies += 8
    return 2 * source.nbytes * copies / elapsed
