"""Show on standard error how far a long run has come."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any, TextIO


class Progress:
    """Announces the steps of a long run, beside whatever the run itself prints.

    On a terminal, with tqdm installed (extra ``bench``), a bar with the time left; elsewhere one
    line per step, which a log file can keep.

    Parameters
    ----------
    total : int
        Number of steps.
    unit : str, optional
        What a step is, for the bar.
    stream : file, optional
        Where to show it; standard error by default.
    """

    def __init__(self, total: int, unit: str = "step", stream: TextIO | None = None):
        self._total, self._unit, self._stream = total, unit, stream or sys.stderr
        self._begun = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._stream.isatty() and importlib.util.find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total,
                unit=self._unit,
                file=self._stream,
                dynamic_ncols=True,
                leave=False,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, name: str) -> None:
        """Say that the next step, called `name`, begins now."""
        self._begun += 1
        if self._bar is not None:
            self._bar.n = self._begun - 1
            self._bar.set_description_str(name)
        else:
            print(f"[{self._begun}/{self._total}] {name}", file=self._stream, flush=True)

    def print(self, line: str, file: TextIO) -> None:
        """Print a line of the run's own output without tearing the bar."""
        if self._bar is not None:
            self._bar.write(line, file=file)
        else:
            print(line, file=file, flush=True)
