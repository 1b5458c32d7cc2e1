"""`nverb bench memory`: sums against the kernel's, kinds against mappings of a known size."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

import pytest

from dsp.errors import UserError
from firmware_py.bench.memory import footprint_mib, table

MIB = 1 << 20


def test_footprint_sum_equals_smaps_rollup() -> None:
    found = sum(footprint_mib(os.getpid()).values())
    rollup = re.search(
        r"^Pss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE
    )
    assert rollup is not None
    # Memory changes between the two readings.
    assert found == pytest.approx(int(rollup[1]) / 1024, rel=0.05)


def test_footprint_counts_mailbox_separately(tmp_path: Path) -> None:
    before = footprint_mib(os.getpid())
    with open(tmp_path / "mailbox", "w+b") as file:
        file.truncate(8 * MIB)
        with mmap.mmap(file.fileno(), 0) as memory:
            memory[:] = bytes([1]) * len(memory)
            found = footprint_mib(os.getpid())
    assert found["mailbox"] - before["mailbox"] == pytest.approx(8, abs=0.1)


def test_footprint_rejects_missing_process() -> None:
    with pytest.raises(UserError, match="process 2147483647: No such file"):
        footprint_mib(2**31 - 1)


def test_table_shows_each_process_and_the_sum() -> None:
    kinds = {"own": 1.0, "code": 2.0, "jack": 0.0, "mailbox": 0.0}
    lines = table({"bar_mib": 200, "processes": {"audio": kinds}, "total_mib": 3.0}).splitlines()
    assert lines[1].split() == ["audio", "1.0", "2.0", "0.0", "0.0", "3.0"]
    assert lines[-1].split()[:2] == ["all", "3.0"]
