"""The C core inside of another project: ``examples/c_embedding`` builds and runs without us."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import groupconv
from groupconv import reference

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "c_embedding"
COMPILER = os.environ.get("CC", "cc").split()

RUN = """
import sys
import numpy as np
from gaussian_blur import GaussianBlur

pictures = np.load("picture.npy")
for name, sigma in (("small", 0.4), ("large", 2.5)):
    blur = GaussianBlur(pictures.shape, sigma)
    blurred = blur(pictures)
    assert blurred.tobytes() == blur(pictures, threads=2).tobytes()
    np.savez(f"{name}.npz", blurred=blurred, window=blur.window)
for shape, sigma in ((pictures.shape, 0.0), ((0, 4, 3), 1.0)):
    try:
        GaussianBlur(shape, sigma)
    except ValueError:
        continue
    raise AssertionError(f"{shape} and {sigma} were accepted")
assert "groupconv" not in sys.modules
"""


def run(
    command: list[str], folder: pathlib.Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; what it printed is the message when it fails."""
    variables = os.environ | environment
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the example with its extension module."""
    folder = tmp_path_factory.mktemp("embedding") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", "*.so", "*_blur.c"))
    # Unoptimised, one instruction set: the building is at stake; kernels take most of its time.
    here = str(pathlib.Path(groupconv.__file__).parents[1])
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    run(build, folder, PYTHONPATH=here, CFLAGS="-O0 -DGC_BASELINE_ONLY")
    return folder


def test_example_builds_and_blurs(built: pathlib.Path) -> None:
    picture = np.random.default_rng(0).standard_normal((37, 41, 3)).astype(np.float32)
    np.save(built / "picture.npy", picture)
    (built / "run.py").write_text(RUN)
    run([sys.executable, "run.py"], built, PYTHONPATH="")
    for name, sigma, radius in (("small", 0.4, 2), ("large", 2.5, 8)):
        line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
        weight = np.outer(line, line)[None, None] / line.sum() ** 2
        expected = reference.conv(
            picture.transpose(2, 0, 1),
            np.repeat(weight, 3, axis=0),
            padding=radius,
            groups=3,
            padding_mode="replicate",
        )
        with np.load(built / f"{name}.npz") as found:
            assert found["window"] == 2 * radius + 1
            np.testing.assert_allclose(
                found["blurred"].transpose(2, 0, 1), expected, rtol=0, atol=2e-6
            )


def test_sources_are_complete() -> None:
    include = pathlib.Path(groupconv.get_include())
    sources = [pathlib.Path(source) for source in groupconv.get_sources()]
    assert (include / "groupconv.h").is_file()
    assert all(source.is_file() and source.suffix == ".c" for source in sources)
    assert {"plan.c", "dispatch.c", "isa_baseline.c", "direct.c"} <= {s.name for s in sources}


@pytest.mark.parametrize("language", [["-x", "c", "-std=c99"], ["-x", "c++", "-std=c++11"]])
def test_header_stands_alone(language: list[str], tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        '#include "groupconv.h"\nint f(void);\nint f(void) { return gc_openmp(); }\n'
    )
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    run([*COMPILER, *strict, "-I", groupconv.get_include(), *language, str(program)], tmp_path)
