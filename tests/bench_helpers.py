"""What the tests of ``groupconv bench`` share: tiny layers, results of races."""

from __future__ import annotations

from groupconv.bench import layer_race, timing
from groupconv.bench.suite import parse

TINY = {
    "conv1d": "test/conv1d conv1d 2x6x11 4x3x3 s2 p1 g2",
    "conv2d": "test/conv2d conv2d 2x6x9x7 9x2x3x2 s2,1 p1,0 d1,2 g3",
    "conv3d": "test/conv3d conv3d 1x4x5x4x6 4x1x2x3x1 p0,1,0 g4",
    "transposed": "test/transposed conv_transpose2d 1x4x5x3 4x2x3x2 s2,3 p1,0 g2 op1,0",
    "float64": "test/float64 conv2d 1x4x6x6 4x4x3x3 p1 float64",
    "grad_input": "test/grad_input conv2d_input 2x4x7x7 6x2x3x3 s2 p1 g2",
    "grad_weight": "test/grad_weight conv2d_weight 2x4x7x7 6x2x3x3 p2 d2 g2",
}


def result_of(line: str, error: float = 1e-6, **seconds: float) -> layer_race.Result:
    """A result with given times, on a machine whose floor is one millisecond."""
    layer = parse(line)
    timings = {name: timing.Timing((value,)) for name, value in seconds.items()}
    errors = {name: error if name == "ncnn" else 1e-6 for name in seconds}
    return layer_race.Result(layer, timings, errors, {}, floor=0.001, bound="memory")
