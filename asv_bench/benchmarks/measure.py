"""Measuring inside of ``track_`` benchmarks: median times, and the machine's own limits."""

import math
import statistics
import time

from groupconv import _core

from .suite import LAYERS, flops, traffic

SAMPLE_SECONDS, BUDGET_SECONDS = 0.002, 0.2
DTYPES = ("float32", "float64")


def median_seconds(run):
    """Median time of one call, over samples that fill the budget, five at least."""
    run()
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    calls = max(1, int(SAMPLE_SECONDS / once))
    samples = []
    for _ in range(max(5, min(100, int(BUDGET_SECONDS / (calls * once))))):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        samples.append((time.perf_counter() - start) / calls)
    return statistics.median(samples)


def copy_size(layer):
    """Bytes of a copy that moves about what the layer moves: a power of two."""
    return 2 ** (math.ceil(math.log2(traffic(layer))) - 1)


def machine_limits():
    """Operations per second of one core by dtype, bytes per second of its copies by their size."""
    sizes = {copy_size(layer) for layer in LAYERS.values()}
    return {
        "peak": {dtype: 1e9 * _core.peak_gflops(dtype) for dtype in DTYPES},
        "copy": {size: 1e9 * _core.copy_gbs(size) for size in sorted(sizes)},
    }


def floor_seconds(layer, limits):
    """The least time the hardware allows: arithmetic at peak rate, or every array moved once."""
    arithmetic = "float64" if layer.dtype == "float64" else "float32"
    copies = limits["copy"]
    size = min(copies, key=lambda known: abs(known - copy_size(layer)))
    return max(flops(layer) / limits["peak"][arithmetic], traffic(layer) / copies[size])
