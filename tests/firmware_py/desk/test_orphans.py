"""A killed `nverb run`: its processes end with it, and the next one ends what could not."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from waiting import wait_until

from dsp.errors import UserError
from firmware_py.base.process import nverb_command
from firmware_py.desk.orphans import MARK, mark
from firmware_py.link.client import ask

pytestmark = pytest.mark.live
started: list[subprocess.Popen[bytes]] = []


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder, and a name of JACK's server, of this test alone."""
    path = Path(tempfile.mkdtemp(prefix="nverb-orphans-", dir="/dev/shm"))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(path))
    monkeypatch.setenv("JACK_DEFAULT_SERVER", path.name)
    yield path
    while started:
        run = started.pop()
        run.kill()
        run.wait()
    for pid in marked():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path)


def marked() -> list[int]:
    """The processes of a run of this folder, by /proc; without zombies."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_dead = "\nState:\tZ" in (process / "status").read_text()
            wanted = f"{MARK}={mark()}".encode()
            if not is_dead and wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


@pytest.fixture
def adopts() -> Iterator[None]:
    """Orphans become children of this process: the init of a container may reap them late."""
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    assert prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    yield
    assert prctl(set_child_subreaper, 0, 0, 0, 0) == 0


def are_gone(pids: Sequence[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def start(folder: Path, orphans: Sequence[int] = ()) -> tuple[subprocess.Popen[bytes], Path]:
    """A run that plays, and the file of its log."""
    log = folder / f"log-{len(list(folder.glob('log-*')))}"
    with log.open("wb") as file:
        run = subprocess.Popen(
            nverb_command("run", "--dummy", "--profile", "none"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )

    started.append(run)

    def plays() -> bool:
        assert run.poll() is None, log.read_text()
        if not are_gone(orphans):  # one that hangs would not answer
            return False
        with contextlib.suppress(UserError):
            audio = ask({"do": "status"})["status"]["audio"]
            return bool(audio and audio["alive"] and audio["playing_serial"])
        return False

    wait_until(plays, told=log.read_text)
    return run, log


def test_processes_of_a_killed_run_end(folder: Path) -> None:
    run, _ = start(folder)
    assert len(marked()) >= 3  # jackd, audio, control
    run.kill()
    run.wait()
    wait_until(lambda: not marked(), told=lambda: f"left: {marked()}")


def test_next_run_ends_orphans_that_hang_and_plays(folder: Path, adopts: None) -> None:
    run, _ = start(folder)
    orphans = []
    for pid in marked():
        with contextlib.suppress(ProcessLookupError):  # a short-lived one
            os.kill(pid, signal.SIGSTOP)  # no signal but SIGKILL ends it now
            orphans.append(pid)
    run.kill()
    run.wait()
    again, log = start(folder, orphans)
    try:
        assert not set(orphans) & set(marked())
        text = log.read_text()
        assert all(f"process {pid} (" in text for pid in orphans)
        assert "already running" not in text
    finally:
        again.terminate()
        again.wait()
    wait_until(lambda: not marked(), told=lambda: f"left: {marked()}")
