"""What does a call cost apart from its arithmetic?"""

import groupconv

from .suite import LAYERS, build, feature, random_array


class TinyCall:
    """An input so small that the arithmetic hardly counts."""

    def setup(self):
        groupconv.set_num_threads(1)
        self.x = random_array((1, 8, 8, 8), "float32")
        self.weight = random_array((8, 2, 3, 3), "float32", seed=1)
        self.layer = groupconv.Conv2d.from_weight(self.weight, groups=4)
        self.out = self.layer(self.x)
        self.function()

    def function(self):
        return groupconv.conv2d(self.x, self.weight, groups=4)

    def time_layer(self):
        self.layer(self.x)

    def time_layer_into_out(self):
        self.layer(self.x, out=self.out)

    def time_function(self):
        self.function()


class FirstCall:
    """A layer that was never called has to plan and to prepare its weights."""

    param_names = ("layer",)
    params = (["grouped/resnext50_32x4d.stage2", "depthwise/mobilenetv2.14", "dense/resnet50.14"],)
    # Each sample is one call on a layer of its own, made by its own setup.
    number = 1
    warmup_time = 0
    repeat = 15

    def setup(self, label):
        groupconv.set_num_threads(1)
        self.layer, self.x = build(LAYERS[label])
        self.steady, _ = build(LAYERS[label])
        self.steady(self.x)

    def time_first_call(self, label):
        self.layer(self.x)

    def time_later_call(self, label):
        self.steady(self.x)


class Plan:
    """Planning for a shape that the layer has not seen."""

    def setup(self):
        self.layer, x = build(LAYERS["grouped/resnext50_32x4d.stage2"])
        feature(self.layer, "plan")
        _, channels, height, width = x.shape
        self.shapes = ((1, channels, height + i, width) for i in range(1, 100_000))

    def time_new_shape(self):
        self.layer.plan(next(self.shapes))


def timeraw_import():
    """Import in a process of its own."""
    return "import groupconv"
