"""GRU: the products with the input in one matrix multiplication, the recurrence step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from groupconv.interop.onnx._activations import sigmoid

_Array = np.ndarray[Any, Any]
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


class GRU(OpRun):
    """Gated recurrent unit: every attribute of ONNX's but other activations than the default.

    Unlike the evaluator's own, it heeds `sequence_lens` and `clip`, and one step multiplies by the
    recurrent weights once.
    """

    def _run(
        self,
        x: _Array,
        weight: _Array,
        recurrence: _Array,
        bias: _Array | None = None,
        sequence_lens: _Array | None = None,
        initial_h: _Array | None = None,
        *,
        activation_alpha: object = None,
        activation_beta: object = None,
        activations: Sequence[str] | None = None,
        clip: float | None = None,
        direction: str = "forward",
        hidden_size: int | None = None,
        layout: int = 0,
        linear_before_reset: int = 0,
    ) -> tuple[_Array, ...]:
        directions = _DIRECTIONS[direction]
        if activations and list(activations) != ["Sigmoid", "Tanh"] * len(directions):
            raise NotImplementedError(
                f"GRU computes the activations Sigmoid and Tanh only, got {list(activations)}"
            )
        if layout:
            x = x.swapaxes(0, 1)
        steps, batch, _ = x.shape
        hidden = recurrence.shape[-1]
        lengths = np.full(batch, steps) if sequence_lens is None else sequence_lens
        y = np.empty((steps, len(directions), batch, hidden), x.dtype)
        last = np.empty((len(directions), batch, hidden), x.dtype)
        for i, backwards in enumerate(directions):
            biases = np.zeros((2, 3 * hidden), x.dtype) if bias is None else bias[i].reshape(2, -1)
            state = np.zeros((batch, hidden), x.dtype)
            if initial_h is not None:
                state = initial_h[:, i] if layout else initial_h[i]
            order = _reading_order(steps, lengths, backwards)
            cell = _Cell(recurrence[i], biases, clip, bool(linear_before_reset))
            gates = np.take_along_axis(x, order[:, :, None], 0) @ weight[i].T
            states, last[i] = cell.run(gates, state, lengths)
            y[:, i] = np.take_along_axis(states, order[:, :, None], 0)
        if layout:
            y, last = y.transpose(2, 0, 1, 3), last.swapaxes(0, 1)
        return (y, last)[: len(self.onnx_node.output)]


def _reading_order(steps: int, lengths: _Array, backwards: bool) -> _Array:
    """Return which step of each sequence is read at each step, ``(steps, batch)``.

    Read backwards a sequence begins at its own last step. The order is its own inverse.
    """
    step = np.arange(steps)[:, None]
    forwards = np.broadcast_to(step, (steps, len(lengths)))
    return np.where(step < lengths, lengths - 1 - step, step) if backwards else forwards


class _Cell:
    """The recurrence of one direction; gates are in ONNX's order: update, reset, hidden."""

    def __init__(
        self, recurrence: _Array, biases: _Array, clip: float | None, linear_before_reset: bool
    ) -> None:
        hidden = recurrence.shape[-1]
        self._hidden = hidden
        self._clip = clip
        self._linear = linear_before_reset
        self._input_bias = biases.sum(axis=0)
        # The hidden gate's recurrent bias is scaled by the reset gate if that comes after it.
        self._hidden_bias = biases[1, 2 * hidden :] if linear_before_reset else None
        if linear_before_reset:
            self._input_bias[2 * hidden :] = biases[0, 2 * hidden :]
        rows = recurrence.shape[0] if linear_before_reset else 2 * hidden
        self._by_state = np.ascontiguousarray(recurrence[:rows].T)
        self._by_reset_state = np.ascontiguousarray(recurrence[2 * hidden :].T)

    def run(self, gates: _Array, state: _Array, lengths: _Array) -> tuple[_Array, _Array]:
        """Return all states and the last: beyond its length, a sequence's are zero."""
        gates += self._input_bias
        steps = len(gates)
        full = bool((lengths >= steps).all())
        states = np.empty((*gates.shape[:2], self._hidden), gates.dtype)
        for step in range(steps):
            new = self._step(gates[step], state)
            states[step] = new
            state = new if full else np.where((step < lengths)[:, None], new, state)
        if not full:
            states[np.arange(steps)[:, None] >= lengths] = 0
        return states, state

    def _step(self, gates: _Array, state: _Array) -> _Array:
        n = self._hidden
        product = state @ self._by_state
        both = sigmoid(self._clipped(gates[:, : 2 * n] + product[:, : 2 * n]))
        update, reset = both[:, :n], both[:, n:]
        if self._linear:
            recurrent = reset * (product[:, 2 * n :] + self._hidden_bias)
        else:
            recurrent = (reset * state) @ self._by_reset_state
        proposal = np.tanh(self._clipped(gates[:, 2 * n :] + recurrent))
        # update * state + (1 - update) * proposal
        state = update * (state - proposal)
        state += proposal
        return state

    def _clipped(self, x: _Array) -> _Array:
        return x if not self._clip else np.clip(x, -self._clip, self._clip, out=x)
