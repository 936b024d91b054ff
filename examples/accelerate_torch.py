"""One line for a PyTorch model: groupconv computes its convolutions, in inference and in training.

A ResNeXt-50 of plain torch.nn modules (Xie et al., "Aggregated Residual Transformations for Deep
Neural Networks", 2017, table 1; weights are random) is timed as it is, with its convolutions
accelerated, and with batch normalisations, residuals and activations fused into them; then one
training step of each kind. Outputs and gradients are compared.

    python examples/accelerate_torch.py [--threads 1] [--batch 1] [--size 224]
"""

import argparse
import statistics
import time

import torch
from torch import nn

from groupconv.interop.torch import accelerate, report, restore


class Block(nn.Module):
    """1x1, 3x3 with 32 groups, 1x1, and the shortcut."""

    def __init__(self, inputs, width, outputs, stride):
        super().__init__()
        self.paths = nn.Sequential(
            *unit(inputs, width, 1), nn.ReLU(inplace=True),
            *unit(width, width, 3, stride, groups=32), nn.ReLU(inplace=True),
            *unit(width, outputs, 1),
        )  # fmt: skip
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*unit(inputs, outputs, 1, stride))

    def forward(self, x):
        return torch.relu(self.paths(x) + self.shortcut(x))


def unit(inputs, outputs, kernel, stride=1, groups=1):
    """Convolution and batch normalisation."""
    padding = kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(outputs)


def resnext50():
    """Four stages of blocks, of 3, 4, 6 and 3; a stem before and a classifier behind them."""
    layers = [*unit(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width, outputs = 128 << stage, 256 << stage
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            layers.append(Block(inputs, width, outputs, stride))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def infer(model, x):
    with torch.inference_mode():
        return model.eval()(x)


def train(model, x):
    """Gradients of one step of fine-tuning (statistics fixed), as one vector."""
    model.eval().zero_grad()
    model(x).square().mean().backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def milliseconds(function, model, x, repeats):
    function(model, x)
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(model, x)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples) * 1e3


def main():
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--batch", type=int, default=1)
    cli.add_argument("--size", type=int, default=224)
    cli.add_argument("--repeats", type=int, default=5)
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = resnext50()
    x = torch.randn(args.batch, 3, args.size, args.size)
    for title, function in (("inference", infer), ("a training step", train)):
        restore(model)
        expected = function(model, x)
        own = milliseconds(function, model, x, args.repeats)
        print(f"{title}: {own:.1f} ms with PyTorch alone")
        for fuse in (False, True) if function is infer else (False,):
            accelerate(model, fuse=fuse)
            difference = (function(model, x) - expected).norm() / expected.norm()
            ours = milliseconds(function, model, x, args.repeats)
            kind = "accelerated and fused" if fuse else "accelerated"
            print(f"  {kind}: {ours:.1f} ms, {own / ours:.2f} times as fast, "
                  f"difference {difference:.1e}")  # fmt: skip
            if fuse:
                print(*str(report(model)).splitlines()[:4], "  ...", sep="\n")


if __name__ == "__main__":
    main()
