"""Measure again what the tutorial's tables show: ``python docs/measure.py`` (half a minute)."""

from __future__ import annotations

import pathlib
import shlex
import sys

from groupconv.cli import main

FOLDER = pathlib.Path(__file__).parent / "measured"
SHAPES = {
    "groups-8to4.json": "--in 8 --out 4 --kernel 5 --input 8,8,224,224",
    "groups-4to8.json": "--in 4 --out 8 --kernel 5 --input 8,4,224,224",
    "groups-4to4.json": "--in 4 --out 4 --kernel 5 --input 8,4,224,224",
    "groups-256.json": "--in 256 --out 256 --kernel 3 --padding 1 --input 1,256,28,28",
}

for name, options in SHAPES.items():
    path = str(FOLDER / name)
    command = shlex.split(f"explain {options} --compare --threads 1 --json")
    code = main([*command, path])
    if code:
        sys.exit(code)
