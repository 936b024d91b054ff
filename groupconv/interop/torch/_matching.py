"""What can be computed by one convolution: finding it in a traced graph.

::

    zero padding -> convolution -> batch normalisation -> + residual -> activation

Each step but the convolution may be missing. Every result but the last must have one reader, since
it will not exist any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch.fx import Graph, Node

from groupconv._arguments import Activation
from groupconv.interop.torch._convolutions import FORWARD, Accelerated
from groupconv.interop.torch._padding import PaddingFunction
from groupconv.interop.torch._steps import (
    Modules,
    activation_of,
    is_foldable_norm,
    is_identity,
    is_slice,
    may_overwrite,
    other_summand,
    padding_function,
    zero_padding,
)
from groupconv.interop.torch._tracing import is_watched


@dataclass
class Match:
    """Steps of a graph that one convolution computes."""

    convolution: Node
    last: Node
    """The last step that it replaces."""
    steps: list[Node] = field(default_factory=list)
    """The steps that it replaces one after the other, up to `last` or the slices before it."""
    padding: tuple[int, ...] | PaddingFunction = ()
    norm: Node | None = None
    addition: Node | None = None
    residual: Node | None = None
    activation: Activation = None
    sliced: Node | None = None
    """Where slices stand between `steps` and the activation, the last of them: they stay."""

    @property
    def input(self) -> Node:
        """What the convolution reads."""
        return self.steps[0].all_input_nodes[0]

    @property
    def anchor(self) -> Node:
        """The step in whose place the convolution is computed."""
        return self.convolution if self.addition is None else self.addition


def find_matches(graph: Graph, modules: Modules) -> list[Match]:
    """List what can be fused, each step in one match at most."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    taken: set[Node] = set()
    matches = []
    for node in graph.nodes:
        called = node.op == "call_module" and isinstance(modules[node], Accelerated)
        if not called or len(node.args) != 1 or node.kwargs or is_watched(modules[node]):
            continue
        match = _longest(node, modules, order, taken)
        if match.last is not node or match.padding:
            matches.append(match)
            taken.update(match.steps)
    return matches


def _longest(node: Node, modules: Modules, order: dict[Node, int], taken: set[Node]) -> Match:
    """Match as much as possible around one convolution, with its residual if that is safe."""
    match = _follow(node, modules, taken, with_residual=True)
    _take_padding(match, modules, taken)
    if match.addition is not None and not _may_wait(match, modules, order):
        match = _follow(node, modules, taken, with_residual=False)
        _take_padding(match, modules, taken)
    if match.padding and not _may_wait(match, modules, order):
        match.steps.pop(0)
        match.padding = ()
    return match


def _follow(node: Node, modules: Modules, taken: set[Node], with_residual: bool) -> Match:
    """Walk from a convolution to its only reader, and on, as long as the steps fit."""
    match = Match(node, node, [node])
    current, skipped = node, []
    while len(current.users) == 1:
        (reader,) = current.users
        if reader in taken or (reader in modules and is_watched(modules[reader])):
            break
        if is_identity(reader, modules):
            skipped.append(reader)
        elif match.sliced is None and _take_next(match, reader, current, modules, with_residual):
            match.steps += [*skipped, reader]
            match.last, skipped = reader, []
            if match.activation is not None:
                break
        elif is_slice(reader) and match.addition is None:
            match.sliced = reader
        elif match.sliced is not None and activation_of(reader, modules) is not None:
            match.activation, match.last = activation_of(reader, modules), reader
            return match
        else:
            break
        current = reader
    match.sliced = None
    return match


def _take_next(
    match: Match, reader: Node, current: Node, modules: Modules, with_residual: bool
) -> bool:
    """Add the next step to a match, if it is one that may come next."""
    if match.norm is None and match.addition is None and is_foldable_norm(reader, modules):
        match.norm = reader
        return True
    if (activation := activation_of(reader, modules)) is not None:
        match.activation = activation
        return True
    residual = other_summand(reader, current)
    if with_residual and match.addition is None and residual is not None:
        match.addition, match.residual = reader, residual
        return True
    return False


def _take_padding(match: Match, modules: Modules, taken: set[Node]) -> None:
    """Add the padding before a convolution, if nothing else reads it."""
    before = match.convolution.args[0]
    module = modules[match.convolution]
    if not isinstance(before, Node) or before in taken or len(before.users) != 1:
        return
    if not isinstance(module, FORWARD) or module.padding_mode != "zeros":
        return
    if before in modules and is_watched(modules[before]):
        return
    padding: Any = zero_padding(before, modules)
    if padding is None:
        padding = padding_function(before, module, modules)
    elif len(padding) > 2 * len(module.kernel_size):
        return
    if padding is not None:
        match.padding = padding
        match.steps.insert(0, before)


def _may_wait(match: Match, modules: Modules, order: dict[Node, int]) -> bool:
    """Tell whether the input is still what it was where the convolution will read it."""
    first, last = order[match.steps[0]], order[match.anchor]
    own = set(match.steps)
    return not any(
        first < place < last and node not in own and may_overwrite(node, modules)
        for node, place in order.items()
    )


def describe(match: Match) -> str:
    """Name what a match consists of."""
    parts = ["convolution"]
    if isinstance(match.padding, PaddingFunction):
        parts.insert(0, match.padding.name)
    elif match.padding:
        parts.insert(0, "zero padding")
    if match.norm is not None:
        parts.append("batch norm")
    if match.addition is not None:
        parts.append("residual")
    if match.activation is not None:
        name = match.activation if isinstance(match.activation, str) else match.activation[0]
        parts.append(name)
    return " + ".join(parts)
