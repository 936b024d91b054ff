"""How much of the speed does each instruction set have? On one thread."""

import os

import groupconv
from groupconv import _core

from .measure import median_seconds
from .suite import LAYERS, call, feature, flops


class InstructionSets:
    param_names = ("layer", "isa")
    params = (
        [
            "grouped/resnext50_32x4d.stage1",
            "grouped/alexnet.conv2",
            "depthwise/mobilenetv2.14",
            "depthwise/convnext_t.k7.14",
            "dense/resnet50.14",
            "dense/resnet50.pointwise.14",
            "conv3d/resnext3d",
            "float64/resnext50_32x4d.stage1.f64",
            "grad_weight/dilated2",
        ],
        ["baseline", "avx2", "avx512"],
    )

    def setup(self, label, isa):
        if isa not in feature(_core, "isa_available")():
            raise NotImplementedError(f"this machine has no {isa}")
        os.environ["GROUPCONV_ISA"] = isa  # read when a plan is made; asv gives each a process
        groupconv.set_num_threads(1)
        self.layer = LAYERS[label]
        self.run = call(self.layer)
        self.run()

    def time_layer(self, label, isa):
        self.run()

    def track_gflops(self, label, isa):
        return flops(self.layer) / median_seconds(self.run) / 1e9

    track_gflops.unit = "GFLOP/s"
