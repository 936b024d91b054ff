"""Accelerated PyTorch modules: results, gradients, edits and habits of the modules they were."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch_helpers import draw

import groupconv as gc
from groupconv._calls import Call
from groupconv.interop.torch import Accelerated, accelerate, functional, report, restore
from groupconv.interop.torch._prepared import Prepared

# PyTorch's own word about its own implementation.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

UNITS = 64  # of the rounding unit times conv(|x|, |w|), as in all tests of this package

CASES = {
    "dense": (nn.Conv2d(6, 4, 3), (2, 6, 9, 8)),
    "grouped": (nn.Conv2d(8, 12, 3, padding=1, groups=4), (2, 8, 9, 8)),
    "depthwise": (nn.Conv2d(9, 9, (5, 3), stride=2, padding=(2, 1), groups=9), (2, 9, 11, 8)),
    "multiplier": (nn.Conv2d(4, 12, 3, groups=4, bias=False), (3, 4, 9, 8)),
    "pointwise": (nn.Conv2d(12, 7, 1), (2, 12, 5, 6)),
    "dilated": (nn.Conv2d(4, 6, 3, padding=(2, 4), dilation=(2, 3), groups=2), (2, 4, 9, 10)),
    "same": (nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2), groups=2), (2, 4, 9, 10)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid", groups=2), (2, 4, 9, 10)),
    "reflect": (nn.Conv2d(4, 4, 3, padding=1, groups=2, padding_mode="reflect"), (2, 4, 7, 6)),
    "replicate": (nn.Conv1d(4, 4, 3, padding=2, groups=4, padding_mode="replicate"), (2, 4, 9)),
    "circular": (nn.Conv3d(2, 4, 3, padding=1, groups=2, padding_mode="circular"), (1, 2, 4, 5, 6)),
    "one_dimension": (nn.Conv1d(6, 9, 5, stride=2, padding=2, groups=3), (2, 6, 17)),
    "three_dimensions": (nn.Conv3d(4, 6, (3, 2, 1), stride=(1, 2, 1), groups=2), (2, 4, 5, 6, 4)),
    "no_batch": (nn.Conv2d(4, 6, 3, groups=2), (4, 9, 8)),
    "empty_batch": (nn.Conv2d(4, 6, 3, groups=2), (0, 4, 9, 8)),
    "transposed": (nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, groups=2), (2, 6, 5, 6)),
    "transposed_more": (
        nn.ConvTranspose1d(6, 4, 4, stride=3, output_padding=2, dilation=2, groups=2, bias=False),
        (2, 6, 7),
    ),
    "transposed_3d": (nn.ConvTranspose3d(4, 4, 2, stride=2, groups=4), (1, 4, 3, 4, 2)),
}
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def bound(module: nn.Module, x: torch.Tensor, unit: float) -> torch.Tensor:
    """Largest rounding error that any order of additions explains, per element."""
    positive = copy.deepcopy(module).double()
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
        return UNITS * unit * positive(x.double().abs()) + 1e-300


@pytest.fixture(params=CASES, name="case")
def _case(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, ...]]:
    module, shape = CASES[request.param]
    return copy.deepcopy(module), shape


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_results_are_pytorchs(case: tuple[nn.Module, tuple[int, ...]], dtype: torch.dtype) -> None:
    module, shape = case[0].to(dtype), case[1]
    x = draw(*shape, dtype=dtype)
    with torch.inference_mode():
        expected = copy.deepcopy(module).double()(x.double())
        accelerate(module)
        result = module(x)
        again = module(x)
    unit = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}.get(dtype, 2.0**-24)
    stored = 0 if dtype in (torch.float32, torch.float64) else torch.finfo(dtype).eps
    assert result.dtype is dtype
    assert result.shape == expected.shape
    allowed = bound(module, x, unit) + stored * expected.abs() + torch.finfo(dtype).smallest_normal
    assert ((result.double() - expected).abs() <= allowed).all()
    assert torch.equal(result, again)


def test_gradients_are_pytorchs(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    module, shape = case[0].double(), case[1]
    results = []
    for part in (module, accelerate(copy.deepcopy(module))):
        x = draw(*shape, dtype=torch.float64).requires_grad_()
        y = part(x)
        y.backward(draw(*y.shape, dtype=torch.float64, seed=1))
        results.append([y, x.grad, *(parameter.grad for parameter in part.parameters())])
    for own, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, own, rtol=1e-11, atol=1e-11)


def test_second_derivatives() -> None:
    module = accelerate(nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)).double()
    weight, bias = module.weight, module.bias

    def function(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(x, weight, bias, stride=2, padding=1, groups=2)

    x = draw(2, 4, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, weight, bias))
    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


def test_the_module_stays_what_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU())
    convolution, weight = module[0], module[0].weight
    names = list(module.state_dict())
    assert accelerate(module) is module
    assert module[0] is convolution
    assert module[0].weight is weight
    assert isinstance(module[0], nn.Conv2d)
    assert isinstance(module[0], Accelerated)
    assert list(module.state_dict()) == names
    assert repr(module[0]) == "Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), groups=2, groupconv)"
    restore(module)
    assert type(module[0]) is nn.Conv2d
    assert module[0].weight is weight
    assert module[0].__dict__.keys() == nn.Conv2d(4, 4, 3, groups=2).__dict__.keys()


def test_a_convolution_by_itself() -> None:
    convolution = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    assert report(convolution).accelerated == ("",)
    assert convolution(draw(1, 4, 5, 5)).shape == (1, 4, 3, 3)


def test_memory_is_shared() -> None:
    module = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    x = draw(1, 4, 6, 6)[:, :, ::2]
    with torch.no_grad():
        result = module(x)
    torch.testing.assert_close(result, restore(module)(x).detach())
    array = result.numpy()
    array[...] = 7
    assert (result == 7).all()
    assert result.data_ptr() % 64 == 0


def test_lazily_negated_tensors() -> None:
    module = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    x = torch.imag(torch.complex(draw(1, 4, 6, 6), draw(1, 4, 6, 6, seed=1)).conj())
    assert x.is_neg()
    with torch.no_grad():
        torch.testing.assert_close(module(x), restore(module)(x))


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize(
    ("module", "shape", "order"),
    [
        (nn.Conv2d(8, 8, 3, padding=1, groups=4), (2, 8, 9, 7), torch.channels_last),
        (nn.Conv3d(8, 8, 3, padding=1, groups=8), (2, 8, 4, 5, 6), torch.channels_last_3d),
        (nn.ConvTranspose2d(8, 8, 3, stride=2, groups=2), (2, 8, 5, 5), torch.channels_last),
    ],
    ids=["2d", "3d", "transposed"],
)
def test_channels_last_stays(
    module: nn.Module, shape: tuple[int, ...], order: torch.memory_format, needs_grad: bool
) -> None:
    module = accelerate(copy.deepcopy(module)).requires_grad_(needs_grad)
    x = draw(*shape)
    result, last = module(x), module(x.contiguous(memory_format=order))
    assert result.is_contiguous()
    assert last.is_contiguous(memory_format=order)
    torch.testing.assert_close(result, last)


def test_output_size() -> None:
    module = nn.ConvTranspose2d(4, 4, 3, stride=3, groups=2)
    x = draw(1, 4, 5, 5)
    expected = module(x, output_size=(16, 17))
    result = accelerate(module)(x, output_size=(16, 17))
    torch.testing.assert_close(result, expected)
    result.sum().backward()
    with pytest.raises(ValueError, match="output size"):
        module(x, output_size=(20, 20))


def test_hooks_run() -> None:
    module = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    module.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    module.register_forward_hook(lambda m, args, output: output * 2)
    x = draw(1, 4, 5, 5)
    with torch.no_grad():
        result = module(x)
        torch.testing.assert_close(result, restore(module)(x))


class OwnForward(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 2


class OnlyAName(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(4, 4, 3, groups=4)


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_report_names_what_is_left_alone() -> None:
    model = nn.ModuleDict(
        {
            "plain": nn.Conv2d(4, 4, 3),
            "named": OnlyAName(),
            "own": OwnForward(4, 4, 3),
            "lazy": nn.LazyConv2d(4, 3),
            "complex": nn.Conv2d(4, 4, 3, dtype=torch.complex64),
            "elsewhere": nn.Conv2d(4, 4, 3, device="meta"),
            "linear": nn.Linear(3, 3),
        }
    )
    x = draw(1, 4, 5, 5)
    with torch.no_grad():
        expected = [model[name](x) for name in ("plain", "named", "own")]
        accelerate(model)
        results = [model[name](x) for name in ("plain", "named", "own")]
    torch.testing.assert_close(results, expected)
    state = report(model)
    assert state.accelerated == ("plain", "named")
    assert state.left_alone == {
        "own": "OwnForward has a forward of its own",
        "lazy": "its parameters are not initialised yet: call it once first",
        "complex": "dtype torch.complex64 is not supported",
        "elsewhere": "its parameters are on meta",
    }
    assert str(state).startswith("2 of 6 convolutions computed by groupconv, 0 fused\n")
    assert "left alone: own: OwnForward has a forward of its own" in str(state)


# PyTorch's own use of what it deprecates, when forward-mode differentiation begins.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_what_goes_to_pytorch_at_the_call() -> None:
    module = nn.Conv2d(4, 6, 3, groups=2)
    x = draw(3, 4, 5, 5)
    own = copy.deepcopy(module)
    accelerate(module)

    def loss(x: torch.Tensor, module: nn.Module) -> torch.Tensor:
        return module(x).square().sum()

    for function in (
        lambda m: torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(x, m),
        lambda m: torch.func.jvp(m, (x,), (x * 2,)),
        lambda m: m(x.to("meta")) if m is own else own(x.to("meta")),
    ):
        torch.testing.assert_close(function(module), function(own))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = module(x)
        assert result.dtype is torch.bfloat16
        assert torch.equal(result, own(x))
    with torch.autograd.forward_ad.dual_level(), torch.no_grad():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        tangent = torch.autograd.forward_ad.unpack_dual(module(dual)).tangent
        assert tangent is not None
    with pytest.raises(RuntimeError):
        module(torch.ones(1, 4, 5, 5, dtype=torch.int64))


def test_functional_is_pytorchs() -> None:
    x, w, b = draw(2, 8, 9, 9), draw(12, 2, 3, 3), draw(12)
    for kwargs in (
        {"groups": 4},
        {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": 4},
        {"padding": "same", "groups": 4},
        {"stride": (2,), "padding": "valid", "groups": 4},
    ):
        expected = torch.nn.functional.conv2d(x, w, b, **kwargs)
        torch.testing.assert_close(functional.conv2d(x, w, b, **kwargs), expected)
    expected = torch.nn.functional.conv_transpose2d(x, draw(8, 3, 3, 3), b, 2, 1, 1, 4, 2)
    result = functional.conv_transpose2d(x, draw(8, 3, 3, 3), b, 2, 1, 1, 4, 2)
    torch.testing.assert_close(result, expected)
    with pytest.raises(RuntimeError, match="same"):
        functional.conv2d(x, w, b, stride=2, padding="same", groups=4)
    assert functional.conv2d(x.to("meta"), w.to("meta"), groups=4).device.type == "meta"


@pytest.mark.parametrize(("torchs", "ours", "used"), [(1, 2, 1), (2, 1, 1), (2, 2, 2)])
def test_the_smaller_thread_count_holds(
    monkeypatch: pytest.MonkeyPatch, torchs: int, ours: int, used: int
) -> None:
    seen = []
    compute, run_of = Call.compute, Prepared._lay

    def recording_compute(*args: object, **kwargs: object) -> object:
        seen.append(gc.get_num_threads())
        return compute(*args, **kwargs)

    def recording_run(*args: object) -> object:
        laid = run_of(*args)
        return laid._replace(run=lambda *a: seen.append(a[-1]) or laid.run(*a))

    monkeypatch.setattr(Call, "compute", recording_compute)
    monkeypatch.setattr(Prepared, "_lay", recording_run)
    module = accelerate(nn.Conv2d(4, 4, 3, groups=2))
    x = draw(1, 4, 5, 5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(torchs)
        with gc.num_threads(ours):
            module(x).sum().backward()
            with torch.no_grad():
                module(x)
                module(x)
    finally:
        torch.set_num_threads(before)
    assert seen == [used] * 4


SCRIPT = """
import {first}
import {second}
import torch, groupconv.interop.torch

def threads():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "Threads" in line)

torch.set_num_threads(2)
model = torch.nn.Sequential(*[torch.nn.Conv2d(64, 64, 3, padding=1, groups=8) for _ in range(4)])
x = torch.ones(1, 64, 56, 56)
with torch.inference_mode():
    model(x)
    own = threads()
    groupconv.interop.torch.accelerate(model[::2])
    for _ in range(5):
        model(x)
runtimes = {{line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}}
print(len(runtimes), threads() - own)
"""


@pytest.mark.parametrize(("first", "second"), [("torch", "groupconv"), ("groupconv", "torch")])
def test_one_team_of_threads_in_either_import_order(first: str, second: str) -> None:
    script = SCRIPT.format(first=first, second=second)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    runtimes, more_threads = map(int, done.stdout.split())
    assert runtimes == 1
    assert more_threads == 0


FORK = """
import os, signal, sys
import torch
from groupconv.interop.torch import accelerate
torch.set_num_threads(2)
model = accelerate(torch.nn.Conv2d(64, 64, 3, padding=1, groups=8))
x = torch.ones(1, 64, 56, 56)
with torch.inference_mode():
    expected = model(x)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if (model(x).numpy() == expected.numpy()).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_computes() -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", FORK]
    assert subprocess.run(arguments, timeout=120, check=False).returncode == 0
