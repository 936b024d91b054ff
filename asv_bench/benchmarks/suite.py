"""Named layers of real networks, and how each is built with whatever version is being measured.

The list is the suite's own, not the library's: old versions are measured with today's list. One
line is one layer: family and name, operation, input shape, weight shape, then the arguments that
are not the default, each with its first letters: stride ``s``, padding ``p``, dilation ``d``,
groups ``g``, output padding ``op``. Several numbers, joined by commas, are one per spatial
dimension.
"""

import math
from collections import namedtuple

import numpy as np

import groupconv

TABLE = """
grouped/resnext50_32x4d.stage1         conv2d           1x128x56x56    128x4x3x3    p1 g32
grouped/resnext50_32x4d.stage2_down    conv2d           1x256x56x56    256x8x3x3    s2 p1 g32
grouped/resnext50_32x4d.stage2         conv2d           1x256x28x28    256x8x3x3    p1 g32
grouped/resnext50_32x4d.stage3         conv2d           1x512x14x14    512x16x3x3   p1 g32
grouped/resnext50_32x4d.stage4         conv2d           1x1024x7x7     1024x32x3x3  p1 g32
grouped/resnext101_32x8d.stage1        conv2d           1x256x56x56    256x8x3x3    p1 g32
grouped/regnetx_3.2gf.stage3           conv2d           1x432x14x14    432x48x3x3   p1 g9
grouped/regnety_400mf.stage2           conv2d           1x104x28x28    104x8x3x3    p1 g13
grouped/alexnet.conv2                  conv2d           1x96x27x27     256x48x5x5   p2 g2
grouped/alexnet.conv4                  conv2d           1x384x13x13    384x192x3x3  p1 g2
grouped/post.8to4.groups4              conv2d           8x8x64x64      4x2x5x5      g4
grouped/post.8to4.groups2              conv2d           8x8x64x64      4x4x5x5      g2
grouped/post.4to8.groups2              conv2d           8x4x64x64      8x2x5x5      g2
grouped/resnext50_32x4d.stage1.batch16 conv2d           16x128x56x56   128x4x3x3    p1 g32
grouped/shufflenet_g3.pointwise        conv2d           1x240x28x28    240x80x1x1   g3
grouped/shufflenet_g8.pointwise        conv2d           1x384x28x28    384x48x1x1   g8

depthwise/mobilenetv1.112              conv2d           1x32x112x112   32x1x3x3     p1 g32
depthwise/mobilenetv2.112_down         conv2d           1x96x112x112   96x1x3x3     s2 p1 g96
depthwise/mobilenetv2.56               conv2d           1x144x56x56    144x1x3x3    p1 g144
depthwise/mobilenetv2.14               conv2d           1x576x14x14    576x1x3x3    p1 g576
depthwise/mobilenetv2.7                conv2d           1x960x7x7      960x1x3x3    p1 g960
depthwise/efficientnet.k5.28           conv2d           1x240x28x28    240x1x5x5    p2 g240
depthwise/efficientnet.k5.56_down      conv2d           1x144x56x56    144x1x5x5    s2 p2 g144
depthwise/convnext_t.k7.56             conv2d           1x96x56x56     96x1x7x7     p3 g96
depthwise/convnext_t.k7.14             conv2d           1x384x14x14    384x1x7x7    p3 g384
depthwise/replknet.k31                 conv2d           1x128x56x56    128x1x31x31  p15 g128
depthwise/dilated2                     conv2d           1x256x33x33    256x1x3x3    p2 d2 g256
depthwise/multiplier2                  conv2d           1x64x56x56     128x1x3x3    p1 g64
depthwise/mobilenetv2.56.batch16       conv2d           16x144x56x56   144x1x3x3    p1 g144

dense/resnet50.conv1                   conv2d           1x3x224x224    64x3x7x7     s2 p3
dense/resnet50.56                      conv2d           1x64x56x56     64x64x3x3    p1
dense/resnet50.28                      conv2d           1x128x28x28    128x128x3x3  p1
dense/resnet50.14                      conv2d           1x256x14x14    256x256x3x3  p1
dense/resnet50.7                       conv2d           1x512x7x7      512x512x3x3  p1
dense/resnet50.pointwise.56            conv2d           1x64x56x56     256x64x1x1
dense/resnet50.pointwise.14            conv2d           1x1024x14x14   256x1024x1x1
dense/post.3to3                        conv2d           8x3x64x64      3x3x5x5

conv1d/conformer.k31                   conv1d           1x512x1000     512x1x31     p15 g512
conv1d/mamba.causal_k4                 conv1d           1x8192x1024    8192x1x4     p3 g8192
conv1d/wav2vec2.position_k128          conv1d           1x768x499      768x48x128   p64 g16

conv3d/x3d_s                           conv3d           1x108x13x40x40 108x1x3x3x3  p1 g108
conv3d/resnext3d                       conv3d           1x128x8x28x28  128x4x3x3x3  p1 g32
conv3d/conv3d_stem_groups8             conv3d           1x32x4x112x112 64x4x3x7x7   s1,2,2 p1,3,3 g8

transposed/upsample_depthwise          conv_transpose2d 1x128x64x64    128x1x4x4    s2 p1 g128
transposed/upsample_groups4            conv_transpose2d 1x128x32x32    128x32x4x4   s2 p1 g4
transposed/dcgan                       conv_transpose2d 1x256x16x16    256x128x4x4  s2 p1
transposed/depthwise_1d                conv_transpose1d 16x512x32      512x1x6      s3 p2 g512 op1

float64/resnext50_32x4d.stage1.f64     conv2d           1x128x56x56    128x4x3x3    p1 g32 float64
float64/mobilenetv2.56.f64             conv2d           1x144x56x56    144x1x3x3    p1 g144 float64

grad_input/resnext50_32x4d.stage1      conv2d_input     8x128x56x56    128x4x3x3    p1 g32
grad_input/mobilenetv2.56              conv2d_input     8x144x56x56    144x1x3x3    p1 g144
grad_input/mobilenetv2.112_down        conv2d_input     8x96x112x112   96x1x3x3     s2 p1 g96
grad_input/convnext_t.k7.56            conv2d_input     8x96x56x56     96x1x7x7     p3 g96
grad_input/dilated2                    conv2d_input     8x64x56x56     64x1x3x3     p2 d2 g64
grad_input/resnet50.56                 conv2d_input     4x64x56x56     64x64x3x3    p1

grad_weight/resnext50_32x4d.stage1     conv2d_weight    8x128x56x56    128x4x3x3    p1 g32
grad_weight/mobilenetv2.56             conv2d_weight    8x144x56x56    144x1x3x3    p1 g144
grad_weight/mobilenetv2.112_down       conv2d_weight    8x96x112x112   96x1x3x3     s2 p1 g96
grad_weight/convnext_t.k7.56           conv2d_weight    8x96x56x56     96x1x7x7     p3 g96
grad_weight/dilated2                   conv2d_weight    8x64x56x56     64x1x3x3     p2 d2 g64
grad_weight/resnet50.56                conv2d_weight    4x64x56x56     64x64x3x3    p1
"""

LETTERS = {"s": "stride", "p": "padding", "d": "dilation", "g": "groups", "op": "output_padding"}

Layer = namedtuple("Layer", "family op input weight arguments dtype")


def parse(line):
    """Read one line of the table: the layer's label and the layer."""
    label, op, input, weight, *rest = line.split()
    dtype, arguments = "float32", {}
    for text in rest:
        if text.startswith("float"):
            dtype = text
            continue
        letters = text.rstrip("0123456789,")
        numbers = [int(number) for number in text[len(letters) :].split(",")]
        arguments[LETTERS[letters]] = numbers[0] if len(numbers) == 1 else tuple(numbers)
    shapes = [tuple(int(size) for size in shape.split("x")) for shape in (input, weight)]
    return label, Layer(label.split("/")[0], op, *shapes, arguments, dtype)


LAYERS = dict(parse(line) for line in TABLE.splitlines() if line.strip())


def labels(*families, where=lambda layer: True):
    """Labels of the layers of some families that pass a test."""
    return [label for label, layer in LAYERS.items() if layer.family in families and where(layer)]


def per_axis(layer, argument, default):
    """An argument's value for each spatial dimension."""
    value = layer.arguments.get(argument, default)
    return value if isinstance(value, tuple) else (value,) * (len(layer.input) - 2)


def output_shape(layer):
    """Shape of the convolution's output; for a gradient, of the gradient that comes in."""
    axes = list(
        zip(
            layer.input[2:],
            layer.weight[2:],
            per_axis(layer, "stride", 1),
            per_axis(layer, "padding", 0),
            per_axis(layer, "dilation", 1),
            per_axis(layer, "output_padding", 0),
            strict=True,
        )
    )
    if "transpose" in layer.op:
        channels = layer.weight[1] * layer.arguments.get("groups", 1)
        size = [(i - 1) * s - 2 * p + d * (k - 1) + op + 1 for i, k, s, p, d, op in axes]
    else:
        channels = layer.weight[0]
        size = [(i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d, _ in axes]
    return (layer.input[0], channels, *size)


def flops(layer):
    """Operations of the definition: two for every weight applied at every position."""
    applied_at = layer.input if "transpose" in layer.op else output_shape(layer)
    return 2 * math.prod(applied_at) * math.prod(layer.weight[1:])


def traffic(layer):
    """Bytes that have to move: every array read or written once."""
    elements = sum(math.prod(shape) for shape in (layer.input, layer.weight, output_shape(layer)))
    return elements * np.dtype(layer.dtype).itemsize


def random_array(shape, dtype, channels_last=False, seed=0):
    """Random numbers in pages that have been touched."""
    values = np.random.default_rng(seed).standard_normal(shape, np.float32).astype(dtype)
    if channels_last:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1, -1)), -1, 1)
    return values


def feature(owner, name):
    """An attribute, or NotImplementedError, by which asv knows that a version lacks it."""
    try:
        return getattr(owner, name)
    except AttributeError:
        raise NotImplementedError(f"this version has no {name}") from None


def build(layer, channels_last=False):
    """A layer object with its weights bound, and its input.

    Raises
    ------
    NotImplementedError
        If the version being measured has no such layer.
    """
    kind = "ConvTranspose" if "transpose" in layer.op else "Conv"
    module = feature(groupconv, f"{kind}{len(layer.input) - 2}d")
    weight = random_array(layer.weight, layer.dtype, seed=1)
    bias = random_array(output_shape(layer)[1:2], layer.dtype, seed=2)
    built = module.from_weight(weight, bias, **layer.arguments)
    return built, random_array(layer.input, layer.dtype, channels_last)


def call(layer, channels_last=False):
    """A function without arguments that computes the layer once, everything else done ahead.

    Raises
    ------
    NotImplementedError
        If the version being measured has no such operation.
    """
    if layer.op.endswith(("_input", "_weight")):
        gradient = feature(feature(groupconv, "grad"), layer.op)
        x = random_array(layer.input, layer.dtype)
        weight = random_array(layer.weight, layer.dtype, seed=1)
        incoming = random_array(output_shape(layer), layer.dtype, seed=2)
        if layer.op.endswith("_input"):
            return lambda: gradient(x.shape, weight, incoming, **layer.arguments)
        return lambda: gradient(x, weight.shape, incoming, **layer.arguments)
    built, x = build(layer, channels_last)
    return lambda: built(x)
