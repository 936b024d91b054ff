"""Tracing with torch.fx that gives up on parts rather than on the whole.

``torch.fx.symbolic_trace`` refuses a module as soon as one line in it branches on data. Here the
smallest part that cannot be traced, a helper function or a submodule, is taken as one opaque
step, and the trace is tried again around it.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, TracebackType
from typing import Any

from torch import nn
from torch.fx import Graph, Node, Tracer

from groupconv.interop.torch._convolutions import Accelerated


@dataclasses.dataclass
class Trace:
    """A module's computation as a graph."""

    graph: Graph
    parameters: list[str]
    """Names of the arguments that became the graph's inputs: those without default."""
    inlined: list[nn.Module]
    """Modules whose ``forward`` was traced through: the module itself comes first."""
    opaque: list[nn.Module]
    """Modules that stayed one step although they have parts."""


class CannotTrace(Exception):
    """No part could be blamed but the module's own ``forward``."""


def trace(root: nn.Module) -> Trace:
    """Trace a module in evaluation mode, with default values for all arguments that have one.

    Raises
    ------
    CannotTrace
        When its own ``forward`` depends on data, has no argument, or changes the module.
    """
    forward = inspect.unwrap(type(root).forward)
    parameters = _required(forward)
    if not parameters:
        raise CannotTrace("forward has no argument without default")
    opaque: set[type[nn.Module]] = set()
    wrapped: dict[Any, None] = {}
    while True:
        tracer = _Tracer(parameters, opaque, tuple(wrapped))
        try:
            with _evaluating(root), _unchanged(root, tracer), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = tracer.trace(root)
        # A forward may fail in any way on values that are not tensors.
        except Exception as error:
            culprit = tracer.failed_in or root
            helper = _helper(culprit, error.__traceback__)
            if helper is not None and helper not in wrapped:
                wrapped[helper] = None
            elif culprit is not root and type(culprit) not in opaque:
                opaque.add(type(culprit))  # what one cannot, others of its kind cannot either
            elif isinstance(error, CannotTrace):
                raise
            else:
                raise CannotTrace(f"{type(error).__name__}: {error}".split("\n")[0]) from error
        else:
            return Trace(graph, parameters, [root, *tracer.inlined], list(tracer.met_opaque))


def _required(forward: Callable[..., Any]) -> list[str]:
    """Names of the arguments without default but `self`; none if one must be given by name."""
    own = list(inspect.signature(forward).parameters.values())[1:]
    required = [
        p for p in own if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return [] if any(p.kind is p.KEYWORD_ONLY for p in required) else [p.name for p in required]


class _Tracer(Tracer):
    """A tracer that remembers where it failed."""

    def __init__(self, parameters: list[str], opaque: set[type[nn.Module]], functions: Any) -> None:
        super().__init__(autowrap_functions=functions)
        self._parameters = parameters
        self._opaque = opaque
        self.inlined: dict[nn.Module, None] = {}
        self.met_opaque: dict[nn.Module, None] = {}
        self.failed_in: nn.Module | None = None

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """Make inputs of the required arguments only; Python fills in the others' defaults."""
        inputs = [self.create_proxy("placeholder", name, (), {}) for name in self._parameters]
        return root_fn, [self.root, *inputs]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Take PyTorch's own modules as one step, and those that are not what they seem."""
        if isinstance(m, Accelerated) or super().is_leaf_module(m, module_qualified_name):
            return True
        if type(m) in self._opaque or is_watched(m) or "forward" in m.__dict__:
            self.met_opaque[m] = None
            return True
        return False

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace through a module, noting the innermost one that fails."""
        if m not in self.submodule_paths:  # made in passing: it cannot be named
            return forward(*args, **kwargs)
        if self.is_leaf_module(m, self.path_of_module(m)):
            return super().call_module(m, forward, args, kwargs)
        self.inlined[m] = None
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed_in = self.failed_in or m
            raise

    def create_arg(self, a: Any) -> Any:
        """Write down how a dataclass is made: one that is a dictionary too would become that."""
        if dataclasses.is_dataclass(a) and not isinstance(a, type):
            values = {f.name: getattr(a, f.name) for f in dataclasses.fields(a)}
            return self.create_node("call_function", type(a), (), self.create_arg(values))
        return super().create_arg(a)


def is_watched(module: nn.Module) -> bool:
    """Tell whether hooks look at a module's calls."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _helper(culprit: nn.Module, traceback: TracebackType | None) -> FunctionType | None:
    """Find the function of the culprit's own file in which its ``forward`` failed.

    A decorated function is known by the code inside; decorators' own code belongs to many.
    """
    forward = inspect.unwrap(type(culprit).forward)
    codes = [frame.f_code for frame in _frames(traceback)]
    if forward.__code__ not in codes:
        return None
    functions = {f for f in forward.__globals__.values() if isinstance(f, FunctionType)}
    for code in codes[len(codes) - codes[::-1].index(forward.__code__) :]:
        found = [f for f in functions if code in (f.__code__, inspect.unwrap(f).__code__)]
        if len(found) == 1:
            return found[0]
    return None


def _frames(traceback: TracebackType | None) -> Iterator[Any]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


@contextmanager
def _evaluating(root: nn.Module) -> Iterator[None]:
    """Set a module to evaluation, and each part back to what it was."""
    before = {part: part.training for part in root.modules()}
    try:
        for part in before:
            part.training = False
        yield
    finally:
        for part, training in before.items():
            part.training = training


@contextmanager
def _unchanged(root: nn.Module, tracer: _Tracer) -> Iterator[None]:
    """Put back what a ``forward`` wrote into modules while it ran on symbols, and blame it."""
    before = [(part, _attributes(part)) for part in root.modules()]
    try:
        yield
    finally:
        changed = [part for part, attributes in before if _differ(_attributes(part), attributes)]
        for part, attributes in before:
            for holder, values in zip(_holders(part), attributes, strict=True):
                holder.clear()
                holder.update(values)
    if changed:
        # The tracer keeps tensors that do not depend on the input as attributes of the root.
        tracer.failed_in = None if changed[0] is root else changed[0]
        raise CannotTrace("forward assigns attributes, or makes tensors of its own")


def _holders(part: nn.Module) -> tuple[dict[str, Any], ...]:
    return part.__dict__, part._parameters, part._buffers, part._modules


def _attributes(part: nn.Module) -> tuple[dict[str, Any], ...]:
    return tuple(copy.copy(holder) for holder in _holders(part))


def _differ(now: tuple[dict[str, Any], ...], before: tuple[dict[str, Any], ...]) -> bool:
    return any(
        n.keys() != b.keys() or any(n[key] is not b[key] for key in n)
        for n, b in zip(now, before, strict=True)
    )


def modules_of(graph: Graph, root: nn.Module) -> dict[Node, nn.Module]:
    """Map the steps of a graph that call or name a module to that module."""
    parts = dict(root.named_modules())
    named = (node for node in graph.nodes if node.op in ("call_module", "get_attr"))
    return {node: parts[node.target] for node in named if node.target in parts}
