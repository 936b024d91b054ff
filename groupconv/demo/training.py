"""A small network of ResNeXt blocks, trained with nothing but groupconv and NumPy.

A layer's ``backward`` takes the gradient of the loss by the output of its last ``forward``, sets
the gradients of its parameters, and returns the gradient by its input. After training, ``fused``
gives what it computes with batch normalization folded into weights, and ReLU and the addition of a
block's input done by the convolution itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

import groupconv as gc
from groupconv.demo.network import Array

BATCH = 32
LEARNING_RATE = 2e-3
# Adam (Kingma and Ba, 2015): shares of the running means kept at each step, and a safe divisor.
MEAN_KEPT, SQUARE_KEPT, EPSILON = 0.9, 0.999, 1e-8
# Batch normalization: the share of a batch in the running means, and the least variance.
NEW_SHARE, VARIANCE_FLOOR = 0.1, 1e-5
# The axes that a channel's statistics go over.
PIXELS = (0, 2, 3)

Inference: TypeAlias = Callable[[Array], Array]


@dataclass(eq=False)
class Parameter:
    """An array to learn, its gradient, and Adam's running means of gradient and square."""

    value: Array
    gradient: Array = field(init=False)
    mean: Array = field(init=False)
    square: Array = field(init=False)

    def __post_init__(self) -> None:
        self.gradient, self.mean, self.square = (np.zeros_like(self.value) for _ in range(3))


class Layer(Protocol):
    """What networks are made of."""

    def forward(self, x: Array) -> Array: ...

    def backward(self, gradient: Array) -> Array: ...

    def parameters(self) -> list[Parameter]: ...

    def fused(self) -> Inference:
        """Return what the layer computes after training."""
        ...


def per_channel(values: Array) -> Array:
    """Return one value per channel in a shape that goes with ``(N, channels, height, width)``."""
    return values[:, None, None]


def dot(a: Array, b: Array) -> Array:
    """Return the sum of products over all pixels of every channel."""
    return np.einsum("nchw,nchw->c", a, b)


class Convolution:
    """A convolution with groups, batch normalization and, if wanted, ReLU; stride 1 keeps the size.

    Weights begin with the spread that keeps the signal's (He et al., 2015); `scale` is where the
    normalization's factors begin.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        inputs: int,
        outputs: int,
        kernel: int,
        groups: int = 1,
        stride: int = 1,
        relu: bool = True,
        scale: float = 1.0,
    ) -> None:
        shape = (outputs, inputs // groups, kernel, kernel)
        spread = np.sqrt(2 / np.prod(shape[1:]))
        self.weight = Parameter((spread * rng.standard_normal(shape)).astype(np.float32))
        self.scale = Parameter(np.full(outputs, scale, np.float32))
        self.shift = Parameter(np.zeros(outputs, np.float32))
        self.mean, self.var = np.zeros(outputs, np.float32), np.ones(outputs, np.float32)
        self.arguments: dict[str, Any] = {
            "stride": stride,
            "padding": kernel // 2,
            "groups": groups,
        }
        self.relu = relu

    def forward(self, x: Array) -> Array:
        self._x = x
        y = gc.conv2d(x, self.weight.value, **self.arguments)
        mean = y.mean(axis=PIXELS)
        y -= per_channel(mean)
        var = dot(y, y) * (mean.size / np.float32(y.size))
        self._per_spread = 1 / np.sqrt(var + VARIANCE_FLOOR)
        y *= per_channel(self._per_spread)
        self._normal = y
        self.mean += NEW_SHARE * (mean - self.mean)
        self.var += NEW_SHARE * (var - self.var)
        y = y * per_channel(self.scale.value)
        y += per_channel(self.shift.value)
        if self.relu:
            np.maximum(y, 0, out=y)
            self._passed = np.sign(y)
        return y

    def backward(self, gradient: Array) -> Array:
        if self.relu:
            gradient = gradient * self._passed
        self.shift.gradient = gradient.sum(axis=PIXELS)
        self.scale.gradient = dot(gradient, self._normal)
        # Subtracting the mean and dividing by the spread take these two components away.
        share = self.shift.value.size / np.float32(gradient.size)
        gradient = gradient - self._normal * per_channel(self.scale.gradient * share)
        gradient -= per_channel(self.shift.gradient * share)
        gradient *= per_channel(self._per_spread * self.scale.value)
        x, weight = self._x, self.weight.value
        self.weight.gradient = gc.grad.conv2d_weight(x, weight.shape, gradient, **self.arguments)
        return gc.grad.conv2d_input(x.shape, weight, gradient, **self.arguments)

    def parameters(self) -> list[Parameter]:
        return [self.weight, self.scale, self.shift]

    def fused(self, activation: Literal["relu"] | None = None) -> gc.Conv2d:
        """Return one layer for all that this one does, by the running means of training."""
        folded = gc.Conv2d.from_weight(self.weight.value, **self.arguments).fold_batch_norm(
            self.mean, self.var, self.scale.value, self.shift.value, eps=VARIANCE_FLOOR
        )
        return gc.Conv2d.from_weight(
            folded.weight,
            folded.bias,
            **self.arguments,
            activation="relu" if self.relu else activation,
        )


class Chain:
    """Layers one after the other."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

    def forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, gradient: Array) -> Array:
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient

    def parameters(self) -> list[Parameter]:
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def fused(self) -> Inference:
        steps = [layer.fused() for layer in self.layers]
        return lambda x: reduce(lambda x, step: step(x), steps, x)


class Block(Chain):
    """ResNeXt's block (Xie et al., 2017): mix channels, convolve in groups, mix, add the input."""

    layers: tuple[Convolution, Convolution, Convolution]

    def __init__(self, rng: np.random.Generator, channels: int, groups: int) -> None:
        super().__init__(
            Convolution(rng, channels, channels, 1),
            Convolution(rng, channels, channels, 3, groups),
            # Beginning as the identity makes the first steps stable.
            Convolution(rng, channels, channels, 1, relu=False, scale=0.0),
        )

    def forward(self, x: Array) -> Array:
        y = super().forward(x)
        y += x
        np.maximum(y, 0, out=y)
        self._passed = np.sign(y)
        return y

    def backward(self, gradient: Array) -> Array:
        gradient = gradient * self._passed
        return gradient + super().backward(gradient)

    def fused(self) -> Inference:
        first, second, third = self.layers
        mix, grouped, last = first.fused(), second.fused(), third.fused("relu")
        return lambda x: last(grouped(mix(x)), residual=x)


class Classifier:
    """Logits from the mean of every channel."""

    def __init__(self, rng: np.random.Generator, inputs: int, classes: int) -> None:
        weight = rng.standard_normal((classes, inputs)) / np.sqrt(inputs)
        self.weight = Parameter(weight.astype(np.float32))
        self.bias = Parameter(np.zeros(classes, np.float32))

    def forward(self, x: Array) -> Array:
        self._shape, self._means = x.shape, x.mean(axis=(2, 3))
        return self._means @ self.weight.value.T + self.bias.value

    def backward(self, gradient: Array) -> Array:
        self.weight.gradient = gradient.T @ self._means
        self.bias.gradient = gradient.sum(axis=0)
        by_pixel = gradient @ self.weight.value / np.float32(self._shape[2] * self._shape[3])
        return np.broadcast_to(by_pixel[:, :, None, None], self._shape)

    def parameters(self) -> list[Parameter]:
        return [self.weight, self.bias]

    def fused(self) -> Inference:
        return self.forward


def small_resnext(rng: np.random.Generator, classes: int) -> Chain:
    """Return a network for grey pictures: (N, 1, height, width) to logits (N, classes)."""
    return Chain(
        Convolution(rng, 1, 32, 3),
        Block(rng, 32, groups=8),
        Convolution(rng, 32, 64, 3, groups=8, stride=2),
        Block(rng, 64, groups=16),
        Classifier(rng, 64, classes),
    )


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean cross entropy of softmax(logits), and its gradient by the logits."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    total = probabilities.sum(axis=1, keepdims=True)
    probabilities /= total
    loss = np.log(total[:, 0]) - shifted[rows, labels]
    probabilities[rows, labels] -= 1
    return float(loss.mean()), probabilities / np.float32(len(labels))


def adam_step(parameters: list[Parameter], step: int) -> None:
    """Move parameters along their gradients; steps count from 1."""
    rate = LEARNING_RATE * np.sqrt(1 - SQUARE_KEPT**step) / (1 - MEAN_KEPT**step)
    for p in parameters:
        p.mean += (1 - MEAN_KEPT) * (p.gradient - p.mean)
        p.square += (1 - SQUARE_KEPT) * (p.gradient**2 - p.square)
        p.value -= np.float32(rate) * p.mean / (np.sqrt(p.square) + EPSILON)


def batches(count: int, epochs: int, seed: int) -> Iterator[list[Array]]:
    """Yield the shuffled indices of every epoch's batches."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(count)
        yield [order[first : first + BATCH] for first in range(0, count, BATCH)]


def train(
    network: Layer, images: Array, labels: Array, epochs: int, seed: int = 0
) -> Iterator[float]:
    """Train a network and yield the mean loss of every epoch when it is over.

    Parameters
    ----------
    network : Layer
    images : float32 array, (N, channels, height, width)
    labels : int array, (N,)
    epochs : int
    seed : int, optional
        Of the order of the images.
    """
    parameters = network.parameters()
    step = 0
    for epoch in batches(len(images), epochs, seed):
        losses = []
        for batch in epoch:
            step += 1
            loss, gradient = cross_entropy(network.forward(images[batch]), labels[batch])
            network.backward(gradient)
            adam_step(parameters, step)
            losses.append(loss)
        yield float(np.mean(losses))


def accuracy(network: Layer, images: Array, labels: Array) -> float:
    """Return the share of images whose largest logit is at their label, after training."""
    logits = network.fused()(images)
    return float((logits.argmax(axis=1) == labels).mean())
