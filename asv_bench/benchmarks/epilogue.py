"""What do a fused residual and activation cost beside the bare layer? On one thread."""

import groupconv

from .measure import median_seconds
from .suite import LAYERS, feature, labels, output_shape, random_array


class Epilogue:
    param_names = ("layer", "activation")
    params = (labels("grouped", where=lambda layer: layer.input[0] == 1), ["relu", "silu"])

    def setup(self, label, activation):
        groupconv.set_num_threads(1)
        layer = LAYERS[label]
        module = feature(groupconv, "Conv2d")
        weight = random_array(layer.weight, layer.dtype, seed=1)
        bias = random_array(layer.weight[:1], layer.dtype, seed=2)
        self.x = random_array(layer.input, layer.dtype)
        self.residual = random_array(output_shape(layer), layer.dtype, seed=3)
        self.bare = module.from_weight(weight, bias, **layer.arguments)
        try:
            self.fused = module.from_weight(weight, bias, **layer.arguments, activation=activation)
        except TypeError:
            raise NotImplementedError("this version fuses nothing") from None
        self.run_bare()
        self.run_fused()

    def run_bare(self):
        self.bare(self.x)

    def run_fused(self):
        self.fused(self.x, residual=self.residual)

    def time_fused(self, label, activation):
        self.run_fused()

    def track_fused_over_bare(self, label, activation):
        return median_seconds(self.run_fused) / median_seconds(self.run_bare)

    track_fused_over_bare.unit = "ratio"
