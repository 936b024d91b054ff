"""Clean speech of added noise with DeepFilterNet3, every convolution computed by groupconv.

The network has grouped convolutions of 5 x 1, channel multipliers, and transposed depthwise ones.

Usage: pip install 'groupconv[demo]' && pip install --no-deps pyannote-audio (or the program
espeak-ng, which then speaks), then python examples/clean_speech.py [FOLDER]; with a folder, what
goes in and comes out is written there as wave files.
"""

import sys
from pathlib import Path

import numpy as np

from groupconv.demo.audio import add_noise, load_speech, pink_noise, si_snr, write_wave
from groupconv.demo.spectrum import RATE
from groupconv.demo.speech import Cleaner

LARGEST_DIFFERENCE = 1e-3

speech, source = load_speech(RATE)
noise = pink_noise(len(speech), np.random.default_rng(0))
cleaner = Cleaner()

print(f"{len(speech) / RATE:.1f} s of speech: {source}")
for decibels in (0, 5, 10):
    noisy = add_noise(speech, noise, decibels)
    clean = cleaner.clean(noisy)
    before, after = si_snr(noisy, speech), si_snr(clean, speech)
    print(f"SI-SNR {before:5.2f} dB -> {after:5.2f} dB, a gain of {after - before:.2f} dB")
    for folder in map(Path, sys.argv[1:2]):
        write_wave(folder / f"noisy_{decibels}dB.wav", noisy, RATE)
        write_wave(folder / f"clean_{decibels}dB.wav", clean, RATE)

print()
for name, network in cleaner.networks.items():
    print(
        f"{name:8} {network.seconds:6.3f} s, of these {network.convolution_seconds:6.3f} s in "
        f"convolutions; largest difference to ONNX Runtime {network.difference:.1e}"
    )
if not cleaner.difference <= LARGEST_DIFFERENCE:
    sys.exit(f"the difference exceeds {LARGEST_DIFFERENCE}")
