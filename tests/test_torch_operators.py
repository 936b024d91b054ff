"""The registered operators, and what records them: torch.compile, torch.export, tracing."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from groupconv.interop.torch import accelerate, functional

# Warnings that PyTorch's compiler gives about itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

OPTIONS: dict[str, tuple[Any, ...]] = {
    "grouped": ((1, 1), (1, 1, 1, 1), (0, 0), (1, 1), 2, "zeros", False),
    "uneven": ((2, 1), (0, 2, 1, 0), (0, 0), (1, 2), 2, "zeros", False),
    "reflect": ((1, 2), (1, 1, 2, 2), (0, 0), (1, 1), 2, "reflect", False),
    "transposed": ((2, 3), (1, 1, 0, 1), (1, 0), (1, 2), 2, "zeros", True),
}


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)


class Net(nn.Module):
    """Convolutions of both directions, with something for a compiler to fuse between them."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1, groups=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(torch.relu(self.norm(self.down(x)))) + 1


@pytest.fixture(name="net", params=[False, True], ids=["plain", "fused"])
def _net(request: pytest.FixtureRequest) -> Net:
    torch.manual_seed(0)
    net = Net().eval()
    net.expected = net(draw(2, 4, 8, 8)).detach()
    return accelerate(net, fuse=request.param)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_operators_are_registered_soundly(options: tuple[Any, ...]) -> None:
    transposed = options[-1]
    x = draw(2, 4, 6, 7, dtype=torch.float64).requires_grad_()
    shape = (4, 3, 3, 2) if transposed else (6, 2, 3, 2)
    w = draw(*shape, dtype=torch.float64).requires_grad_()
    b = draw(6, dtype=torch.float64).requires_grad_()
    ops = torch.ops.groupconv
    y = ops.convolution(x, w, b, *options)
    g = torch.rand_like(y).requires_grad_()
    torch.library.opcheck(ops.convolution.default, (x, w, b, *options))
    torch.library.opcheck(ops.input_gradient.default, (g, w, x.shape, *options))
    torch.library.opcheck(ops.weight_gradient.default, (x, g, w.shape, *options))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_derivatives_of_all_operators(options: tuple[Any, ...]) -> None:
    transposed = options[-1]
    x = draw(1, 4, 4, 5, dtype=torch.float64).requires_grad_()
    w = draw(4, 1 if transposed else 2, 3, 2, dtype=torch.float64).requires_grad_()
    ops = torch.ops.groupconv
    g = torch.rand_like(ops.convolution(x, w, None, *options)).requires_grad_()
    for function, first, second in (
        (lambda x, w: ops.convolution(x, w, None, *options), x, w),
        (lambda g, w: ops.input_gradient(g, w, x.shape, *options), g, w),
        (lambda x, g: ops.weight_gradient(x, g, w.shape, *options), x, g),
    ):
        assert torch.autograd.gradcheck(function, (first, second))
        assert torch.autograd.gradgradcheck(function, (first, second), fast_mode=True)


def test_compile_without_breaks(net: Net) -> None:
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = draw(2, 4, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), net.expected)
    compiled(x).sum().backward()
    gradient = net.down.weight.grad.clone()
    net.zero_grad()
    net(x).sum().backward()
    torch.testing.assert_close(gradient, net.down.weight.grad)


def test_compile_sees_edits(net: Net) -> None:
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = draw(2, 4, 8, 8)
    with torch.no_grad():
        compiled(x)
        net.down.weight.mul_(2)
        net.norm.running_mean.add_(1)
        torch.testing.assert_close(compiled(x), net(x))


def test_compile_keeps_channels_last(net: Net) -> None:
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = draw(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        result = compiled(x)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, net.expected.contiguous(memory_format=torch.channels_last))


def test_compile_with_inductor() -> None:
    torch.manual_seed(0)
    net = accelerate(Net().eval())
    x = draw(2, 4, 8, 8)
    compiled = torch.compile(net, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize("strict", [False, True])
def test_export(net: Net, strict: bool) -> None:
    x = draw(2, 4, 8, 8)
    sizes = {"x": {0: torch.export.Dim("n", min=1, max=16), 3: torch.export.Dim.AUTO}}
    program = torch.export.export(net, (x,), dynamic_shapes=sizes, strict=strict)
    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.groupconv.convolution.default) == 2
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(x), net.expected)
    wide = draw(3, 4, 8, 12)
    torch.testing.assert_close(loaded(wide), net(wide))


def test_jit_trace_and_make_fx_record_the_operator(net: Net) -> None:
    x = draw(2, 4, 8, 8)
    traced = torch.jit.trace(net, x)
    assert "groupconv::convolution" in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), net.expected)
    assert make_fx(net)(x).code.count("torch.ops.groupconv.convolution") == 2


def test_symbolic_trace_keeps_the_modules(net: Net) -> None:
    graph = torch.fx.symbolic_trace(accelerate(net))
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == ["down", "norm", "up"]
    torch.testing.assert_close(graph(draw(2, 4, 8, 8)), net.expected)


def test_fake_tensors() -> None:
    module = accelerate(nn.Conv2d(4, 6, 3, groups=2))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x = mode.from_tensor(draw(2, 4, 8, 9).contiguous(memory_format=torch.channels_last))
        result = module(x)
    assert result.shape == (2, 6, 6, 7)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_functional_compiles_with_changing_sizes() -> None:
    weight = draw(6, 2, 3)

    @torch.compile(backend="aot_eager", fullgraph=True, dynamic=True)
    def function(x: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(x, weight, padding="same", groups=2) * 2

    for size in (7, 12, 30):
        x = draw(2, 4, size)
        expected = torch.nn.functional.conv1d(x, weight, padding="same", groups=2) * 2
        torch.testing.assert_close(function(x), expected)
