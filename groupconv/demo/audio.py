"""Speech to clean, noise to add, and a measure of what is gained."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np

from groupconv.demo import wheels
from groupconv.demo.network import Array

try:
    from scipy.signal import resample_poly
except ModuleNotFoundError as error:
    raise ImportError("resampling needs SciPy: pip install 'groupconv[demo]'") from error

# Where the first word of the sample conversation begins, in seconds; a dialling tone comes before.
_FIRST_WORD = 6.6
_SAYING = (
    "A convolution with groups computes every output channel from the input channels of its own "
    "group. With two groups there are two paths side by side, and with as many groups as channels "
    "each channel goes its own way."
)


def load_speech(rate: int) -> tuple[Array, str]:
    """Return a recording of speech and where it comes from.

    It is the sample conversation of the package pyannote-audio where that is installed, else
    spoken by the program espeak-ng.

    Parameters
    ----------
    rate : int
        Samples per second to convert it to.

    Raises
    ------
    FileNotFoundError
        When there is neither.
    """
    try:
        source = wheels.find("pyannote-audio", "sample.wav")
    except ImportError:
        program = shutil.which("espeak-ng")
        if program is None:
            raise FileNotFoundError(
                "no speech to clean: pip install --no-deps pyannote-audio (a recording comes with "
                "it), or install the program espeak-ng"
            ) from None
        spoken = subprocess.run([program, "--stdout", _SAYING], capture_output=True, check=True)
        return read_wave(io.BytesIO(spoken.stdout), rate), "espeak-ng"
    conversation = read_wave(source, rate)[int(_FIRST_WORD * rate) :]
    return conversation, "pyannote-audio's sample conversation"


def read_wave(file: Path | io.BytesIO, rate: int) -> Array:
    """Return the samples of a mono 16-bit wave file at a given rate, from -1 to 1."""
    with wave.open(str(file) if isinstance(file, Path) else file) as recording:
        if recording.getnchannels() != 1 or recording.getsampwidth() != 2:
            raise ValueError("the recording must have one channel of 16 bits")
        content = recording.readframes(recording.getnframes())
        recorded = recording.getframerate()
    samples = np.frombuffer(content, "<i2") / 32768
    common = math.gcd(rate, recorded)
    return np.asarray(resample_poly(samples, rate // common, recorded // common))


def write_wave(path: Path, samples: Array, rate: int) -> None:
    """Write samples from -1 to 1 as a mono 16-bit wave file; louder ones are clipped."""
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def pink_noise(length: int, rng: np.random.Generator) -> Array:
    """Return noise of equal power in every octave, as of rain or traffic; of variance 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, length)
    return np.asarray(noise / noise.std())


def add_noise(speech: Array, noise: Array, decibels: float) -> Array:
    """Return speech with noise that it exceeds by so many decibels."""
    return speech + noise * (speech.std() / noise.std() * 10 ** (-decibels / 20))


def si_snr(estimate: Array, speech: Array) -> float:
    """Return the scale-invariant signal-to-noise ratio in decibels (Le Roux et al., 2019)."""
    estimate, speech = estimate - estimate.mean(), speech - speech.mean()
    target = (estimate @ speech) / (speech @ speech) * speech
    residue = estimate - target
    return float(10 * np.log10((target @ target) / (residue @ residue)))
