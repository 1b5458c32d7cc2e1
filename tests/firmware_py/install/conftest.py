"""Tests of installing try one room of a file: tests/bank/test_bank.py tests the trial."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from quick_trials import check

from firmware_py.install import trial


@pytest.fixture(autouse=True, scope="module")
def quick_trials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "check", check)
        yield
