"""Inference: weights prepared once, plans kept by layout, both dropped when a weight is edited."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from groupconv._arguments import Arguments
from groupconv._arrays import Array, as_bits
from groupconv._calls import BoundedCache, Call
from groupconv._core import Plan, PreparedWeight
from groupconv._problem import forward_problem
from groupconv._threads import get_num_threads, num_threads
from groupconv.interop.torch._tensors import array_of

LAYOUTS_KEPT = 16
FORMS_KEPT = 4
SAMPLES_PER_AXIS = 3


class _Laid(NamedTuple):
    """What computes inputs of one layout, and the result it needs."""

    run: Callable[..., Any]
    """Takes input, weight, bias, residual, result and a number of threads."""
    weight: Array | PreparedWeight
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Prepared:
    """A convolution of fixed weights, from tensors to a tensor.

    Parameters
    ----------
    arguments : Arguments
        Checked arguments, activation included.
    weight, bias : ndarray
        Read where they are; whoever edits them makes another `Prepared`.
    """

    __slots__ = ("_arguments", "_bias", "_forms", "_laid", "_weight")

    def __init__(self, arguments: Arguments, weight: Array, bias: Array | None) -> None:
        self._arguments = arguments
        self._weight = weight
        self._bias = bias if bias is None or bias.flags.c_contiguous else bias.copy()
        self._laid: BoundedCache[_Laid] = BoundedCache(LAYOUTS_KEPT)
        self._forms: BoundedCache[Array | PreparedWeight] = BoundedCache(FORMS_KEPT)

    def __call__(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Convolve plain tensors that `route` sends the direct way.

        Raises
        ------
        TypeError, ValueError
            When input, residual and weight do not fit each other.
        """
        x = array_of(input)
        key: Hashable = (x.shape, x.strides, x.dtype)
        r = None
        if residual is not None:
            r = array_of(residual)
            key = (key, r.shape, r.strides, r.dtype)
        laid = self._laid.get(key)
        if laid is None:
            laid = self._laid.keep(key, self._lay(x, r))
        # PyTorch's allocator, since its results start at cache lines.
        result = torch.empty_strided(laid.shape, laid.strides, dtype=input.dtype)
        threads = min(torch.get_num_threads(), get_num_threads())
        laid.run(x, laid.weight, self._bias, r, array_of(result), threads)
        return result

    def _lay(self, x: Array, r: Array | None) -> _Laid:
        problem = forward_problem(
            self._arguments, x, self._weight, self._bias, r, weights_ahead=True
        )
        batched = x.ndim == problem.ndim + 2
        call = Call(problem, x.dtype, batched)
        shape = (problem.batch, problem.groups * problem.out_per_group, *problem.out_size)
        strides = tuple(step // x.itemsize for step in problem.output_strides)
        first = 0 if batched else 1
        weight = self._weight if call.empty else self._form(call.plan)
        plain = batched and not call.empty and x.dtype.kind == "f"
        run = call.plan.run if plain else functools.partial(_run_views, call)
        return _Laid(run, weight, shape[first:], strides[first:])

    def _form(self, plan: Plan) -> Array | PreparedWeight:
        """Return the weight in the form `plan` reads, shared with other layouts where it can be."""
        if plan.prepare_key is None:
            return self._weight
        form = self._forms.get(plan.prepare_key)
        if form is None:
            bits = self._weight.dtype.name == "bfloat16"
            weight = as_bits(self._weight) if bits else self._weight
            form = self._forms.keep(plan.prepare_key, plan.prepare(weight))
        return form


def _run_views(call: Call, *arrays_and_threads: Any) -> None:
    """Compute on arrays without batch axis, of bfloat16, or of an empty batch."""
    *arrays, threads = arrays_and_threads
    with num_threads(threads):
        call.compute(*arrays)


class _Seen:
    """A tensor as it was: the same object, unedited, in the same memory, with the same samples.

    PyTorch counts edits in place, but not those through ``tensor.data`` or a NumPy view. A few
    values spread over the tensor are compared too, which any edit of the whole tensor changes.
    """

    __slots__ = ("pointer", "sample", "tensor", "values", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.version = tensor._version
        self.pointer = tensor.data_ptr()
        steps = (max(1, (n - 1) // (SAMPLES_PER_AXIS - 1)) for n in tensor.shape)
        self.sample = array_of(tensor)[tuple(slice(None, None, step) for step in steps)]
        self.values = self.sample.tobytes()

    def still(self, tensor: Tensor) -> bool:
        """Tell whether `tensor` is that tensor and holds what it held."""
        return (
            tensor is self.tensor
            and tensor._version == self.version
            and tensor.data_ptr() == self.pointer
            and self.sample.tobytes() == self.values
        )


Made = TypeVar("Made")


class Memo(Generic[Made]):
    """What was last made from some tensors and options, until one of them changes.

    It is one reference, replaced whole: calls from several Python threads see the old or the new.
    Copies and pickles of it are empty.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: tuple[Hashable, tuple[_Seen | None, ...], Made] | None = None

    def get(
        self,
        options: Hashable,
        tensors: tuple[Tensor | None, ...],
        make: Callable[..., Made],
        *arguments: Any,
    ) -> Made:
        """Return what `make` last made of `arguments`, unless something changed since."""
        kept = self._kept
        if kept is not None and kept[0] == options:
            for tensor, seen in zip(tensors, kept[1], strict=True):
                if seen is None if tensor is not None else seen is not None:
                    break
                if seen is not None and not seen.still(tensor):
                    break
            else:
                return kept[2]
        if any(tensor is not None and tensor.is_inference() for tensor in tensors):
            return make(*arguments)  # tensors made in inference mode do not count their edits
        # Looked at before it is made: an edit in between is noticed at the next call.
        seen_now = tuple(None if tensor is None else _Seen(tensor) for tensor in tensors)
        made = make(*arguments)
        self._kept = options, seen_now, made
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Memo[Made]:
        return Memo()

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, ()
