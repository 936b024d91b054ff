"""Short-time spectra and the features that DeepFilterNet sees in them.

The transform and the two running normalizations are those the network was trained with
(Schröter et al., DeepFilterNet, 2022; its public configuration).
"""

from __future__ import annotations

import numpy as np

from groupconv.demo.network import Array

RATE = 48_000
FFT, HOP = 960, 480
BINS = FFT // 2 + 1
BANDS, LEAST_BAND = 32, 2
# Share of a running mean kept from one frame to the next: exp(-HOP / RATE), as trained rounded.
_KEPT = 0.99
# Running means before the first frame, from the lowest frequency to the highest.
_FIRST_DECIBELS = (-60.0, -90.0)
_FIRST_MAGNITUDES = (1e-3, 1e-4)
_DECIBELS_PER_UNIT = 40.0


def _window() -> Array:
    """Return Vorbis' power-complementary window: squares half a window apart add up to one."""
    phase = (np.arange(FFT) + 0.5) / FFT
    return np.asarray(np.sin(np.pi / 2 * np.sin(np.pi * phase) ** 2))


def analyze(samples: Array) -> Array:
    """Return the spectra of frames half a window apart, ``(frames, BINS)``, complex.

    Frame t is centred on sample ``t * HOP``; ones beyond the ends are zero.
    """
    frames = -(-len(samples) // HOP) + 1
    padded = np.zeros((frames + 1) * HOP)
    padded[HOP : HOP + len(samples)] = samples
    halves = padded.reshape(-1, HOP)
    windowed = np.concatenate([halves[:-1], halves[1:]], axis=1) * _window()
    return np.fft.rfft(windowed) / FFT


def synthesize(spectra: Array, length: int) -> Array:
    """Return the first `length` samples of the signal that has these spectra."""
    frames = np.fft.irfft(spectra * FFT, FFT) * _window()
    samples = np.zeros((len(spectra) + 1, HOP))
    samples[:-1] += frames[:, :HOP]
    samples[1:] += frames[:, HOP:]
    return samples.reshape(-1)[HOP : HOP + length]


def bands() -> Array:
    """Return how many frequency bins each band has: equal steps of hearing, LEAST_BAND at least.

    Equal steps are of the ERB scale (Glasberg and Moore, 1990).
    """
    width, quality = 24.7, 9.265
    highest = quality * np.log1p(RATE / 2 / (width * quality))
    edges = width * quality * np.expm1(np.linspace(0, highest, BANDS + 1) / quality)
    # The last band has the bin of half the sampling rate as well.
    edges = np.rint(edges * FFT / RATE).astype(int) + (np.arange(BANDS + 1) == BANDS)
    for band in range(1, BANDS):
        edges[band] = max(edges[band], edges[band - 1] + LEAST_BAND)
    return np.diff(edges)


def running_mean(values: Array, first: tuple[float, float]) -> Array:
    """Return the exponential running mean over frames of ``(frames, n)`` values."""
    means = np.empty_like(values)
    mean = np.linspace(*first, values.shape[1])
    for frame, value in enumerate(values):
        mean = _KEPT * mean + (1 - _KEPT) * value
        means[frame] = mean
    return means


def band_features(spectra: Array) -> Array:
    """Return the bands' levels relative to their running mean, ``(frames, BANDS)``."""
    count = bands()
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    power = np.add.reduceat(np.abs(spectra) ** 2, starts, axis=1) / count
    level = 10 * np.log10(power + 1e-10)
    return (level - running_mean(level, _FIRST_DECIBELS)) / _DECIBELS_PER_UNIT


def bin_features(spectra: Array) -> Array:
    """Return bins over the root of their magnitude's running mean, complex, as `spectra`."""
    return spectra / np.sqrt(running_mean(np.abs(spectra), _FIRST_MAGNITUDES))
