"""ONNX's reference evaluator with groupconv's operators, and an `onnx.backend` around it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend as OnnxBackend
from onnx.backend.base import BackendRep, namedtupledict
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from groupconv.interop.onnx._activations import HardSigmoid, HardSwish, Sigmoid
from groupconv.interop.onnx._convolution import (
    Conv,
    ConvTranspose,
    FusedConv,
    FusedConvTranspose,
)
from groupconv.interop.onnx._fusion import fuse as fused
from groupconv.interop.onnx._normalization import BatchNormalization, LogSoftmax, Softmax
from groupconv.interop.onnx._pooling import AveragePool, GlobalAveragePool, MaxPool
from groupconv.interop.onnx._recurrent import GRU
from groupconv.interop.onnx._resize import Resize, Upsample

_Array = np.ndarray[Any, Any]

OPERATORS: tuple[type[OpRun], ...] = (
    Conv,
    ConvTranspose,
    AveragePool,
    BatchNormalization,
    FusedConv,
    FusedConvTranspose,
    GlobalAveragePool,
    GRU,
    HardSigmoid,
    HardSwish,
    LogSoftmax,
    MaxPool,
    Resize,
    Sigmoid,
    Softmax,
    Upsample,
)


class Evaluator(ReferenceEvaluator):
    """``onnx.reference.ReferenceEvaluator`` with groupconv's operators in place of its own.

    The operators reach model-local functions and subgraphs too, and the weights of every
    convolution that the model holds as constants are prepared once. These arrays become read-only:
    an edit in place is refused rather than ignored.

    Parameters
    ----------
    proto : ModelProto, GraphProto, FunctionProto, NodeProto, str or bytes
        What to evaluate; a str is a file's name, bytes are a serialized model.
    fuse : bool, optional
        Whether convolutions take over what follows them in a model's main graph: batch
        normalization, factors and terms per channel, the sum with a value of the same shape, and
        activations. Results then differ by rounding, and values in between do not exist.
    new_ops : iterable of OpRun classes, optional
        Further operators; they go before groupconv's.
    **options
        As for ``ReferenceEvaluator``: `opsets`, `functions`, `verbose` and so on.

    Attributes
    ----------
    seconds : dict of str to float
        Time spent in each kind of operator, over all runs. Nodes inside of a subgraph or function
        count as the node that holds it.

    Examples
    --------
    >>> evaluator = Evaluator("model.onnx")             # doctest: +SKIP
    >>> evaluator.run(None, {"x": image})               # doctest: +SKIP
    """

    def __init__(
        self,
        proto: Any,
        *,
        fuse: bool = False,
        new_ops: Iterable[type[OpRun]] | None = None,
        **options: Any,
    ) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        if fuse:
            proto = fused(_model(proto))
        super().__init__(proto, new_ops=[*(new_ops or ()), *OPERATORS], **options)

    def _init(self) -> None:
        super()._init()
        for init in self.inits_:
            # External data may be the caller's arrays, which are not ours to protect.
            if not onnx.external_data_helper.uses_external_data(init):
                _protect(self.rt_inits_[init.name])
        for node in self.rt_nodes_:
            if node.op_type == "Constant":
                _protect(getattr(node, "cst", None))
            node.run = self._timed(node.op_type, node.run)

    def _timed(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return run(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return timed


def _model(proto: Any) -> onnx.ModelProto:
    if isinstance(proto, bytes):
        proto = onnx.load_from_string(proto)
    elif isinstance(proto, str):
        proto = onnx.load(proto)
    if not isinstance(proto, onnx.ModelProto):
        raise TypeError(f"fuse=True needs a whole model, got {type(proto).__name__}")
    return proto


def _protect(constant: object) -> None:
    while isinstance(constant, np.ndarray):
        constant.flags.writeable = False
        constant = constant.base


class _Prepared(BackendRep):
    """A model made ready to run."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        initialized = {init.name for init in evaluator.inits_}
        self._inputs = [name for name in evaluator.input_names if name not in initialized]
        self._outputs = namedtupledict("Outputs", evaluator.output_names)

    def run(self, inputs: Mapping[str, _Array] | Sequence[_Array], **_: Any) -> tuple[Any, ...]:
        """Run the model on inputs in its order, or by name; return outputs likewise."""
        if not isinstance(inputs, Mapping):
            names = self._inputs
            if len(inputs) == len(self._evaluator.input_names):
                names = self._evaluator.input_names
            if len(inputs) > len(names):
                raise ValueError(f"the model takes {len(names)} inputs, got {len(inputs)}")
            inputs = dict(zip(names, inputs, strict=False))
        return self._outputs(*self._evaluator.run(None, dict(inputs)))


class Backend(OnnxBackend):
    """``onnx.backend`` interface: everything ONNX's reference evaluator does, with our operators.

    ``onnx.backend.test.BackendTest(Backend)`` runs ONNX's own tests against it.
    """

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", *, fuse: bool = False, **kwargs: Any
    ) -> BackendRep:
        """Check a model and make it ready to run.

        Parameters
        ----------
        model : ModelProto
        device : str, optional
            ``CPU``; no other is supported.
        fuse : bool, optional
            As for `Evaluator`.

        Returns
        -------
        BackendRep
            Its ``run(inputs)`` takes a sequence or dict of arrays and returns a named tuple.

        Raises
        ------
        RuntimeError
            For a device other than a CPU.
        onnx.checker.ValidationError
            For a model that is not valid.
        """
        if not cls.supports_device(device):
            raise RuntimeError(f"groupconv computes on the device CPU, not on {device!r}")
        super().prepare(model, device, **kwargs)
        return _Prepared(Evaluator(model, fuse=fuse))

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Sequence[_Array],
        device: str = "CPU",
        outputs_info: object = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run a single node; ``opset_version`` tells its version, the latest by default."""
        super().run_node(node, inputs, device, **kwargs)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [onnx.ValueInfoProto(name=name) for name in node.input if name],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        return _Prepared(Evaluator(graph, opsets={node.domain: version})).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Tell whether a device is a CPU."""
        return device.split(":")[0] == "CPU"
