"""Settings of all tests: hypothesis without clock or chance; the instruction set in the header."""

from __future__ import annotations

import hypothesis
import pytest

pytest.register_assert_rewrite("helpers")

hypothesis.settings.register_profile("groupconv", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("groupconv")


def pytest_report_header() -> str:
    from groupconv import _core

    return f"groupconv: {_core.isa_in_use()} of {', '.join(_core.isa_available())}"
