"""Modules that change class in place: the same object with another ``forward``.

An accelerated module is the object it was, with its parameters, hooks, names and place in the
model. Only its class is new: a subclass of the one it had, so that ``isinstance`` holds as
before, and made on the spot, so that any module can be served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

STATE = "_groupconv"
"""Name of the attribute that a changed module has more than before."""
NOTE = "_groupconv_note"
"""Name of another, of some convolutions: why they are not fused with anything."""

_made: WeakValueDictionary[tuple[type, type], type] = WeakValueDictionary()


class Changed:
    """What all changed modules are: a mixin in front of their own class, `_original`."""

    _original: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle and copy by the original class, since this one has no name to import."""
        reduced = super().__reduce_ex__(protocol)
        make, arguments = reduced[:2]
        if arguments and arguments[0] is type(self):
            mixin = type(self).__mro__[1]
            arguments = (make, mixin, self._original, *arguments[1:])
            return _rebuild, arguments, *reduced[2:]
        return reduced


def _rebuild(make: Callable[..., Any], mixin: type, original: type, *arguments: Any) -> Any:
    return make(_subclass(mixin, original), *arguments)


def _subclass(mixin: type, original: type[nn.Module]) -> type:
    made = _made.get((mixin, original))
    if made is None:
        names = {
            "__module__": original.__module__,
            "__qualname__": original.__qualname__,
            "__doc__": original.__doc__,
            "_original": original,
        }
        made = _made.setdefault(
            (mixin, original), type(original.__name__, (mixin, original), names)
        )
    return made


def change(module: nn.Module, mixin: type[Changed], state: object) -> None:
    """Put `mixin` in front of a module's class and give it `state`."""
    object.__setattr__(module, STATE, state)
    module.__class__ = _subclass(mixin, type(module))


def change_back(module: nn.Module) -> None:
    """Undo `change`."""
    assert isinstance(module, Changed)
    module.__class__ = module._original
    for name in (STATE, NOTE):
        module.__dict__.pop(name, None)


@contextmanager
def as_before(module: nn.Module) -> Iterator[None]:
    """Give a module the class it had before `change`, for a while."""
    changed = module.__class__
    module.__class__ = getattr(changed, "_original", changed)
    try:
        yield
    finally:
        module.__class__ = changed
