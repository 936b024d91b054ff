"""accelerate(fuse=True) on modules that torch.fx cannot trace, or not truly."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_helpers import TOLERANCE, Block, X, check, draw, shake

from groupconv.interop.torch import accelerate, report


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))


class DataDependent(nn.Module):
    """Branches on values: its parts can be traced, itself not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Inner(), Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) if x.sum() > 0 else self.second(x)


class Outer(nn.Module):
    """Can be traced around a part that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.middle, self.last = Inner(), DataDependent(), Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.inner(x)) + x)


def pad_to_even(x: Tensor, amount: int) -> Tensor:
    return F.pad(x, (0, int(x.shape[-1]) % 2)) if amount else x


class WithHelper(Inner):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_to_even(x, 1))


@dataclass
class Answer:
    result: Tensor
    extra: tuple[Tensor, ...] | None = None


class WithOptions(Inner):
    """Takes arguments by name, and returns its result in a container."""

    def forward(self, x: Tensor, scale: Tensor | None = None, as_tuple: bool = False) -> Any:
        y = super().forward(x)
        if scale is not None:
            y = y * scale
        return (y,) if as_tuple else Answer(y)


def test_parts_of_what_cannot_be_traced() -> None:
    for sign in (1, -1):
        model = Outer()
        shake(model)
        fused = check(model, draw(*X).abs() * sign)
        expected = "convolution + batch norm + silu"
        names = ["inner", "last", "middle.first", "middle.second"]
        assert fused == {f"{name}.conv": expected for name in names}


def test_helpers_that_look_at_sizes() -> None:
    model = WithHelper()
    shake(model)
    fused = accelerate(copy.deepcopy(model), fuse=True)
    assert list(report(fused).fused) == ["conv"]
    with torch.inference_mode():
        for width in (7, 8, 11):
            x = draw(1, 8, 5, width)
            torch.testing.assert_close(fused(x), model(x), **TOLERANCE)


def test_optional_arguments() -> None:
    model = WithOptions()
    shake(model)
    fused = accelerate(copy.deepcopy(model), fuse=True)
    x, scale = draw(*X), draw(8, 1, 1)
    with torch.inference_mode():
        for _ in range(2):
            answer = fused(x=x, as_tuple=False)
            assert isinstance(answer, Answer)
            torch.testing.assert_close(answer.result, model(x).result, **TOLERANCE)
            torch.testing.assert_close(fused(x, scale).result, model(x, scale).result, **TOLERANCE)
            torch.testing.assert_close(fused(x, None, True), model(x, None, True), **TOLERANCE)
        with pytest.raises(TypeError, match="missing 1 required"):
            fused()


class Liar(nn.Module):
    """Is another function of symbols than of tensors, which tracing cannot notice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.conv = Inner(), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(self.inner(x)))
        return y + 1 if isinstance(x, Tensor) else y


class Breaks(Liar):
    """Works with tensors only, which shows when its trace runs."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(self.inner(x)))
        return y if isinstance(x, Tensor) else y.there_is_no_such_method()


class Overwrites(Liar):
    """Changes its argument, which symbols do in another way."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(self.inner(x)))
        x += 1
        return y


class Streaming(Inner):
    """Keeps its last input, which a trace would replace by a symbol."""

    def forward(self, x: Tensor) -> Tensor:
        last, self.last = getattr(self, "last", None), x
        return super().forward(x if last is None else x + last)


class OwnTensor(Inner):
    """Makes a tensor that a trace would keep for ever."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(())


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Liar, "the fused form gives another result"),
        (Breaks, "the fused form fails: AttributeError: "),
        (Overwrites, "the fused form gives another result"),
    ],
)
def test_the_first_call_compares(kind: type[nn.Module], reason: str) -> None:
    model = kind()
    shake(model)
    fused = accelerate(copy.deepcopy(model), fuse=True)
    assert list(report(fused).fused) == ["inner.conv", "conv"]
    for _ in range(3):
        own, ours = draw(*X), draw(*X)
        with torch.inference_mode():
            torch.testing.assert_close(fused(ours), model(own), **TOLERANCE)
        torch.testing.assert_close(ours, own)
    state = report(fused)
    assert list(state.fused) == ["inner.conv"]
    assert list(state.refused) == [""]
    assert state.refused[""].startswith(reason)
    assert f"refused: the module itself: {reason}" in str(state)


def test_modules_that_trace_would_harm() -> None:
    for kind in (Streaming, OwnTensor):
        model = kind()
        shake(model)
        accelerate(model, fuse=True)
        assert not hasattr(model, "last")
        assert not [name for name in model.__dict__ if "constant" in name]
        assert report(model).fused == {}
        assert report(model).accelerated == ("conv",)
        reason = "forward assigns attributes, or makes tensors of its own"
        assert report(model).not_fused == {"conv": f"{kind.__name__} cannot be traced: {reason}"}
        assert f"not fused: conv: {kind.__name__} cannot be traced" in str(report(model))
        with torch.inference_mode():
            first, second = model(draw(*X)), model(draw(*X))
        assert not torch.equal(first, second)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(8, 2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1, groups=4) + x


def test_functions_in_traced_parts() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 1), Functional())
    shake(model)
    assert check(model, draw(*X)) == {}
    fused = accelerate(copy.deepcopy(model), fuse=True)
    assert report(fused).functional == {"": 1}
    assert "calls of torch.nn.functional.conv*: 1" in str(report(fused))
    with torch.inference_mode():
        fused(draw(*X))
        for part in (model, fused):
            part[1].weight.mul_(2)
        torch.testing.assert_close(fused(draw(*X)), model(draw(*X)), **TOLERANCE)


def test_inplace_edit_of_the_argument_is_kept() -> None:
    model = Block(lambda m, x: torch.relu(m.norm(m.conv(x.mul_(2)))))
    assert check(model, draw(*X)) == {"conv": "convolution + batch norm + relu"}


# Functions that a model calls before its convolutions; each looks at sizes in a way that cannot be
# traced. All but the first three do something that is not zero padding, or not only.
calls: list[str] = []


def pad_right(x: Tensor, convolution: nn.Module) -> Tensor:
    calls.append("pad_right")
    step = convolution.stride[0]
    return F.pad(x, (0, -int(x.shape[-1]) % step, 0, 0), "constant", 0.0)


def pad_odd(x: Tensor, convolution: nn.Module) -> Tensor:
    calls.append("pad_odd")
    return F.pad(x, (1, 1)) if x.size(-1) % 2 == 1 else x


def pad_none(x: Tensor, convolution: nn.Module) -> Tensor:
    calls.append("pad_none")
    return x if int(x.dim()) == 4 else x[None]


def pad_with_ones(x: Tensor, convolution: nn.Module) -> Tensor:
    return F.pad(x, (0, int(x.shape[-1]) % 2 + 1), value=1.0)


def pad_and_scale(x: Tensor, convolution: nn.Module) -> Tensor:
    return F.pad(x * 2, (0, int(x.shape[-1]) % 2))


def pad_by_value(x: Tensor, convolution: nn.Module) -> Tensor:
    return F.pad(x, (0, 1)) if float(x.sum()) > 0 else x


def pad_twice(x: Tensor, convolution: nn.Module) -> Tensor:
    return F.pad(F.pad(x, (0, int(x.shape[-1]) % 2)), (1, 0))


def pad_channels(x: Tensor, convolution: nn.Module) -> Tensor:
    missing = convolution.in_channels - int(x.shape[1])
    return F.pad(x, (0, 0, 0, 0, 0, missing))


def pad_batch(x: Tensor, convolution: nn.Module) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, 0, 0, int(x.shape[0]) % 2 + 1))


class Padding(nn.Module):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=2, groups=4)
        self.norm = nn.BatchNorm2d(8)


class PadRight(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_right(x, self.conv)))


class PadOdd(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_odd(x, convolution=self.conv)))


class PadNone(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_none(x, self.conv)))


class PadWithOnes(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_with_ones(x, self.conv)))


class PadAndScale(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_and_scale(x, self.conv)))


class PadByValue(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_by_value(x, self.conv)))


class PadTwice(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_twice(x, self.conv)))


class PadChannels(Padding):
    def __init__(self) -> None:
        super().__init__(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_channels(x, self.conv)))


class PadBatch(Padding):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(pad_batch(x, self.conv)))


@pytest.mark.parametrize("kind", [PadRight, PadOdd, PadNone])
def test_padding_by_size_is_learned(kind: type[Padding]) -> None:
    model = kind()
    shake(model)
    fused = accelerate(copy.deepcopy(model), fuse=True)
    assert report(fused).fused["conv"].startswith("pad_")
    assert report(fused).fused["conv"].endswith(" + convolution + batch norm")
    inputs = [draw(2, 8, 9, width) for width in (7, 8, 11, 12)]
    with torch.inference_mode():
        expected = [model(x) for x in inputs]
        first = [fused(x) for x in inputs]
        calls.clear()
        second = [fused(x) for x in inputs]
        assert calls == []
    torch.testing.assert_close(first, expected, **TOLERANCE)
    torch.testing.assert_close(second, expected, **TOLERANCE)
    model.conv.stride = fused.conv.stride = (3, 3)
    with torch.inference_mode():
        torch.testing.assert_close(fused(inputs[0]), model(inputs[0]), **TOLERANCE)


@pytest.mark.parametrize(
    "kind", [PadWithOnes, PadAndScale, PadByValue, PadTwice, PadChannels, PadBatch]
)
def test_other_functions_run_each_time(kind: type[Padding]) -> None:
    model = kind()
    shake(model)
    fused = accelerate(copy.deepcopy(model), fuse=True)
    with torch.inference_mode():
        for _ in range(2):
            for width in (7, 8):
                for sign in (1, -1):
                    x = draw(2, 8, 9, width).abs() * sign
                    torch.testing.assert_close(fused(x), model(x), **TOLERANCE)
    assert not report(fused).refused
