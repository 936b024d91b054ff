"""A ResNeXt block three ways, and the networks around it: parameters as its paper counts them.

Xie, Girshick, Dollar, Tu and He, "Aggregated Residual Transformations for Deep Neural Networks",
2017, draw one block in three equivalent forms (figure 3): 32 narrow branches that are summed, the
same branches joined before the last layer, and one grouped convolution. This builds all three from
the same weights and compares their results and times; then it counts ResNet-50 and ResNeXt-50.

    python examples/resnext_block.py
"""

import timeit

import numpy as np

import groupconv as gc

PAPER = {"ResNet-50": (25.5, 4.1), "ResNeXt-50": (25.0, 4.2)}  # table 1: 10^6 parameters, 10^9 MACs
STAGES = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))  # blocks, width, size of the map


def counts(network):
    """Parameters and multiply-adds of ResNet-50 or of ResNeXt-50, 32 groups of 4 channels."""
    factor, groups = (2, 32) if network == "ResNeXt-50" else (1, 1)
    layers, channels = [(gc.connections(3, 64, 1, 7, bias=False), 112)], 64
    for number, (blocks, width, size) in enumerate(STAGES):
        inner, outer = factor * width, 4 * width
        for block in range(blocks):
            before = size * 2 if block == 0 and number else size  # its 3x3 halves the map
            layers += [(gc.connections(channels, inner, bias=False), before)]
            layers += [(gc.connections(inner, inner, groups, 3, bias=False), size)]
            layers += [(gc.connections(inner, outer, bias=False), size)]
            if block == 0:
                layers += [(gc.connections(channels, outer, bias=False), size)]
            channels = outer
    batch_norms = sum(2 * wiring.out_channels for wiring, _ in layers)
    classifier = channels * 1000
    parameters = sum(wiring.parameters for wiring, _ in layers) + batch_norms + classifier + 1000
    return parameters, sum(wiring.weights * size**2 for wiring, size in layers) + classifier


def block(channels, width, groups):
    """The three layers of a bottleneck block; the sum with its input is fused into the last."""
    return (
        gc.Conv2d(channels, width, 1, activation="relu", rng=1),
        gc.Conv2d(width, width, 3, padding=1, groups=groups, activation="relu", rng=2),
        gc.Conv2d(width, channels, 1, activation="relu", rng=3),
    )


def grouped(layers, x):
    """Form (c): one grouped convolution in the middle."""
    reduce, transform, expand = layers
    return expand(transform(reduce(x)), residual=x)


def branches(layers, x, joined):
    """Forms (a), the branches summed after their last layers, and (b), joined before it."""
    reduce, transform, expand = layers
    paths = []
    for path in transform.connections().paths():
        part = slice(path.outputs.start, path.outputs.stop)
        narrow = gc.conv2d(x, reduce.weight[part], reduce.bias[part], activation="relu")
        weight, bias = transform.weight[part], transform.bias[part]
        narrow = gc.conv2d(narrow, weight, bias, padding=1, activation="relu")
        paths.append(narrow if joined else gc.conv2d(narrow, expand.weight[:, part]))
    if joined:
        return expand(np.concatenate(paths, axis=1), residual=x)
    return np.maximum(sum(paths) + expand.bias[:, None, None] + x, 0)


layers = block(256, 128, groups=32)
x = np.random.default_rng(0).standard_normal((1, 256, 56, 56), dtype=np.float32)
forms = {
    "(a) 32 branches, summed": lambda: branches(layers, x, joined=False),
    "(b) 32 branches, joined": lambda: branches(layers, x, joined=True),
    "(c) grouped convolution": lambda: grouped(layers, x),
}
print(layers[1].connections(), "\n")
for name, compute in forms.items():
    difference = abs(compute() - forms["(c) grouped convolution"]()).max()
    milliseconds = 1e3 * min(timeit.repeat(compute, number=1, repeat=3))
    print(f"{name} {milliseconds:8.2f} ms, differs from (c) by {difference:.1e}")
    assert difference < 1e-5

print("\n              parameters   paper         MACs   paper")
for name, (millions, billions) in PAPER.items():
    parameters, macs = counts(name)
    print(f"{name:11} {parameters:>12,} {millions:>5.1f} M {macs:>12,} {billions:>5.1f} G")
    assert abs(parameters / 1e6 - millions) < 0.06 and abs(macs / 1e9 - billions) < 0.06
