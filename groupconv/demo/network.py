"""A network that groupconv evaluates while ONNX Runtime looks over its shoulder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


class Network:
    """An ONNX model run by groupconv and, to compare, by ONNX Runtime on the same inputs.

    Parameters
    ----------
    model : path or bytes
        A model's file or its serialized form.
    compare : bool, optional
        Whether to run ONNX Runtime, too.

    Attributes
    ----------
    seconds : float
        Time groupconv's evaluator took, over all calls.
    difference : float
        Largest absolute difference of an output between the two, over all calls; NaN if not
        compared.
    """

    def __init__(self, model: str | Path | bytes, compare: bool = True) -> None:
        from groupconv.interop.onnx import Evaluator

        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        self._evaluator = Evaluator(content, fuse=True)
        self._session = _session(content) if compare else None
        self.seconds = 0.0
        self.difference = 0.0 if compare else float("nan")

    def __call__(self, *inputs: Array) -> list[Array]:
        """Evaluate; inputs and outputs are in the model's order."""
        feeds = dict(zip(self._evaluator.input_names, inputs, strict=True))
        start = time.perf_counter()
        outputs: list[Array] = self._evaluator.run(None, feeds)
        self.seconds += time.perf_counter() - start
        if self._session is not None:
            for ours, theirs in zip(outputs, self._session.run(None, feeds), strict=True):
                # Unlike Python's max, NumPy's lets no NaN pass unseen.
                self.difference = float(np.maximum(self.difference, np.abs(ours - theirs).max()))
        return outputs

    @property
    def convolution_seconds(self) -> float:
        """The part of `seconds` spent in convolutions and what is fused into them."""
        return sum(time for op, time in self._evaluator.seconds.items() if "Conv" in op)

    @property
    def metadata(self) -> dict[str, str]:
        """What the model's file says of itself."""
        return {entry.key: entry.value for entry in self._evaluator.proto_.metadata_props}


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "the demo compares with ONNX Runtime: pip install 'groupconv[demo]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Its idle threads would otherwise keep the cores busy while groupconv computes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
