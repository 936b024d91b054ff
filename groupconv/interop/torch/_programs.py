"""Modules whose ``forward`` is replaced in inference by one with fused convolutions.

The replacement is used where it cannot be told from the original: in evaluation, with gradients
off, with the arguments it was traced for, while no hook watches what it skips, and outside of
compilers and transforms. Everything else goes to the original ``forward``, and so does the very
first call: the two results are compared, and a replacement that differs is dropped.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.nn.modules import module as global_hooks

from groupconv.interop.torch import functional
from groupconv.interop.torch._classes import NOTE, STATE, Changed, as_before, change
from groupconv.interop.torch._comparing import close
from groupconv.interop.torch._convolutions import Accelerated
from groupconv.interop.torch._fused import FusedConvolution
from groupconv.interop.torch._matching import Match, describe, find_matches
from groupconv.interop.torch._routes import Route, route
from groupconv.interop.torch._tracing import CannotTrace, Trace, is_watched, modules_of, trace


class Program:
    """A module's computation with fused convolutions.

    Copies and pickles hold neither graph nor prepared weights; these are made again at the first
    call.

    Parameters
    ----------
    root : nn.Module
        The module, its convolutions accelerated.

    Raises
    ------
    CannotTrace
        When the module as a whole cannot be traced.
    """

    def __init__(self, root: nn.Module) -> None:
        self.refusal: str | None = None
        """Why the program is not used, once that is known."""
        self._make(root)

    def _make(self, root: nn.Module) -> None:
        with as_before(root):
            traced = trace(root)
        modules = modules_of(traced.graph, root)
        matches = find_matches(traced.graph, modules)
        names = {module: name for name, module in root.named_modules()}
        self.fused = {names[modules[m.convolution]]: describe(m) for m in matches}
        """What each fused convolution was joined with, by the convolution's name."""
        self.functional = _replace_functions(traced.graph)
        """Number of calls of PyTorch's convolution functions that groupconv computes."""
        self.opaque = traced.opaque
        """Submodules that stayed as they are."""
        self._required = len(traced.parameters)
        self._skipped = _skipped(traced, matches, modules)
        self._compared = False
        self._module: GraphModule | None = _rewrite(root, traced.graph, modules, matches)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_module": None}

    def inputs(
        self, root: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[Tensor] | None:
        """Return the tensors to run on, or None when this call is not the program's.

        Parameters
        ----------
        root : nn.Module
            The module.
        args, kwargs
            As it was called.
        """
        if torch.is_grad_enabled() or self.refusal is not None or _comparing.get():
            return None
        if len(args) != self._required or kwargs:
            args = _required_arguments(root, self._required, args, kwargs)
        if not args or any(
            not isinstance(arg, Tensor) or route(arg) is not Route.DIRECT for arg in args
        ):
            return None
        if any(part.training or is_watched(part) for part in self._skipped):
            return None
        return None if global_hooks._has_any_global_hook() else list(args)

    def run(self, root: nn.Module, inputs: list[Tensor]) -> Any:
        """Compute; the first time, compare with the module's own ``forward``."""
        if self._module is None:
            self._make(root)
        if self._compared:
            return self._module.forward(*inputs)
        copies = [tensor.clone(memory_format=torch.preserve_format) for tensor in inputs]
        with _originals():
            expected = root._original.forward(root, *inputs)
        try:
            result = self._module.forward(*copies)
        except Exception as error:  # the original did not fail: any error is the program's own
            self._refuse(root, f"the fused form fails: {type(error).__name__}: {error}")
        else:
            # What it did to its arguments counts as well.
            self._compared = close([expected, inputs], [result, copies])
            if not self._compared:
                self._refuse(root, "the fused form gives another result")
        return expected

    def _refuse(self, root: nn.Module, reason: str) -> None:
        """Give up, and try the parts by themselves."""
        self.refusal, self._module = reason, None
        for part in root.children():
            fuse(part)


_comparing: ContextVar[bool] = ContextVar("groupconv_comparing", default=False)


@contextmanager
def _originals() -> Iterator[None]:
    """Have every module use its own ``forward``."""
    token = _comparing.set(True)
    try:
        yield
    finally:
        _comparing.reset(token)


class Fused(Changed):
    """A module that runs a `Program` where it can."""

    def __init_subclass__(cls) -> None:
        """Give ``forward`` the name and signature of the original, which others may inspect."""

        @functools.wraps(cls._original.forward)
        def forward(self: Fused, *args: Any, **kwargs: Any) -> Any:
            return self._run(args, kwargs)

        cls.forward = forward

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the program, or the module's own ``forward``."""
        if not torch.compiler.is_compiling():
            program: Program = self.__dict__[STATE]
            inputs = program.inputs(self, args, kwargs)
            if inputs is not None:
                return program.run(self, inputs)
        return self._original.forward(self, *args, **kwargs)


def fuse(root: nn.Module) -> None:
    """Fuse in a module as a whole, and in its parts where some calls will not reach that."""
    changed = any(isinstance(part, Accelerated) for part in root.modules())
    if isinstance(root, Accelerated | Fused) or not changed:
        return
    rest = list(root.children())
    try:
        program = Program(root)
    except CannotTrace as error:
        for part in rest:
            if isinstance(part, Accelerated):
                part.__dict__[NOTE] = f"{type(root).__name__} cannot be traced: {error}"
    else:
        if all(default is _NONE for default in _defaults(type(root)).values()):
            rest = program.opaque  # there are no calls that it does not serve
        if program.fused or program.functional:
            change(root, Fused, program)
    for part in rest:
        fuse(part)


def _original_class(module: nn.Module) -> type[nn.Module]:
    return module._original if isinstance(module, Changed) else type(module)


@functools.lru_cache(maxsize=256)
def _defaults(kind: type[nn.Module]) -> dict[str, Any]:
    """Names of the arguments of a class's ``forward``, with their default values or `_NONE`."""
    parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
    return {
        p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


_NONE = inspect.Parameter.empty


def _required_arguments(
    root: nn.Module, required: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Sort arguments out: the required ones, if all others have their default values; else none."""
    defaults = _defaults(_original_class(root))
    names = list(defaults)
    if len(args) > len(names) or not kwargs.keys() <= set(names[len(args) :]):
        return ()
    given = dict(zip(names, args, strict=False)) | kwargs
    if any(name not in given for name in names[:required]):
        return ()
    if any(given.get(name, defaults[name]) is not defaults[name] for name in names[required:]):
        return ()
    return tuple(given[name] for name in names[:required])


def _skipped(
    traced: Trace, matches: list[Match], modules: dict[Node, nn.Module]
) -> list[nn.Module]:
    """List the modules whose ``__call__`` the program does without."""
    parts = dict.fromkeys(traced.inlined)
    for match in matches:
        nodes = [*match.steps, match.last]
        parts.update(dict.fromkeys(modules[node] for node in nodes if node in modules))
    return list(parts)


def _replace_functions(graph: Graph) -> int:
    """Replace PyTorch's convolution functions by groupconv's; return how many there were."""
    calls = [node for node in graph.nodes if node.op == "call_function"]
    found = [node for node in calls if node.target in _FUNCTIONS]
    for node in found:
        node.target = _FUNCTIONS[node.target]
    return len(found)


_FUNCTIONS = {getattr(F, name): getattr(functional, name) for name in functional.__all__}


def _rewrite(
    root: nn.Module, graph: Graph, modules: dict[Node, nn.Module], matches: list[Match]
) -> GraphModule:
    """Put fused convolutions into a graph and make it callable."""
    parts = _short_names(root, graph, modules)
    replaced: dict[Node, Node] = {}
    for place, match in enumerate(matches):
        norm = None if match.norm is None else modules[match.norm]
        convolution = modules[match.convolution]
        name = f"fused{place}"
        parts[name] = FusedConvolution(convolution, norm, match.activation, match.padding)
        arguments = [match.input]
        if match.residual is not None:
            # Another match may have taken its place by now.
            arguments.append(replaced.get(match.residual, match.residual))
        with graph.inserting_before(match.anchor):
            node = graph.call_module(name, tuple(arguments))
        if match.sliced is not None:
            match.last.replace_all_uses_with(match.sliced)
            graph.erase_node(match.last)
        match.steps[-1].replace_all_uses_with(node)
        replaced[match.steps[-1]] = node
        for step in reversed(match.steps):
            graph.erase_node(step)
    for node in reversed(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    used = {node.target for node in graph.nodes}
    return GraphModule({name: part for name, part in parts.items() if name in used}, graph)


def _short_names(
    root: nn.Module, graph: Graph, modules: dict[Node, nn.Module]
) -> dict[str, nn.Module]:
    """Rename the modules of a graph: each dot of a path would cost a lookup at each call.

    Tensors are looked up in the module that owns them, at each call, since it may get others.
    """
    parts: dict[str, nn.Module] = {}
    for place, (node, module) in enumerate(modules.items()):
        node.target = f"step{place}"
        parts[node.target] = module
    tensors = [n for n in graph.nodes if n.op == "get_attr" and n not in modules]
    for place, node in enumerate(tensors):
        path, _, name = str(node.target).rpartition(".")
        node.target = f"owner{place}"
        parts[node.target] = root.get_submodule(path)
        with graph.inserting_after(node):
            read = graph.call_function(getattr)
        node.replace_all_uses_with(read)
        read.args = (node, name)
    return parts
