"""The float64 answer to a layer, by PyTorch where it is installed, else by the references."""

from __future__ import annotations

import importlib.util

import numpy as np

from groupconv import reference
from groupconv.bench.arrays import Arrays
from groupconv.bench.peers.torch import Torch
from groupconv.bench.suite import Layer


def float64_truth(layer: Layer, arrays: Arrays, threads: int = 1) -> np.ndarray:
    """What the layer's result is, computed in float64 by a library that is not under test.

    Parameters
    ----------
    layer : Layer
    arrays : Arrays
        Of any dtype.
    threads : int, optional
        Used by PyTorch only.

    Returns
    -------
    numpy.ndarray
        Of float64.
    """
    exact = arrays.astype("float64")
    if importlib.util.find_spec("torch") is None:
        return by_reference(layer, exact)
    answer = Torch().build(layer, exact, threads)
    return answer.read(answer.run())


def by_reference(layer: Layer, arrays: Arrays) -> np.ndarray:
    """The layer's result by :mod:`groupconv.reference`."""
    arguments = layer.arguments()
    if layer.gradient == "input":
        return reference.conv_input(layer.input, arrays.weight, arrays.grad_output, **arguments)
    if layer.gradient == "weight":
        return reference.conv_weight(arrays.input, layer.weight, arrays.grad_output, **arguments)
    operation = reference.conv_transpose if layer.transposed else reference.conv
    return operation(arrays.input, arrays.weight, arrays.bias, **arguments)
