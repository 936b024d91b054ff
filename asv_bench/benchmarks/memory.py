"""How much memory does a layer take beyond its arrays? Subtract the twin that does not call it."""

import groupconv

from .suite import LAYERS, build, output_shape, random_array


class PeakMemory:
    param_names = ("layer",)
    params = (
        [
            "grouped/resnext50_32x4d.stage1",
            "grouped/resnext50_32x4d.stage1.batch16",
            "depthwise/replknet.k31",
            "dense/resnet50.56",
            "conv1d/wav2vec2.position_k128",
            "conv3d/conv3d_stem_groups8",
        ],
    )

    def setup(self, label):
        groupconv.set_num_threads(1)
        layer = LAYERS[label]
        self.built, self.x = build(layer)
        self.out = random_array(output_shape(layer), layer.dtype)

    def peakmem_layer(self, label):
        self.built(self.x, out=self.out)

    def peakmem_nothing(self, label):
        """The same arrays and the same layer, not called."""


class ManyShapes:
    """Inputs of ever new sizes must not make a layer grow."""

    def setup(self):
        groupconv.set_num_threads(1)
        self.built, self.x = build(LAYERS["depthwise/mobilenetv2.56"])

    def peakmem_200_shapes(self):
        for height in range(1, 21):
            for width in range(1, 11):
                self.built(self.x[:, :, :height, :width])

    def peakmem_one_shape(self):
        for _ in range(200):
            self.built(self.x[:, :, :20, :10])
