"""Does more groups ever cost time? One shape, 256 to 256 channels, every power of two of groups."""

import groupconv

from .measure import median_seconds
from .suite import Layer, call, flops

CHANNELS, SIZE = 256, 28


def swept(kernel, groups):
    """The sweep's layer."""
    return Layer(
        family="grouped",
        op="conv2d",
        input=(1, CHANNELS, SIZE, SIZE),
        weight=(CHANNELS, CHANNELS // groups, kernel, kernel),
        arguments={"padding": kernel // 2, "groups": groups},
        dtype="float32",
    )


class GroupsSweep:
    """The layer itself, for each number of groups."""

    param_names = ("kernel", "groups")
    params = ([3, 1], [2**i for i in range(9)])

    def setup(self, kernel, groups):
        groupconv.set_num_threads(1)
        self.layer = swept(kernel, groups)
        self.run = call(self.layer)
        self.run()

    def time_layer(self, kernel, groups):
        self.run()

    def track_gflops(self, kernel, groups):
        return flops(self.layer) / median_seconds(self.run) / 1e9

    track_gflops.unit = "GFLOP/s"


class MoreGroups:
    """Above one, doubling the groups made the layer slower though it halved the work."""

    param_names = ("kernel", "groups")
    params = ([3, 1], [2**i for i in range(1, 9)])

    def setup(self, kernel, groups):
        groupconv.set_num_threads(1)
        self.run = call(swept(kernel, groups))
        self.run_half = call(swept(kernel, groups // 2))

    def track_time_over_half_the_groups(self, kernel, groups):
        return median_seconds(self.run) / median_seconds(self.run_half)

    track_time_over_half_the_groups.unit = "ratio"
