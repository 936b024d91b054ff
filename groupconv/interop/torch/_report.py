"""What `accelerate` did to a module."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from groupconv.interop.torch._classes import NOTE, STATE
from groupconv.interop.torch._convolutions import CONVOLUTIONS, Accelerated, reason_to_leave
from groupconv.interop.torch._programs import Fused, Program


@dataclass(frozen=True)
class Report:
    """State of a module's convolutions; names are those of ``named_modules()``.

    ``print`` it for a text.
    """

    accelerated: tuple[str, ...]
    """Convolutions that groupconv computes."""
    fused: dict[str, str]
    """Of these, those that are one call with their surroundings in inference, and with which."""
    functional: dict[str, int]
    """Modules whose calls of ``torch.nn.functional.conv*`` groupconv computes in inference."""
    not_fused: dict[str, str]
    """Convolutions whose surroundings ``torch.fx`` cannot trace, and why."""
    left_alone: dict[str, str]
    """Convolutions that PyTorch computes, and why."""
    refused: dict[str, str]
    """Modules that were to be fused but did not pass the comparison with the original, and why."""

    def __str__(self) -> str:
        """One line for the numbers, one for each convolution with something to tell."""
        ours, fused = len(self.accelerated), len(self.fused)
        total = ours + len(self.left_alone)
        lines = [f"{ours} of {total} convolutions computed by groupconv, {fused} fused"]
        lines += [f"  {_shown(name)}: {parts}" for name, parts in self.fused.items()]
        lines += [
            f"  {_shown(name)}: calls of torch.nn.functional.conv*: {count}"
            for name, count in self.functional.items()
        ]
        for title, reasons in (
            ("not fused", self.not_fused),
            ("left alone", self.left_alone),
            ("refused", self.refused),
        ):
            lines += [f"  {title}: {_shown(name)}: {reason}" for name, reason in reasons.items()]
        return "\n".join(lines)


def report(module: nn.Module) -> Report:
    """Describe what `accelerate` did to a module.

    Parameters
    ----------
    module : nn.Module
        A module, accelerated or not.

    Returns
    -------
    Report
        The state now. A fused module is compared with the original when it runs the first time;
        those that differed are in `Report.refused` from then on.
    """
    accelerated: list[str] = []
    fused: dict[str, str] = {}
    functional: dict[str, int] = {}
    notes: dict[str, str] = {}
    left_alone: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, part in module.named_modules():
        if isinstance(part, Accelerated):
            accelerated.append(name)
            if NOTE in part.__dict__:
                notes[name] = part.__dict__[NOTE]
        elif isinstance(part, CONVOLUTIONS):
            left_alone[name] = reason_to_leave(part) or "accelerate was not called"
        elif isinstance(part, Fused):
            program: Program = part.__dict__[STATE]
            if program.refusal is not None:
                refused[name] = program.refusal
                continue
            if program.functional:
                functional[name] = program.functional
            for inner, parts in program.fused.items():
                fused.setdefault(f"{name}.{inner}" if name else inner, parts)
    not_fused = {name: note for name, note in notes.items() if name not in fused}
    return Report(tuple(accelerated), fused, functional, not_fused, left_alone, refused)


def _shown(name: str) -> str:
    return name or "the module itself"
