"""A pedal with folders and a clock of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clock import ClockModule
from rig import Rig


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    runtime = Path(f"/dev/shm/nverb-control-{os.getpid()}")
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(runtime))
    yield tmp_path / "data"
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ClockModule:
    clock = ClockModule()
    for user in ("control.pedal", "rooms.feed", "control.process", "control.leds"):
        monkeypatch.setattr(f"firmware_py.{user}.time", clock)
    return clock


@pytest.fixture
def rig(clock: ClockModule, folders: Path) -> Iterator[Rig]:
    rig = Rig(clock)
    yield rig
    rig.board.close()
