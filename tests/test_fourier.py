"""Convolution as a product of spectra: its own error bound, infinities and NaN, the same bits.

A discrete Fourier transform of N points errs by at most about 7 log2(N) unit roundoffs of the norm
of what it transforms (Higham, section 24.1). An output takes part in three; by the inequality of
Cauchy and Schwarz its error is at most so many units of the sum over channels of ``||x|| ||w||_1``,
``x`` being the block that it is computed from. On data of one magnitude it is far smaller.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import (
    FLOATS,
    HALVES,
    Case,
    algorithms,
    assert_same_bits,
    assert_within,
    exact,
    guarded,
    place,
)

import groupconv as gc
from groupconv import reference
from groupconv._arguments import conv_arguments
from groupconv._core import Plan
from groupconv._problem import forward_problem

CASES = [
    Case((97,), (32,), 1, 4, 4),
    Case((98,), (32,), 1, 5, 9, padding=1),
    Case((31,), (33,), 2, 8, 8, padding=16),
    Case((300,), (40,), 2, 6, 10, padding=[(39, 3)]),
    Case((300,), (32,), 1, 9, 17, padding=31, dilation=2),
    Case((260,), (128,), 3, 8, 8, batch=1, padding=64),
    Case((200,), (65,), 1, 16, 16, padding=40, padding_mode="reflect"),
    Case((200,), (65,), 1, 16, 16, padding=70, padding_mode="circular"),
    Case((200,), (65,), 1, 16, 16, padding=70, padding_mode="replicate"),
    Case((1,), (50,), 1, 16, 3, padding=49),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_dtype = pytest.mark.parametrize("dtype", [*FLOATS, *HALVES])


def block(case: Case) -> tuple[int, int]:
    """Points of a transform, and outputs of a block."""
    span = case.arguments["dilation"] * (case.kernel[0] - 1) + 1
    points = 2
    while points < 2 * span:
        points *= 2
    return points, points - span + 1


def magnitudes(x: np.ndarray, w: np.ndarray, b: np.ndarray, case: Case) -> np.ndarray:
    """The sum over channels of ||x|| ||w||_1 in the block of each output, and its bias."""
    modes = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    padding = np.broadcast_to(case.arguments["padding"], (1, 2))[0]
    mode = modes[case.arguments["padding_mode"]]
    padded = np.pad(x.astype("f8"), [(0, 0), (0, 0), tuple(padding)], mode=mode)
    points, outputs = block(case)
    norms = np.empty((x.shape[0], x.shape[1], *case.out_size))
    for start in range(0, case.out_size[0], outputs):
        energy = (padded[..., start : start + points] ** 2).sum(axis=2, keepdims=True)
        norms[..., start : start + outputs] = np.sqrt(energy)
    lengths = abs(w.astype("f8")).sum(axis=2, keepdims=True)
    total = reference.conv(norms, lengths, None, groups=case.arguments["groups"])
    return total + abs(b.astype("f8"))[None, :, None]


def units(case: Case) -> float:
    """Roundings on the way of a product."""
    return 21 * np.log2(block(case)[0]) + case.in_channels // case.groups + 8


@each_dtype
@each_case
def test_against_the_reference(case: Case, dtype: str) -> None:
    x, w, b = case.arrays(dtype)
    got = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
    want = exact(reference.conv, x, w, b, **case.arguments)
    assert_within(got, want, magnitudes(x, w, b, case), units(case))


@each_dtype
@each_case
def test_error_on_data_of_one_magnitude(case: Case, dtype: str) -> None:
    x, w, b = case.arrays(dtype)
    got = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
    want = exact(reference.conv, x, w, b, **case.arguments)
    assert_within(got, want, np.full(want.shape, float(abs(want).max())), 16)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_a_block_reads_what_its_outputs_read(mode: str) -> None:
    """Behind the padded row lies, in some modes, its head again: a loud one must not be heard."""
    case = Case((200,), (64,), 1, 16, 16, padding_mode=mode)
    x, w, b = case.arrays()
    x[..., :30] *= 1e6
    got = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
    want = exact(reference.conv, x, w, b, **case.arguments)
    assert_within(got, want, magnitudes(x, w, b, case), units(case))
    quiet = slice(block(case)[1], None)  # the first block reads it, the others do not
    far = np.full(want.shape, float(abs(want[..., quiet]).max()))
    assert_within(got[..., quiet], want[..., quiet], far[..., quiet], 16)


@each_case
def test_into_strided_memory(case: Case) -> None:
    x, w, b = case.arrays()
    want = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
    with guarded(want.shape, want.dtype, "every_other") as out:
        got = gc.conv1d(
            place(x, "channels_last"), w, b, **case.arguments, algorithm="fourier", out=out
        )
        assert got is out
        assert_same_bits(out, want)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_case
def test_special_values_reach_their_windows(case: Case, special: float) -> None:
    x, w, b = case.arrays()
    x[0, 1, x.shape[2] // 2] = special
    got = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
    want = reference.conv(x, w, b, **case.arguments)
    bound = np.where(np.isfinite(x), x, 0)
    assert_within(got, want, magnitudes(bound, w, b, case), units(case))


@each_case
def test_transforms_that_overflow(case: Case) -> None:
    """Inputs near the largest float32: the spectra overflow where the result does not."""
    x, w, b = case.arrays()
    x = x / abs(x).max() * np.float32(3e38)
    w = w * np.float32(1e-3)
    got = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
    want = reference.conv(x, w, b, **case.arguments)
    assert abs(want).max() < 3e38
    assert_within(got, want, reference.error_bound(reference.conv, x, w, b, **case.arguments))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.arguments["padding_mode"] == "zeros"], ids=str
)
def test_a_transposed_one_and_the_gradient(case: Case) -> None:
    """Of stride 1 they are convolutions with the mirrored kernel."""
    x, w, _ = case.arrays()
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size))
    padding = np.broadcast_to(case.arguments["padding"], (1, 2)).tolist()
    options = {**case.arguments, "padding": [tuple(padding[0])]}
    del options["padding_mode"], options["stride"]
    got = gc.conv_transpose1d(g, w, None, **options, algorithm="fourier")
    want = exact(reference.conv_transpose, g, w, None, **options)
    assert_within(got, want, np.full(want.shape, float(abs(want).max())), 16)
    del options["padding"]
    by_input = gc.grad.conv1d_input(x.shape, w, g, padding=case.arguments["padding"], **options)
    assert_within(by_input, want, np.full(want.shape, float(abs(want).max())), 64)


@each_case
def test_bits_do_not_depend_on_threads_batch_or_preparing(case: Case) -> None:
    x, w, b = case.arrays()
    layer = gc.Conv1d.from_weight(w, b, **case.arguments, algorithm="fourier")
    with gc.num_threads(1):
        alone = gc.conv1d(x, w, b, **case.arguments, algorithm="fourier")
        assert_same_bits(layer(x), alone)
    for threads in (2, 3):
        with gc.num_threads(threads):
            assert_same_bits(layer(x), alone)
    for image in range(case.batch):
        assert_same_bits(layer(x[image : image + 1]), alone[image : image + 1])


@each_case
def test_epilogue(case: Case) -> None:
    x, w, b = case.arrays()
    residual = case.draw("residual", (case.batch, case.out_channels, *case.out_size))
    options = {**case.arguments, "residual": residual}
    bound = magnitudes(x, w, b, case) + abs(residual)
    for activation in ("relu", "hardswish"):
        got = gc.conv1d(x, w, b, **options, activation=activation, algorithm="fourier")
        want = reference.conv(x, w, b, **options, activation=activation)
        assert_within(got, want, 1.5 * bound, units(case))  # no steeper than 3/2


def test_refusals_name_what_can() -> None:
    x = np.ones((1, 16, 99), "f4")
    for taps, options in [(31, {}), (40, {"stride": 2}), (40, {"groups": 16})]:
        w = np.ones((16, 16 // options.get("groups", 1), taps), "f4")
        with pytest.raises(ValueError, match=r"fourier.*direct"):
            gc.conv1d(x, w, **options, algorithm="fourier")
        assert "fourier" not in algorithms(gc.conv1d, x, w, **options)


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize(
    ("channels", "size", "groups", "taps"),
    [(768, 500, 16, 128), (768, 16000, 16, 128), (64, 4000, 1, 400), (256, 1000, 4, 64)],
)
def test_long_kernels_are_computed_so_with_little_memory(
    channels: int, size: int, groups: int, taps: int, ahead: bool
) -> None:
    x = np.empty((1, channels, size), "float32")
    w = np.empty((channels, channels // groups, taps), "float32")
    arguments = conv_arguments(1, padding=taps // 2, groups=groups)
    plan = Plan(forward_problem(arguments, x, w, weights_ahead=ahead))
    text = plan.explain()
    assert plan.algorithm == "fourier"
    assert 0 < int(re.search(r"(\d+) bytes per thread", text)[1]) < 2 << 20
    shorter = replace(forward_problem(arguments, x, w, weights_ahead=ahead), algorithm="direct")
    assert Plan(shorter).predicted_seconds > 3 * plan.predicted_seconds
