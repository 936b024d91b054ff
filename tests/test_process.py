"""The library inside a process: floating-point environment, fork, Python threads."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from helpers import Case, assert_same_bits, function

import groupconv as gc


def run(code: str) -> str:
    """Run a program in a fresh interpreter and return what it printed; it may not take long."""
    process = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_rounding_mode_is_left_as_found() -> None:
    libm = ctypes.CDLL(None)
    x, w = np.ones((2, 8, 20, 20), "f4"), np.full((8, 4, 3, 3), 0.1, "f4")
    to_nearest = libm.fegetround()
    for direction in (0x400, 0x800, 0xC00) if sys.platform == "linux" else ():
        if libm.fesetround(direction):
            pytest.skip("these are the constants of x86")
        try:
            gc.conv2d(x, w, groups=2, activation="sigmoid")
            gc.grad.conv2d_weight(x, w.shape, x[:, :, 2:, 2:], groups=2)
            found = libm.fegetround()
        finally:
            libm.fesetround(to_nearest)
        assert found == direction


def test_subnormal_numbers_are_numbers() -> None:
    """Neither flushed on the way through nor for the rest of the process."""
    x = np.full((1, 8, 6, 40), 1e-40, "f4")
    tiny = np.float32(1e-40)
    assert tiny > 0
    for kernel, groups in (((1, 1), 1), ((1, 1), 8), ((3, 3), 8), ((3, 3), 2)):
        w = np.zeros((8, 8 // groups, *kernel), "f4")
        w[:, 0, kernel[0] // 2, kernel[1] // 2] = 1
        for threads in (1, 2):
            with gc.num_threads(threads):
                assert (gc.conv2d(x, w, groups=groups) == tiny).all()
    assert (x * np.float32(0.5) > 0).all()


def test_numpy_error_state_is_not_disturbed() -> None:
    x = np.array([[np.inf, 0.0, np.nan, 3e38, 1e-45, 1.0]], "f4")
    with np.errstate(all="raise"):
        gc.conv1d(x, np.array([[[0.0, 3e38]]], "f4"), activation="silu")
        assert (np.ones(4, "f4") + np.float32(1) == 2).all()


FORK = """
    import os, sys
    import numpy as np
    import groupconv as gc

    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 32, 40, 40), dtype="f4")
    w = rng.standard_normal((32, 4, 3, 3), dtype="f4")

    def compute():
        y = gc.conv2d(x, w, padding=1, groups=8)
        return np.concatenate([
            y.ravel(),
            gc.grad.conv2d_input(x.shape, w, y, padding=1, groups=8).ravel(),
            gc.grad.conv2d_weight(x, w.shape, y, padding=1, groups=8).ravel(),
        ])

    def in_child(check):
        pid = os.fork()
        if pid == 0:
            try:
                ok = check()
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                ok = False
            os._exit(0 if ok else 1)
        return os.waitpid(pid, 0)[1] == 0
"""


def test_fork_after_a_parallel_call() -> None:
    run(
        FORK
        + """
    gc.set_num_threads(2)
    want = compute()
    same = lambda: (compute() == want).all()
    assert in_child(same)
    assert in_child(lambda: same() and in_child(same))  # a child of a child
    assert same()
    """
    )


def test_fork_before_the_first_call() -> None:
    run(
        FORK
        + """
    gc.set_num_threads(2)
    assert in_child(lambda: np.isfinite(compute()).all())
    assert np.isfinite(compute()).all()
    """
    )


def test_fork_while_another_thread_computes() -> None:
    run(
        FORK
        + """
    import threading, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what is tested here
    gc.set_num_threads(2)
    want = compute()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            compute()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            time.sleep(0.01)
            assert in_child(lambda: (compute() == want).all())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    """
    )


def test_python_threads_at_once() -> None:
    """Four threads, each with problems of its own and one of all, give the bits of one thread."""
    cases = [
        Case((30, 30), (3, 3), 4, 4, 4, padding=1),
        Case((25, 31), (3, 3), 10, padding=1),
        Case((14, 14), (1, 1), 1, 24, 40),
        Case((90,), (9,), 3, 4, 5, stride=2),
        Case((21, 21), (3, 3), 1, 16, 16, padding=1),
    ]
    problems = [(function("conv", case.ndim), case.arrays(), case.arguments) for case in cases]
    wanted = [conv(*arrays, **arguments) for conv, arrays, arguments in problems]
    failures: list[str] = []

    def work(first: int) -> None:
        for turn in range(40):
            i = (first * turn + turn) % len(problems)
            conv, arrays, arguments = problems[i]
            got = conv(*arrays, **arguments)
            if got.tobytes() != wanted[i].tobytes():
                failures.append(f"{cases[i]} in thread {first}, turn {turn}")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_call_releases_the_interpreter() -> None:
    """While one thread computes, another keeps running Python."""
    x, w = np.ones((1, 24, 64, 64), "f4"), np.ones((24, 24, 5, 5), "f4")
    span = []

    def work() -> None:
        start = time.perf_counter()
        with gc.num_threads(1):
            gc.conv2d(x, w, algorithm="reference")
        span.extend((start, time.perf_counter()))

    thread = threading.Thread(target=work)
    thread.start()
    ticks = [time.perf_counter()]
    while thread.is_alive():
        ticks.append(time.perf_counter())
    thread.join()
    start, end = span
    gaps = np.diff([start, *(tick for tick in ticks if start <= tick <= end), end])
    assert end - start > 0.02, "too short to tell"
    assert gaps.max() < 0.8 * (end - start)


def test_calls_with_different_threads_give_the_same_bits() -> None:
    case = Case((40, 40), (3, 3), 8, 4, 4, padding=1)
    x, w, b = case.arrays()
    before = gc.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        with gc.num_threads(threads):
            results.append(gc.conv2d(x, w, b, **case.arguments))
    assert gc.get_num_threads() == before
    for result in results[1:]:
        assert_same_bits(result, results[0])
