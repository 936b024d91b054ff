"""What a contender of the race is: a library that builds one layer and runs it again and again."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from groupconv.bench.arrays import Arrays
from groupconv.bench.suite import Layer


@dataclass(frozen=True, slots=True)
class Contender:
    """One layer, built with its weights bound, the way an inference script would.

    Attributes
    ----------
    run : callable
        Computes the layer once; what is timed.
    read : callable
        Turns what `run` returned into an array of the layer's own shape; not timed.
    keep : object
        Whatever must outlive the calls and that `run` does not hold itself.
    """

    run: Callable[[], Any]
    read: Callable[[Any], np.ndarray]
    keep: Any = None


class Peer(ABC):
    """A library in the race.

    A subclass says what it needs, which layers it has an operation for, and how one is built.
    Imports of the library belong into `build`: listing peers must not load them.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]  # the name pip knows it by
    modules: ClassVar[tuple[str, ...]]  # what must be importable

    def installed(self) -> bool:
        """Whether everything the peer needs can be imported."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)

    def version(self) -> str:
        """The installed release."""
        return importlib.metadata.version(self.distribution)

    @abstractmethod
    def accepts(self, layer: Layer) -> bool:
        """Whether the library has an operation for this layer at all."""

    @abstractmethod
    def build(self, layer: Layer, arrays: Arrays, threads: int) -> Contender:
        """Make the layer ready to run with at most `threads` threads."""
