"""Who decides the number of threads, and who does not see the decision."""

from __future__ import annotations

import asyncio
import os
import reprlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import groupconv as gc
from groupconv import _core, _threads


@pytest.fixture(autouse=True)
def _undecided(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start without a count set for the process, and leave none behind."""
    monkeypatch.setattr(_threads, "_chosen", None)
    _threads._configured.cache_clear()
    yield
    _threads._configured.cache_clear()


def in_new_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", "import groupconv as gc\n" + code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_new_thread(call: Callable[[], int]) -> int:
    found: list[int] = []
    worker = threading.Thread(target=lambda: found.append(call()))
    worker.start()
    worker.join()
    return found[0]


def test_the_process_the_block_and_the_thread() -> None:
    gc.set_num_threads(3)
    assert gc.get_num_threads() == 3
    with gc.num_threads(5):
        assert gc.get_num_threads() == 5
        assert in_new_thread(gc.get_num_threads) == 3
        with gc.num_threads(1):
            assert gc.get_num_threads() == 1
        assert gc.get_num_threads() == 5
        gc.set_num_threads(4)
        assert gc.get_num_threads() == 5
    assert gc.get_num_threads() == 4
    assert in_new_thread(gc.get_num_threads) == 4


def test_blocks_end_with_their_exceptions() -> None:
    before = gc.get_num_threads()
    with pytest.raises(ZeroDivisionError), gc.num_threads(7):
        _ = 1 / 0
    assert gc.get_num_threads() == before


def test_one_block_object_entered_many_times() -> None:
    block = gc.num_threads(6)
    before = gc.get_num_threads()
    with block, block:
        assert gc.get_num_threads() == 6
        with gc.num_threads(2):
            assert in_new_thread(lambda: block.__enter__() or gc.get_num_threads()) == 6
            assert gc.get_num_threads() == 2
        assert gc.get_num_threads() == 6
    assert gc.get_num_threads() == before


def test_blocks_decorate() -> None:
    @gc.num_threads(9)
    def count(depth: int) -> int:
        return count(depth - 1) if depth else gc.get_num_threads()

    assert count(2) == 9
    assert in_new_thread(lambda: count(0)) == 9
    assert gc.get_num_threads() != 9


def test_tasks_are_independent() -> None:
    async def task(n: int) -> int:
        with gc.num_threads(n):
            await asyncio.sleep(0)
            return gc.get_num_threads()

    async def both() -> list[int]:
        return await asyncio.gather(task(3), task(4))

    assert asyncio.run(both()) == [3, 4]


def test_environment_counts_until_something_else_is_said() -> None:
    code = "n = gc.get_num_threads(); gc.set_num_threads(2); print(n, gc.get_num_threads())"
    assert in_new_process(code, GROUPCONV_NUM_THREADS="7").stdout == "7 2\n"
    seen = in_new_process(
        "print(gc.get_num_threads())", GROUPCONV_NUM_THREADS="5", OMP_NUM_THREADS="1"
    )
    assert seen.stdout == "5\n"


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.0", " 2", "", "2,1", "1025", "9" * 5000])
def test_a_wrong_environment_is_named(text: str) -> None:
    done = in_new_process("print('imported')\ngc.get_num_threads()", GROUPCONV_NUM_THREADS=text)
    assert done.stdout == "imported\n"
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert message == (
        "ValueError: GROUPCONV_NUM_THREADS must be a whole number of threads from 1 to 1024, "
        f"got {reprlib.repr(text)}"
    )


def test_a_wrong_environment_is_named_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUPCONV_NUM_THREADS", "many")
    for call in (gc.get_num_threads, gc.show_config, gc.get_num_threads):
        with pytest.raises(ValueError, match=r"^GROUPCONV_NUM_THREADS .* got 'many'"):
            call()
    monkeypatch.setenv("GROUPCONV_NUM_THREADS", "2")
    assert gc.get_num_threads() == 2


def test_the_default_is_what_the_process_may_use() -> None:
    count = "print(gc.get_num_threads())"
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _core.cpu_count()
    everything = cpus if _core.openmp_enabled() else 1
    assert in_new_process(count).stdout == f"{everything}\n"
    assert in_new_process(count, OMP_NUM_THREADS="1").stdout == "1\n"
    assert in_new_process(count, OMP_NUM_THREADS="999").stdout == f"{everything}\n"
    if hasattr(os, "sched_setaffinity"):
        one = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n{count}"
        assert in_new_process(one).stdout == "1\n"


def test_threadpoolctl_limits_the_default() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = gc.get_num_threads()
    with threadpoolctl.threadpool_limits(1):
        assert gc.get_num_threads() == 1
        with gc.num_threads(2):
            assert gc.get_num_threads() == 2
    assert gc.get_num_threads() == before


def test_a_forked_child_has_one_thread() -> None:
    code = """
import os
gc.set_num_threads(2)
child = os.fork()
if child == 0:
    with gc.num_threads(2):
        os._exit(gc.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), gc.get_num_threads())
"""
    done = in_new_process(code)
    assert (done.stdout, done.stderr) == ("1 2\n", "")


def test_importing_decides_and_imports_nothing() -> None:
    code = """
import sys
optional = {"torch", "onnx", "dask", "matplotlib", "ml_dtypes"}
print(*optional & set(sys.modules))
print(len(__import__("groupconv._calls", fromlist=["x"]).FUNCTION_CALLS))
"""
    done = in_new_process(code, GROUPCONV_NUM_THREADS="bad", GROUPCONV_ISA="bad")
    assert (done.stdout, done.stderr) == ("\n0\n", "")


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    with gc.num_threads(3):
        facts = gc.show_config(mode="dicts")
        gc.show_config()
    assert facts["groupconv"] == gc.__version__
    assert facts["threads"]["per call"] == 3
    isa = facts["isa"]
    assert isa["in use"] in isa["detected"]
    assert set(isa["detected"]) <= set(isa["built"])
    printed = capsys.readouterr().out
    for fact in (gc.__version__, "isa:", isa["in use"], "openmp:", "per call:", "caches:"):
        assert fact in printed
    done = in_new_process("gc.show_config()", GROUPCONV_ISA="mmx")
    assert done.returncode != 0
    assert "GROUPCONV_ISA" in done.stderr
    assert "baseline" in done.stderr
