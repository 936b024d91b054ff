"""ONNX models on NumPy, their convolutions computed by groupconv.

>>> from groupconv.interop.onnx import Evaluator
>>> outputs = Evaluator("model.onnx").run(None, {"x": image})    # doctest: +SKIP

`Evaluator` is ONNX's reference evaluator with other operators: ``Conv`` and ``ConvTranspose`` with
every attribute, and those that real models need where the evaluator's own are slow (poolings,
``Resize``, ``GRU``) or wrong (``BatchNormalization`` of versions 9 to 13, ``Softmax`` before 13,
``ConvTranspose`` with groups). `OPERATORS` are these alone, for
``onnx.reference.ReferenceEvaluator(model, new_ops=list(OPERATORS))``.

With ``fuse=True`` convolutions also do what follows them: batch normalization, scaling, sums and
activations.

`Backend` and the module's functions follow ``onnx.backend``, so that ONNX's own test runner and
whatever else expects a backend can be pointed at them.
"""

from __future__ import annotations

try:
    from groupconv.interop.onnx._evaluator import OPERATORS, Backend, Evaluator
except ModuleNotFoundError as error:
    raise ImportError("groupconv.interop.onnx needs ONNX: pip install 'groupconv[onnx]'") from error

__all__ = [
    "OPERATORS",
    "Backend",
    "Evaluator",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]

is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
