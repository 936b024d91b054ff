"""Whole models of the transformers package before and after: time, and the largest difference.

Models are built from their configurations with random weights; nothing is downloaded. For each,
the model alone, accelerated, and accelerated with fusion are timed in turns; then its convolutions
alone, every one with the inputs it had in the model.

    pip install transformers
    python examples/whole_models.py [--threads 1] [--only regnet,mamba] [--seconds 3] [--json FILE]
"""

import argparse
import copy
import json
import statistics
import time

import torch
import torch.nn.functional as F
import transformers
from accelerate_torch import resnext50
from torch import nn
from torch.overrides import TorchFunctionMode

from groupconv.interop.torch import accelerate


def regnetx():
    sizes = {"embedding_size": 32, "hidden_sizes": [72, 168, 408, 912], "depths": [2, 4, 10, 2]}
    config = transformers.RegNetConfig(layer_type="x", groups_width=24, **sizes)
    return transformers.RegNetModel(config), {"pixel_values": torch.randn(1, 3, 224, 224)}


def resnext():
    return resnext50(), {"input": torch.randn(1, 3, 224, 224)}


def mobilenetv2():
    model = transformers.MobileNetV2Model(transformers.MobileNetV2Config())
    return model, {"pixel_values": torch.randn(1, 3, 224, 224)}


def convnext():
    model = transformers.ConvNextModel(transformers.ConvNextConfig())
    return model, {"pixel_values": torch.randn(1, 3, 224, 224)}


def efficientnet():
    b0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "image_size": 224}
    config = transformers.EfficientNetConfig(hidden_dim=1280, **b0)
    return transformers.EfficientNetModel(config), {"pixel_values": torch.randn(1, 3, 224, 224)}


def wav2vec2():
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(num_hidden_layers=4))
    return model, {"input_values": torch.randn(1, 32000)}


def mamba():
    config = transformers.MambaConfig(hidden_size=768, num_hidden_layers=4, vocab_size=1000)
    tokens = torch.randint(1000, (1, 128))
    return transformers.MambaModel(config), {"input_ids": tokens, "use_cache": False}


MODELS = (regnetx, resnext, mobilenetv2, efficientnet, convnext, wav2vec2, mamba)
CONVOLUTIONS = {F.conv1d: nn.Conv1d, F.conv2d: nn.Conv2d, F.conv3d: nn.Conv3d}


def settle(model, inputs):
    """Give batch normalisations the statistics of a batch of 8, as training would."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        call(model.train(), {name: torch.randn(8, *x.shape[1:]) for name, x in inputs.items()})
    return model.eval()


def call(model, inputs):
    with torch.inference_mode():
        output = model(inputs["input"]) if "input" in inputs else model(**inputs)
    return output if isinstance(output, torch.Tensor) else output.last_hidden_state


class Recorder(TorchFunctionMode):
    """Keeps the convolutions that run: each as a module, with its input."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in CONVOLUTIONS:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            given = dict(zip(names, args, strict=False)) | kwargs
            x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
            outputs, inputs, *kernel = weight.shape
            inputs *= given.get("groups", 1)
            module = CONVOLUTIONS[func](inputs, outputs, kernel, bias=bias is not None, **given)
            state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
            module.load_state_dict(state)
            self.found.append((module, x.clone()))
        return func(*args, **kwargs)


def race(functions, seconds):
    """Time functions in turns; return the median of each in milliseconds."""
    samples = [[] for _ in functions]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < 3:
        for function, own in zip(functions, samples, strict=True):
            start = time.perf_counter()
            function()
            own.append(time.perf_counter() - start)
    return [statistics.median(own) * 1e3 for own in samples]


def race_convolutions(model, inputs, seconds):
    """Time all convolutions of a model, each by itself; return PyTorch's and groupconv's sums."""
    with Recorder() as recorder:
        call(model, inputs)
    own = recorder.found
    ours = [(accelerate(copy.deepcopy(module)), x) for module, x in own]

    @torch.inference_mode()
    def run(pairs):
        for module, x in pairs:
            module(x)

    run(ours)
    return race([lambda: run(own), lambda: run(ours)], seconds)


def measure(make, seconds):
    torch.manual_seed(0)
    model, inputs = make()
    settle(model, inputs)
    models = [
        model,
        accelerate(copy.deepcopy(model)),
        accelerate(copy.deepcopy(model), fuse=True),
    ]
    expected, *results = [call(each, inputs) for each in models]
    results.append(call(models[2], inputs))  # the first call of a fused model is another
    difference = max((result - expected).abs().max() for result in results)
    own, plain, fused = race([lambda m=m: call(m, inputs) for m in models], seconds)
    own_convolutions, convolutions = race_convolutions(model, inputs, seconds)
    return {
        "model": make.__name__,
        "difference": (difference / expected.abs().max()).item(),
        "milliseconds": {"pytorch": own, "accelerated": plain, "fused": fused},
        "convolutions": {"pytorch": own_convolutions, "accelerated": convolutions},
    }


def main():
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--threads", type=int, default=1)
    cli.add_argument("--only", default="", help="names or parts of them, separated by commas")
    cli.add_argument("--seconds", type=float, default=3.0, help="for each of a model's two races")
    cli.add_argument("--json", metavar="FILE", help="write the figures there")
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    wanted = args.only.split(",")
    rows = []
    print("              whole model, ms                            convolutions alone, ms")
    print("model         PyTorch  accelerated  fused  speed-up     PyTorch  groupconv  speed-up"
          "  difference")  # fmt: skip
    for make in MODELS:
        if not any(part in make.__name__ for part in wanted):
            continue
        row = measure(make, args.seconds)
        rows.append(row)
        whole, alone = row["milliseconds"], row["convolutions"]
        best = whole["pytorch"] / min(whole["accelerated"], whole["fused"])
        print(
            f"{row['model']:12} {whole['pytorch']:8.1f} {whole['accelerated']:12.1f} "
            f"{whole['fused']:6.1f} {best:9.2f} {alone['pytorch']:11.1f} "
            f"{alone['accelerated']:10.1f} {alone['pytorch'] / alone['accelerated']:9.2f} "
            f"{row['difference']:11.1e}",
            flush=True,
        )
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"threads": args.threads, "models": rows}, file, indent=1)


if __name__ == "__main__":
    main()
