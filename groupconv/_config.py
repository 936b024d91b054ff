"""What this build is and what it runs on, in one place."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from groupconv import _core
from groupconv._arguments import choice
from groupconv._calls import FUNCTION_CALLS
from groupconv._threads import get_num_threads
from groupconv._weights import PLANS_PER_LAYER

CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def cpu_caches() -> dict[str, str]:
    """Sizes of one core's data caches as Linux tells them, ``{}`` where it does not."""
    sizes = {}
    for index in sorted(CPU_CACHES.glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            sizes[f"L{level}"] = size
    return sizes


def _config() -> dict[str, Any]:
    from groupconv import __version__

    return {
        "groupconv": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "isa": {
            "built": _core.isa_built(),
            "detected": _core.isa_available(),
            "in use": _core.isa_in_use(),
        },
        "openmp": _core.openmp_enabled(),
        "threads": {"per call": get_num_threads(), "cpus": _core.cpu_count()},
        "caches": {
            "cpu": cpu_caches(),
            "plans of functions": f"{len(FUNCTION_CALLS)} of {FUNCTION_CALLS.capacity}",
            "plans per layer": f"at most {PLANS_PER_LAYER}",
        },
    }


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show version, instruction sets, OpenMP, threads and caches.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}, optional
        Print the facts, or return them as nested dictionaries; as in ``numpy.show_config``.

    Returns
    -------
    dict or None
        None when printing.

    Raises
    ------
    ValueError
        When ``GROUPCONV_ISA`` names no instruction set that is built in and supported here, or
        ``GROUPCONV_NUM_THREADS`` is no number of threads.

    Notes
    -----
    An instruction set is "built" when the compiler could make its kernels, "detected" when the CPU
    and the operating system support it too, "in use" when it is the best of these up to the cap
    that the environment variable ``GROUPCONV_ISA`` sets.

    Examples
    --------
    >>> import groupconv as gc
    >>> sorted(gc.show_config(mode="dicts")["isa"])
    ['built', 'detected', 'in use']
    """
    facts = _config()
    if choice(mode, "mode", ("stdout", "dicts")) == "dicts":
        return facts
    for name, value in facts.items():
        if not isinstance(value, dict):
            print(f"{name + ':':<12}{_words(value)}")
            continue
        print(f"{name}:")
        for key, entry in value.items():
            print(f"  {key + ':':<20}{_words(entry)}")
    return None


def _words(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value)
        case dict():
            return ", ".join(f"{name} {size}" for name, size in value.items()) or "unknown"
    return str(value)
