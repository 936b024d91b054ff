"""What do more threads bring, here and on machines with many cores?"""

import os

import groupconv

from .measure import median_seconds
from .suite import LAYERS, build, call, feature, flops, labels

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class Threads:
    """Layers of different kinds and sizes, each on several numbers of threads."""

    param_names = ("layer", "threads")
    params = (
        [
            "grouped/resnext50_32x4d.stage1",
            "grouped/resnext50_32x4d.stage1.batch16",
            "depthwise/replknet.k31",
            "dense/resnet50.14",
            "conv1d/wav2vec2.position_k128",
            "transposed/dcgan",
            "grad_weight/resnet50.56",
        ],
        [1, 2, 4, 8, 16],
    )

    def setup(self, label, threads):
        if threads > CORES:
            raise NotImplementedError(f"there are {CORES} cores")
        groupconv.set_num_threads(threads)
        self.run = call(LAYERS[label])
        self.run()

    def time_layer(self, label, threads):
        self.run()

    def track_speedup(self, label, threads):
        parallel = median_seconds(self.run)
        groupconv.set_num_threads(1)
        return median_seconds(self.run) / parallel

    track_speedup.unit = "times"


def _heavy(layer):
    return layer.input[0] == 1 and flops(layer) > 50e6


class Balance:
    """Largest over mean work per thread, as the plan predicts it: one is even."""

    param_names = ("layer", "threads")
    params = (
        labels("grouped", "depthwise", "dense", "conv1d", "conv3d", "transposed", where=_heavy),
        [8, 16, 64],
    )

    def setup(self, label, threads):
        built, x = build(LAYERS[label])
        self.balance = feature(built.plan(x.shape), "balance")

    def track_balance(self, label, threads):
        return self.balance(threads)

    track_balance.unit = "ratio"
