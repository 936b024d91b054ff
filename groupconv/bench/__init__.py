"""A race of groupconv against other libraries on named layers of real networks.

The command is ``groupconv bench``; the parts are usable on their own::

    from groupconv.bench import Floor, choose, race_layer, select

    floor = Floor()
    for layer in select("depthwise"):
        result = race_layer(layer, choose("torch"), floor, seconds=1)
        print(layer.label, result.speedup_over("torch"), result.floor_fraction)

How it measures. Every contender is built once per layer with its weights bound, its answer is held
against a float64 one, then all are timed in turns: round after round, one sample of each, so that a
slow moment of the machine hits all alike. The figure is the median sample. An answer that is off by
more than 1e-4 of the largest output (low-precision Winograd) is shown but never counts as the
fastest. One thread compares best: above it, thread pools that go on spinning after a call are in
each other's way, which pauses between the samples lessen and do not remove.
"""

from groupconv.bench.floor import Floor
from groupconv.bench.layer_race import Result, race_layer
from groupconv.bench.peers import PEERS, Contender, Peer, choose
from groupconv.bench.suite import SUITE, Layer, select
from groupconv.bench.timing import Timing, race

__all__ = [
    "PEERS",
    "SUITE",
    "Contender",
    "Floor",
    "Layer",
    "Peer",
    "Result",
    "Timing",
    "choose",
    "race",
    "race_layer",
    "select",
]
