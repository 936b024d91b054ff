"""AlexNet's two paths: the layers that brought `groups` into the world, with its paper's numbers.

In 2012 one GPU could not hold the network, so its second, fourth and fifth convolutions were split
in two paths that do not see each other: what is called `groups=2` today. This builds the five
convolutions, holds sizes and counts to the paper (Krizhevsky, Sutskever and Hinton, "ImageNet
Classification with Deep Convolutional Neural Networks", 2012, section 3.5), runs an image through
them, and shows that two machines with half of the channels each compute the very same numbers.

    python examples/alexnet_paths.py
"""

import timeit
from functools import partial

import numpy as np

import groupconv as gc

# kernels as the paper lists them: how many, of which size; neurons as in its last sentence
PAPER = {
    "conv1": ((96, 3, 11, 11), 290_400),  # it says 253,440; 55 x 55 x 96 is what its sizes give
    "conv2": ((256, 48, 5, 5), 186_624),
    "conv3": ((384, 256, 3, 3), 64_896),
    "conv4": ((384, 192, 3, 3), 64_896),
    "conv5": ((256, 192, 3, 3), 43_264),
}
FULLY_CONNECTED = ((256 * 6 * 6, 4096), (4096, 4096), (4096, 1000))
LAYERS = {
    "conv1": gc.Conv2d(3, 96, 11, stride=4, padding=2, activation="relu", rng=1),
    "conv2": gc.Conv2d(96, 256, 5, padding=2, groups=2, activation="relu", rng=2),
    "conv3": gc.Conv2d(256, 384, 3, padding=1, activation="relu", rng=3),
    "conv4": gc.Conv2d(384, 384, 3, padding=1, groups=2, activation="relu", rng=4),
    "conv5": gc.Conv2d(384, 256, 3, padding=1, groups=2, activation="relu", rng=5),
}


def max_pool(x):
    """Largest of each 3 x 3 window, every second row and column."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return np.ascontiguousarray(windows.max(axis=(4, 5)))


def on_two_machines(layer, x):
    """Compute a layer of two groups as two dense convolutions that share nothing."""
    halves = [
        gc.conv2d(
            x[:, path.inputs],
            layer.weight[path.outputs],
            layer.bias[path.outputs],
            padding=layer.padding,
            activation=layer.activation,
        )
        for path in layer.connections().paths()
    ]
    return np.concatenate(halves, axis=1)


x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
total = sum(inputs * outputs + outputs for inputs, outputs in FULLY_CONNECTED)
print("layer  groups   weight shape      parameters      dense   neurons        MACs      ms")
for name, layer in LAYERS.items():
    wiring, (shape, neurons) = layer.connections(), PAPER[name]
    macs = layer.plan(x.shape).macs
    y = layer(x)
    assert layer.weight.shape == shape and y[0].size == neurons
    if layer.groups == 2:
        np.testing.assert_allclose(on_two_machines(layer, x), y, rtol=0, atol=1e-5 * y.max())
    milliseconds = 1e3 * min(timeit.repeat(partial(layer, x), number=1, repeat=5))
    print(
        f"{name:6} {layer.groups:>6}   {shape!s:17} {wiring.parameters:>10,} "
        f"{wiring.dense_parameters:>10,} {neurons:>9,} {macs:>11,} {milliseconds:>7.2f}"
    )
    x = max_pool(y) if name in ("conv1", "conv2", "conv5") else y
    total += wiring.parameters
assert x.shape == (1, 256, 6, 6) and total == 60_965_224
print(f"\n{total:,} parameters with the fully connected layers: the paper's 60 million.")
print("Both paths computed apart give the same numbers.\n")
print(LAYERS["conv2"].connections())
