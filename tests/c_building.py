"""``tests/c/build.py``, which is a program, as a module."""

from __future__ import annotations

import importlib.util
import pathlib

_SPEC = importlib.util.spec_from_file_location(
    "build_c_tests", pathlib.Path(__file__).parent / "c" / "build.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
building = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(building)
