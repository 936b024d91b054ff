"""Cutting one spatial axis of a convolution: which inputs each piece of the output is made of.

Pure integer arithmetic for :mod:`groupconv.interop.dask`. An output position o of a forward
convolution reads the inputs ``o*stride - before`` and the `span` cells after it; so a piece of
outputs reads a window of inputs, and neighbouring windows overlap. What lies outside of the input
is padding: zeros are left to the call that computes the piece, the other modes are read from where
they come from.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """Input positions ``start``, ``start + step``, ...: `count` of them. Step 0 repeats one."""

    start: int
    step: int
    count: int


@dataclass(frozen=True, slots=True)
class Window:
    """What one piece of an output axis is computed from.

    Attributes
    ----------
    size : int
        Number of output positions of the piece.
    runs : tuple of Run
        Input positions to read, one run behind the other.
    before, after : int
        Padding of the call that computes the piece.
    output_padding : int
        Of that call, where it is transposed.
    zeros : int
        Cells of a window that lies in the padding altogether and has no runs.
    """

    size: int
    runs: tuple[Run, ...]
    before: int = 0
    after: int = 0
    output_padding: int = 0
    zeros: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of a convolution.

    Attributes
    ----------
    in_size, out_size, kernel, stride, dilation, before, after : int
    padding_mode : str
    transposed : bool
    """

    in_size: int
    out_size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    padding_mode: str = "zeros"
    transposed: bool = False

    @property
    def span(self) -> int:
        """Distance from the kernel's first to its last position."""
        return self.dilation * (self.kernel - 1)

    def cuts(self, chunks: Sequence[int], multiple: int = 1) -> tuple[int, ...]:
        """Sizes of the output's pieces that follow the input's chunks.

        Pieces are at least two positions and a dilation long: in shorter ones an algorithm may find
        a problem of fewer dimensions, or no two outputs that share an input, and go another way.

        Parameters
        ----------
        chunks : sequence of int
            Sizes of the input's chunks.
        multiple : int, optional
            Pieces begin at multiples of this.

        Returns
        -------
        tuple of int
            Their sum is the output's size; there are fewer than chunks where those are small.
        """
        least = max(2, self.dilation)
        bounds, position = [0], 0
        for chunk in chunks[:-1]:
            position += chunk
            bound = round(self._output_near(position) / multiple) * multiple
            if bounds[-1] + least <= bound <= self.out_size - least:
                bounds.append(bound)
        bounds.append(self.out_size)
        return tuple(end - begin for begin, end in itertools.pairwise(bounds))

    def _output_near(self, position: int) -> int:
        """Output whose kernel is centred on an input position, or has it in its centre."""
        if self.transposed:
            return position * self.stride + self.span // 2 - self.before
        return -(-(position + self.before - self.span // 2) // self.stride)

    def windows(self, sizes: Sequence[int]) -> tuple[Window, ...]:
        """The window of each piece of the output.

        Parameters
        ----------
        sizes : sequence of int
            Sizes of the pieces. A single piece is the call as it stands, padding mode included;
            of several, each is left with padding of zeros only.

        Returns
        -------
        tuple of Window
        """
        if len(sizes) == 1:
            extra = self.out_size - self._least_size() if self.transposed else 0
            whole = (Run(0, 1, self.in_size),)
            return (Window(self.out_size, whole, self.before, self.after, extra),)
        windows, begin = [], 0
        for size in sizes:
            make = self._transposed_window if self.transposed else self._window
            windows.append(make(begin, begin + size))
            begin += size
        return tuple(windows)

    def _least_size(self) -> int:
        """Output size of the transposed convolution without output padding."""
        return (self.in_size - 1) * self.stride + self.span + 1 - self.before - self.after

    def _window(self, begin: int, end: int) -> Window:
        low = begin * self.stride - self.before
        high = (end - 1) * self.stride - self.before + self.span + 1
        if self.padding_mode != "zeros":
            runs = (
                *self._mapped(low, min(high, 0)),
                *_run(max(low, 0), min(high, self.in_size)),
                *self._mapped(max(low, self.in_size), high),
            )
            return Window(end - begin, runs)
        inside = _run(max(low, 0), min(high, self.in_size))
        if not inside:
            return Window(end - begin, (), zeros=high - low)
        return Window(end - begin, inside, max(-low, 0), max(high - self.in_size, 0))

    def _transposed_window(self, begin: int, end: int) -> Window:
        # Output o meets the inputs i with 0 <= o + before - i*stride <= span. The first input is
        # taken no later than o + before itself, so that the padding before never gets negative.
        at = begin + self.before
        first = min(-(-(at - self.span) // self.stride), at // self.stride)
        first = min(max(first, 0), self.in_size - 1)
        last = min((end - 1 + self.before) // self.stride, self.in_size - 1)
        before = at - first * self.stride
        full = (last - first) * self.stride + self.span + 1
        after = full - before - (end - begin)
        runs = _run(first, last + 1)
        return Window(end - begin, runs, before, max(after, 0), max(-after, 0))

    def _mapped(self, low: int, high: int) -> tuple[Run, ...]:
        """Runs of the inputs that stand for the positions low..high-1 outside of the input."""
        return _runs([self.source(position) for position in range(low, high)])

    def source(self, position: int) -> int:
        """Input position that a padding mode other than zeros puts at any position."""
        last = self.in_size - 1
        if self.padding_mode == "replicate":
            return min(max(position, 0), last)
        if self.padding_mode == "circular":
            return position % self.in_size
        return last - abs(last - position % (2 * last)) if last else 0


def _run(begin: int, end: int) -> tuple[Run, ...]:
    return (Run(begin, 1, end - begin),) if end > begin else ()


def _runs(positions: Sequence[int]) -> tuple[Run, ...]:
    """The positions as runs of a constant step of -1, 0 or 1."""
    runs: list[Run] = []
    for position in positions:
        if runs:
            start, step, count = runs[-1].start, runs[-1].step, runs[-1].count
            if count == 1 and abs(position - start) <= 1:
                runs[-1] = Run(start, position - start, 2)
                continue
            if count > 1 and position == start + step * count:
                runs[-1] = Run(start, step, count + 1)
                continue
        runs.append(Run(position, 1, 1))
    return tuple(runs)
