"""Noise that is kept in files: the same as noise that is made, whatever happens to the files.

What makes noise even is replaced by something that is fast; `test_flat.py` tests it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp import noise
from dsp.flat import Span
from dsp.noise import Noise, keep_in
from firmware_py.rooms.noise_files import KEPT_FILES, NoiseFiles

Floats = NDArray[np.float32]
RATE_HZ, LENGTHS = 8000, (4800, 8000)


def quickly(white: Floats, _span: Span) -> Generator[None, None, Floats]:
    yield
    return white / 3


@pytest.fixture(autouse=True)
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(noise, "flatten", quickly)
    keep_in(None)
    yield
    keep_in(None)
    Noise.cache_clear()


def made(seed: int = 1) -> list[Floats]:
    """The noise of a process that has just started, in two lengths."""
    Noise.cache_clear()
    growing = Noise(RATE_HZ, seed)
    return [growing(frames) for frames in LENGTHS]


@pytest.fixture
def fresh(start: None) -> list[Floats]:
    """Without files."""
    return made()


def same(these: list[Floats], those: list[Floats]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(these, those, strict=True))


def test_kept_noise_is_read_and_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: list[Floats]
) -> None:
    keep_in(NoiseFiles(tmp_path / "noise"))
    assert same(made(), fresh)
    assert len(list((tmp_path / "noise").iterdir())) == len(LENGTHS)
    monkeypatch.setattr(noise, "flatten", None)  # nothing is made
    assert same(made(), fresh)


def cut(content: bytes) -> bytes:
    return content[:-4]


def flip(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def of_other_code(content: bytes) -> bytes:
    return bytes(32) + content[32:]


@pytest.mark.parametrize("damage", [cut, flip, of_other_code, lambda _: b""])
def test_damaged_file_is_made_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], fresh: list[Floats]
) -> None:
    keep_in(NoiseFiles(tmp_path))
    made()
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, content in whole.items():
        path.write_bytes(damage(content))
    assert same(made(), fresh)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [endless, os.mkfifo, Path.mkdir])
def test_anything_in_the_place_of_a_file_is_no_fault(
    tmp_path: Path, make: Callable[[Path], object], fresh: list[Floats]
) -> None:
    keep_in(NoiseFiles(tmp_path))
    make(tmp_path / f"{RATE_HZ}-1-0-{LENGTHS[0]}")
    assert same(made(), fresh)


def test_noise_of_another_name_is_not_used(tmp_path: Path, fresh: list[Floats]) -> None:
    keep_in(NoiseFiles(tmp_path))
    made(seed=2)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(path.name.replace("-2-", "-1-", 1)))
    assert same(made(), fresh)


def test_folder_that_cannot_be_written_is_no_fault(tmp_path: Path, fresh: list[Floats]) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "missing" / "noise"):
        keep_in(NoiseFiles(folder))
        assert same(made(), fresh)


def test_oldest_files_are_removed(tmp_path: Path) -> None:
    keep_in(NoiseFiles(tmp_path))
    for number in range(9):
        (tmp_path / f"old{number}").touch()
        os.utime(tmp_path / f"old{number}", (number, number))
    made()
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == KEPT_FILES
    assert {f"{RATE_HZ}-1-0-{LENGTHS[0]}", "old8"} <= left
