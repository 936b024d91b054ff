"""How fast is each layer, and how far is that from what the hardware allows? On one thread."""

import groupconv

from .measure import floor_seconds, machine_limits, median_seconds
from .suite import LAYERS, build, call, flops, labels


class _Layers:
    """One family. Subclasses name its layers and, where it is a variant, what differs."""

    param_names = ("layer",)
    timeout = 120
    dtype = None
    channels_last = False

    def setup_cache(self):
        """The machine's limits, measured once for all classes."""
        groupconv.set_num_threads(1)
        return machine_limits()

    def setup(self, limits, label):
        groupconv.set_num_threads(1)
        layer = LAYERS[label]
        self.layer = layer._replace(dtype=self.dtype or layer.dtype)
        self.run = call(self.layer, self.channels_last)
        self.run()

    def time_layer(self, limits, label):
        self.run()

    def track_gflops(self, limits, label):
        return flops(self.layer) / median_seconds(self.run) / 1e9

    track_gflops.unit = "GFLOP/s"

    def track_fraction_of_floor(self, limits, label):
        """The hardware's least time over the layer's; above one where Winograd saves products."""
        return floor_seconds(self.layer, limits) / median_seconds(self.run)

    track_fraction_of_floor.unit = "fraction"


class _Planned(_Layers):
    """Layers that are objects and have a plan to ask."""

    def track_workspace_bytes(self, limits, label):
        built, x = build(self.layer, self.channels_last)
        return built.plan(x.shape).workspace_bytes

    track_workspace_bytes.unit = "bytes"


class Grouped(_Planned):
    params = (labels("grouped"),)


class Depthwise(_Planned):
    params = (labels("depthwise"),)


class Dense(_Planned):
    params = (labels("dense"),)


class Conv1d(_Planned):
    params = (labels("conv1d"),)


class Conv3d(_Planned):
    params = (labels("conv3d"),)


class Transposed(_Planned):
    params = (labels("transposed"),)


class Float64(_Planned):
    params = (labels("float64"),)


class GradInput(_Layers):
    params = (labels("grad_input"),)


class GradWeight(_Layers):
    params = (labels("grad_weight"),)


class Float16(_Planned):
    """Storage in half the bytes, the arithmetic in float32."""

    params = (labels("grouped", "depthwise", "dense"),)
    dtype = "float16"


class ChannelsLast(_Planned):
    """The input's channels are neighbours in memory."""

    params = (labels("grouped", "depthwise", "dense"),)
    channels_last = True
