"""What ``groupconv explain`` found out, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from groupconv._drawing import draw
from groupconv.bench.report import machine
from groupconv.commands.request import Request
from groupconv.connections import Connections, valid_groups


@dataclass(frozen=True, slots=True)
class Cost:
    """A request with its plan on this machine, and the time of a call where it was measured.

    Attributes
    ----------
    request : Request
    plan : Plan
    threads : int
        How many threads a call may use.
    seconds : float or None
    """

    request: Request
    plan: Any
    threads: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything found out about one convolution.

    Attributes
    ----------
    connections : Connections
    cost : Cost or None
        None when no input was given.
    comparison : sequence of Cost
        The same with other numbers of groups.
    """

    connections: Connections
    cost: Cost | None = None
    comparison: Sequence[Cost] = ()

    def as_text(self, *, ascii: bool = False, color: bool = False) -> str:
        """Write it for a reader."""
        parts = [draw(self.connections, ascii=ascii, color=color)]
        if self.cost is not None:
            parts.append("\n".join(_cost_lines(self.cost)))
        if self.comparison:
            parts.append("\n".join(_table(self.comparison)))
        return "\n\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Write it for a program."""
        content = _connections_as_dict(self.connections)
        if self.cost is not None:
            content["machine"] = machine(self.cost.threads)
            content["run"] = _cost_as_dict(self.cost)
        if self.comparison:
            content["comparison"] = [_cost_as_dict(cost) for cost in self.comparison]
        return content


def _cost_lines(cost: Cost) -> Iterator[str]:
    asked, plan = cost.request, cost.plan
    yield f"input       {asked.input_shape} {asked.dtype}"
    yield f"output      {asked.output_shape}"
    dense = asked.with_groups(1).macs
    times = f"; dense {dense:,}" if asked.connections.groups > 1 else ""
    yield f"MACs        {asked.macs:,}{times}"
    if cost.seconds is not None:
        yield f"measured    {_milliseconds(cost.seconds)} ms on {_threads(cost)}"
    yield from plan.explain().rstrip().splitlines()


def _table(costs: Sequence[Cost]) -> Iterator[str]:
    first = costs[0].request
    yield (f"every number of groups on {first.input_shape} {first.dtype}, {_threads(costs[0])}:")
    yield (
        f"{'groups':>6} {'weight shape':>18} {'parameters':>12} {'MACs':>14} "
        f"{'predicted ms':>12} {'measured ms':>11}  algorithm"
    )
    for cost in costs:
        c = cost.request.connections
        predicted = _milliseconds(cost.plan.predicted_seconds)
        measured = "" if cost.seconds is None else _milliseconds(cost.seconds)
        yield (
            f"{c.groups:>6} {c.weight_shape!s:>18} {c.parameters:>12,} {cost.request.macs:>14,} "
            f"{predicted:>12} {measured:>11}  {cost.plan.algorithm}"
        )


def _threads(cost: Cost) -> str:
    used = min(cost.threads, cost.plan.threads)
    return f"{used} thread{'s' * (used > 1)}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}"


def _connections_as_dict(c: Connections) -> dict[str, Any]:
    return {
        "in_channels": c.in_channels,
        "out_channels": c.out_channels,
        "groups": c.groups,
        "kernel_size": c.kernel_size,
        "transposed": c.transposed,
        "kind": c.kind,
        "in_per_group": c.in_per_group,
        "out_per_group": c.out_per_group,
        "weight_shape": c.weight_shape,
        "bias_shape": c.bias_shape,
        "parameters": c.parameters,
        "dense_parameters": c.dense_parameters,
        "valid_groups": valid_groups(c.in_channels, c.out_channels),
        "paths": [
            {"inputs": [p.inputs[0], p.inputs[-1]], "outputs": [p.outputs[0], p.outputs[-1]]}
            for p in c.paths()
        ],
    }


def _cost_as_dict(cost: Cost) -> dict[str, Any]:
    asked, plan = cost.request, cost.plan
    return {
        "groups": asked.connections.groups,
        "parameters": asked.connections.parameters,
        "input_shape": asked.input_shape,
        "output_shape": asked.output_shape,
        "dtype": asked.dtype,
        "macs": asked.macs,
        "algorithm": plan.algorithm,
        "isa": plan.isa,
        "threads": min(cost.threads, plan.threads),
        "workspace_bytes": plan.workspace_bytes,
        "predicted_seconds": plan.predicted_seconds,
        "measured_seconds": cost.seconds,
        "explain": plan.explain(),
    }
