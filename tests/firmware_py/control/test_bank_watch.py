"""A bank outside of the store that is overwritten, removed or mended while it is chosen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from waiting import wait_until

from bank.build import build
from device.controls import defaults
from firmware_py.control.bank_watch import LOOK_S, BankWatch
from firmware_py.control.pedal import Pedal
from firmware_py.rooms.source import rooms_named
from models.generator import room_at


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += LOOK_S
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "own.nvbank"
    build(path, room_at, steps=2, name="own")
    return path


def test_change_is_reported_once_and_when_the_file_rests(path: Path) -> None:
    watch = BankWatch(str(path), FakeClock())
    assert not any(watch.has_changed() for _ in range(3))
    data = path.read_bytes()
    for end in (100, 1000, len(data)):  # a copy on its way
        path.write_bytes(data[:end])
        os.utime(path, ns=(end, end))
        assert not watch.has_changed()
    assert [watch.has_changed() for _ in range(3)] == [True, False, False]
    path.unlink()
    assert not any(watch.has_changed() for _ in range(3))
    path.write_bytes(data)
    assert any([watch.has_changed() for _ in range(3)])


@pytest.mark.parametrize("reference", ["", "halls@0123456789abcdef"])
def test_rooms_of_nverb_and_slots_are_not_watched(reference: str) -> None:
    watch = BankWatch(reference, FakeClock())
    assert not any(watch.has_changed() for _ in range(3))


def test_damaged_bank_is_refused_and_plays_when_it_is_mended(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pedal = Pedal(defaults(), rooms_named(str(path)), str(path))
    pedal.bank_watch = BankWatch(str(path), FakeClock())
    old, said = pedal.rooms.source, ""

    def seen(text: str) -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return text in said

    os.truncate(path, 4096)
    wait_until(lambda: seen("it is truncated"), tend=pedal.work)
    assert pedal.rooms.source is old
    build(path, room_at, steps=3, name="mended")
    wait_until(lambda: pedal.rooms.source.name == "mended", tend=pedal.work)
    assert pedal.bank == str(path) and pedal.rooms.stale
