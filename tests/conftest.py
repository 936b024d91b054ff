"""What all tests share: one groupconv, hypothesis without a clock or chance, a line in the header.

The tests run from the root of a checkout, whose folder ``groupconv`` Python would import from the
current directory although it lacks the compiled core after ``pip install .``. So that the tests and
every interpreter they start import the package that is installed, the root leaves ``sys.path``
unless the core was built in place, and the tests run elsewhere, with ``PYTHONPATH`` set.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Waiting threads that spin would only keep others from the processor. Read when OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if not any((ROOT / "groupconv").glob("_core.*.so")):
    sys.path[:] = [folder for folder in sys.path if pathlib.Path(folder or ".").resolve() != ROOT]

pytest.register_assert_rewrite(
    "helpers", "bench_helpers", "dask_helpers", "onnx_helpers", "torch_helpers"
)

hypothesis.settings.register_profile("groupconv", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("groupconv")


def pytest_configure(config: pytest.Config) -> None:
    """Let files come in their order: the C program, one test but the longest, would be last."""
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist's
        config.option.loadscopereorder = False


@pytest.fixture(scope="session", autouse=True)
def _one_groupconv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import groupconv

    package = pathlib.Path(groupconv.__file__).parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package), prepend=os.pathsep)
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture
def threads_of_pytorch() -> Iterator[None]:
    """PyTorch races with as many threads as it is told, and keeps them."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def objects_of_the_build(sources: list[pathlib.Path]) -> list[pathlib.Path]:
    """Objects that an installation from here left in ``build``: none if a file is newer."""
    from c_building import building

    core = building.CORE
    newest = max(path.stat().st_mtime for path in core.rglob("*.[ch]"))
    for folder in (ROOT / "build").glob("temp.*/src/groupconv_c"):
        objects = [folder / source.relative_to(core).with_suffix(".o") for source in sources]
        if all(o.exists() and o.stat().st_mtime > newest for o in objects):
            return objects
    return []


@pytest.fixture(scope="session")
def core_objects(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of the C core's objects: of the build that is tested here, or compiled."""
    from c_building import building

    from groupconv import _core

    sources = sorted(building.CORE.rglob("*.c"))
    if built := objects_of_the_build(sources):
        return [str(path) for path in built]
    flags = ["-O1", "-fopenmp", '-DGC_VERSION="0"']
    if "avx512" not in _core.isa_available():
        flags.append("-DGC_NO_AVX512")  # the installed module has it; here it would not run
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers' folders lie in a common one
        base = base.parent
    folder = base / "core"
    with open(base / "core.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return sorted(map(str, folder.glob("*.o")))
        folder.mkdir()
        try:
            return building.compile_all(sources, folder, "gcc", flags)
        except RuntimeError:
            shutil.rmtree(folder)
            raise


def pytest_report_header() -> str:
    import groupconv
    from groupconv import _core

    folder = pathlib.Path(groupconv.__file__).parent
    return f"groupconv: {folder}, {_core.isa_in_use()} of {', '.join(_core.isa_available())}"
