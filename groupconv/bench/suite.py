"""The layers of the suite: named convolutions of real networks, and what each of them costs.

One line of the table is one layer: family and name, operation, input shape, weight shape, then the
arguments that are not the default, each with its first letters: stride ``s``, padding ``p``,
dilation ``d``, groups ``g``, output padding ``op``, and the dtype where it is not float32. Several
numbers, joined by commas, are one per spatial dimension. Every field means what it means in
PyTorch; ``conv2d_input`` and ``conv2d_weight`` are the two gradients of ``conv2d``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

_TABLE = """
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

_ARGUMENTS = {"s": "stride", "p": "padding", "d": "dilation", "g": "groups", "op": "output_padding"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution of a named network.

    Attributes
    ----------
    family, name : str
        The kind of layer, and the network and place it comes from.
    op : str
        ``conv{1,2,3}d``, ``conv_transpose{1,2,3}d``, ``conv2d_input`` or ``conv2d_weight``.
    input, weight : tuple of int
        Shapes: ``(N, C, *spatial)`` and ``(K, C/groups, *kernel)``, for transposed convolutions
        ``(C, K/groups, *kernel)``. Of a gradient: those of the convolution it belongs to.
    stride, padding, dilation, output_padding : tuple of int
        One entry per spatial dimension.
    groups : int
    dtype : str
    """

    family: str
    name: str
    op: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    dtype: str

    @property
    def label(self) -> str:
        """Family and name, as tables and ``--only`` write them."""
        return f"{self.family}/{self.name}"

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.input) - 2

    @property
    def transposed(self) -> bool:
        return self.op.startswith("conv_transpose")

    @property
    def gradient(self) -> str | None:
        """``"input"`` or ``"weight"`` where the layer computes that gradient, else None."""
        kind = self.op.partition("_")[2]
        return kind if kind in ("input", "weight") else None

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the convolution's output; for a gradient, of the gradient that comes in."""
        axes = zip(
            self.input[2:],
            self.weight[2:],
            self.stride,
            self.padding,
            self.dilation,
            self.output_padding,
            strict=True,
        )
        if self.transposed:
            channels = self.weight[1] * self.groups
            size = [(i - 1) * s - 2 * p + d * (k - 1) + op + 1 for i, k, s, p, d, op in axes]
        else:
            channels = self.weight[0]
            size = [(i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d, _ in axes]
        return (self.input[0], channels, *size)

    @property
    def flops(self) -> int:
        """Operations of the definition: two for every weight applied at every position.

        Padding counts, as if its zeros were multiplied; an algorithm that saves multiplications,
        such as Winograd's or Fourier's, does not lower the figure.
        """
        applied_at = self.input if self.transposed else self.output
        return 2 * math.prod(applied_at) * math.prod(self.weight[1:])

    @property
    def traffic(self) -> int:
        """Bytes that have to move: every array read or written once."""
        arrays = math.prod(self.input), math.prod(self.weight), math.prod(self.output)
        return sum(arrays) * np.dtype(self.dtype).itemsize

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the operation, without its arrays."""
        arguments = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        return arguments | {"output_padding": self.output_padding} if self.transposed else arguments


def parse(line: str) -> Layer:
    """Read one line of the table.

    Parameters
    ----------
    line : str
        ``family/name operation input weight [argument ...]``, see this module's description.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If the line has an argument that is none.
    """
    label, op, input, weight, *rest = line.split()
    family, _, name = label.partition("/")
    input_shape, weight_shape = (tuple(map(int, text.split("x"))) for text in (input, weight))
    ndim = len(input_shape) - 2
    given: dict[str, tuple[int, ...]] = {}
    dtype = "float32"
    for text in rest:
        if text.startswith("float"):
            dtype = text
        elif match := re.fullmatch(r"(s|p|d|g|op)(\d+(?:,\d+)*)", text):
            given[_ARGUMENTS[match[1]]] = tuple(map(int, match[2].split(",")))
        else:
            raise ValueError(f"{text!r} in the line of {label!r} is not an argument of a layer")

    def per_axis(argument: str, default: int) -> tuple[int, ...]:
        values = given.get(argument, (default,))
        return values * ndim if len(values) == 1 else values

    return Layer(
        family,
        name,
        op,
        input_shape,
        weight_shape,
        stride=per_axis("stride", 1),
        padding=per_axis("padding", 0),
        dilation=per_axis("dilation", 1),
        output_padding=per_axis("output_padding", 0),
        groups=given.get("groups", (1,))[0],
        dtype=dtype,
    )


SUITE: tuple[Layer, ...] = tuple(parse(line) for line in _TABLE.splitlines() if line.strip())


def select(patterns: str, layers: tuple[Layer, ...] = SUITE) -> tuple[Layer, ...]:
    """Layers whose label contains one of the given parts.

    Parameters
    ----------
    patterns : str
        Parts of ``family/name``, separated by commas; an empty string selects everything.
    layers : tuple of Layer, optional

    Returns
    -------
    tuple of Layer

    Raises
    ------
    ValueError
        If a part occurs in no label: a misspelt name must not shorten the race silently.
    """
    parts = [part.strip() for part in patterns.split(",") if part.strip()]
    for part in parts:
        if not any(part in layer.label for layer in layers):
            families = ", ".join(dict.fromkeys(layer.family for layer in layers))
            raise ValueError(
                f"{part!r} is in the name of no layer; the families are {families} "
                "(--list prints every layer)"
            )
    return tuple(
        layer for layer in layers if not parts or any(part in layer.label for part in parts)
    )
