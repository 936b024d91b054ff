"""Whole models of the transformers package, small and with random weights, before and after."""

from __future__ import annotations

import copy
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from groupconv.interop.torch import accelerate, report

# transformers and PyTorch warn about their own future when they are imported and built.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

IMAGE = {"pixel_values": (2, 3, 64, 64)}
SOUND = {"input_values": (1, 4000)}
TOKENS = {"input_ids": (2, 24)}


def regnet(kind: str) -> nn.Module:
    from transformers import RegNetConfig, RegNetModel

    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 2, 1, 1]}
    return RegNetModel(RegNetConfig(layer_type=kind, groups_width=8, **sizes))


def resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetModel

    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 2, 1, 1]}
    return ResNetModel(ResNetConfig(**sizes))


def mobilenet(tf_padding: bool) -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2Model

    return MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35, tf_padding=tf_padding))


def convnext() -> nn.Module:
    from transformers import ConvNextConfig, ConvNextModel

    return ConvNextModel(ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1]))


def efficientnet() -> nn.Module:
    from transformers import EfficientNetConfig, EfficientNetModel

    config = EfficientNetConfig(
        width_coefficient=0.5, depth_coefficient=0.5, hidden_dim=640, image_size=64
    )
    return EfficientNetModel(config)


def wav2vec2() -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(32, 32, 32),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 3),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    return Wav2Vec2Model(config)


def mamba() -> nn.Module:
    from transformers import MambaConfig, MambaModel

    return MambaModel(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=100))


# A model, its inputs, and its convolutions that stay single calls: none where each is followed by a
# normalisation of batches or an activation, all where by one of layers.
MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[int, ...]], list[str] | None]] = {
    "RegNetX": (lambda: regnet("x"), IMAGE, []),
    "RegNetY": (lambda: regnet("y"), IMAGE, []),
    "ResNet": (resnet, IMAGE, []),
    "MobileNetV2": (lambda: mobilenet(False), IMAGE, []),
    "MobileNetV2 padded": (lambda: mobilenet(True), IMAGE, []),
    "ConvNeXt": (convnext, IMAGE, None),
    "EfficientNet": (efficientnet, IMAGE, []),
    "Wav2Vec2": (wav2vec2, SOUND, ["feature_extractor.conv_layers.0.conv"]),
    "Mamba": (mamba, TOKENS, None),
}


def draw(sizes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randint(100, shape, generator=generator)
        if name == "input_ids"
        else torch.randn(shape, generator=generator)
        for name, shape in sizes.items()
    }


def settle(model: nn.Module) -> nn.Module:
    """Give batch normalisations statistics that fit their inputs, so that no value runs away."""
    torch.manual_seed(1)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = 1.0
    if norms:
        model.train()
        with torch.no_grad():
            model(**draw(IMAGE))
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
def test_model(name: str) -> None:
    make, sizes, single = MODELS[name]
    torch.manual_seed(0)
    model = settle(make())
    inputs = draw(sizes)
    options = {"use_cache": False} if name == "Mamba" else {}
    own = copy.deepcopy(model)
    with torch.inference_mode():
        expected = own(**inputs, **options).last_hidden_state
        accelerate(model)
        plain = model(**inputs, **options).last_hidden_state
        accelerate(model, fuse=True)
        first = model(**inputs, **options).last_hidden_state
        second = model(**inputs, **options).last_hidden_state
    for result in (plain, first, second):
        assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()
    state = report(model)
    convolutions = (nn.Conv1d, nn.Conv2d)
    assert len(state.accelerated) == sum(isinstance(p, convolutions) for p in own.modules())
    assert not state.left_alone
    assert not state.refused
    remaining = [name for name in state.accelerated if name not in state.fused]
    assert remaining == (list(state.accelerated) if single is None else single)
    if name == "Mamba":
        assert sum(state.functional.values()) == 2


def test_outputs_that_hooks_collect() -> None:
    torch.manual_seed(0)
    model = settle(regnet("x"))
    inputs = draw(IMAGE)
    with torch.inference_mode():
        expected = model(**inputs, output_hidden_states=True).hidden_states
        accelerate(model, fuse=True)
        model(**inputs)
        result = model(**inputs, output_hidden_states=True).hidden_states
    assert len(result) == len(expected) == 5
    for ours, own in zip(result, expected, strict=True):
        assert (ours - own).abs().max() <= 1e-4 * own.abs().max()


def test_training_step() -> None:
    torch.manual_seed(0)
    model = settle(regnet("x"))
    own = copy.deepcopy(model)
    accelerate(model, fuse=True)
    inputs = draw(IMAGE)
    for part in (own, model):
        part.train()
        part(**inputs).pooler_output.square().mean().backward()
    for (name, ours), theirs in zip(model.named_parameters(), own.parameters(), strict=True):
        assert ours.grad is not None, name
        scale = theirs.grad.abs().max()
        assert (ours.grad - theirs.grad).abs().max() <= 1e-3 * scale + 1e-6, name


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["accelerate_torch.py", "--size=64", "--repeats=1"], "53 of 53 convolutions computed by"),
        (["whole_models.py", "--only=mobilenet", "--seconds=0"], "mobilenetv2 "),
    ],
    ids=["accelerate_torch", "whole_models"],
)
def test_examples(arguments: list[str], printed: str) -> None:
    name, *rest = arguments
    script = pathlib.Path(__file__).parent.parent / "examples" / name
    found = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # groupconv where we found it
    command = [sys.executable, script, *rest]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=True, env=found
    )
    assert printed in done.stdout
