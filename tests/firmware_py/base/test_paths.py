"""The runtime folder and its locks: whose they are, and what happens when they are removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dsp.errors import UserError
from firmware_py.base import paths
from firmware_py.base.paths import Lock, runtime_dir


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The user's own folder and the one of all users, and no variable that names another."""
    private, shared = tmp_path / "user", tmp_path / "shm"
    private.mkdir()
    shared.mkdir()
    for name in ("NVERB_RUNTIME_DIR", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private))
    monkeypatch.setattr(paths, "SHARED_MEMORY", shared)
    return private / "nverb", shared / f"nverb-{os.getuid()}"


def test_runtime_folder_is_in_the_users_own(places: tuple[Path, Path]) -> None:
    assert runtime_dir() == places[0] and places[0].stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("why", ["missing", "small", "relative", "running"])
def test_runtime_folder_is_in_shared_memory_if_the_own_folder_does_not_do(
    places: tuple[Path, Path], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "missing":
        places[0].parent.rmdir()
    elif why == "small":  # a tenth of a small board's memory
        monkeypatch.setattr(paths, "MIN_RUNTIME_BYTES", 1 << 60)
    elif why == "relative":
        monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
    else:  # a pedal that was started before the user logged in
        places[1].mkdir()
        (places[1] / "control.sock").touch()
    assert runtime_dir() == places[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to others")
def test_runtime_folder_is_never_another_users(places: tuple[Path, Path]) -> None:
    """Others have made it first, or a link to a folder of this user's."""
    places[1].mkdir()
    (places[1] / "control.sock").touch()
    os.chown(places[1], 12345, 12345)
    assert runtime_dir() == places[0]
    os.chown(places[0].parent, 12345, 12345)  # XDG_RUNTIME_DIR after `su`
    with pytest.raises(UserError, match="belongs to the user with number 12345: remove it"):
        runtime_dir()
    places[1].joinpath("control.sock").unlink()
    places[1].rmdir()
    places[1].symlink_to(places[0])
    with pytest.raises(UserError, match="remove it"):
        runtime_dir()


def test_lock_is_made_again_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(runtime))
    held = Lock("run", "nverb run")
    assert not held.keep()
    for remove in (shutil.rmtree, lambda folder: (folder / "run.lock").unlink()):
        remove(runtime)
        assert held.keep() and not held.keep()
        with pytest.raises(UserError, match=rf"already running \(process {os.getpid()}\)"):
            Lock("run", "nverb run")
    (runtime / "run.lock").unlink()
    other = Lock("run", "nverb run")  # faster than the first one
    with pytest.raises(UserError, match="already running"):
        held.keep()
    other.close()
    assert held.keep()
    held.close()
