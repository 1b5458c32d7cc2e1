"""`nverb board`: own profiles, the check, and calibration in a terminal."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from other_users import can_run_this
from waiting import HANG_S, wait_until

from device import profile
from device.profile import PACKAGED
from firmware_py.base import paths
from firmware_py.base.progress import Report
from firmware_py.cli import main
from firmware_py.install import installer
from firmware_py.install.receive import Offer

COMMAND = [sys.executable, "-m", "firmware_py.cli", "board"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    return tmp_path


def board(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_copy_starts_a_profile_and_rejects_bad_names(data: Path) -> None:
    done = board("copy", "sim", "mine")
    assert done.returncode == 0, done.stderr
    assert "mine" in board("list").stdout
    path = data / "profiles/mine.toml"
    path.write_text(path.read_text().replace('"width"', '"mix"'))
    shown = board("show", "mine").stdout
    assert "mix" in shown and "width" not in shown
    again = board("copy", "sim", "mine")
    assert again.returncode == 1 and "is there already" in again.stderr
    refused = board("copy", "sim", "../mine")
    assert refused.returncode == 1 and "is no name" in refused.stderr
    path.write_text(path.read_text().replace('"mix"', '"mixx"'))
    listed = board("list").stdout
    assert "cannot be used" in listed and "did you mean" in listed


@pytest.mark.skipif(os.geteuid() != 0, reason="changes users")
def test_copied_profile_of_a_member_can_be_replaced_by_a_push(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member of the pedal's group copies a profile; the pedal's user installs over it."""
    assert main(["board", "copy", "sim", "imports"]) == 0  # others may not read this checkout
    member, owner, group = 64003, 64002, 64001
    shared = Path(tempfile.mkdtemp())
    os.chown(shared, owner, group)
    shared.chmod(0o2770)
    packaged = Path(tempfile.mkdtemp())
    packaged.chmod(0o755)
    shutil.copy(PACKAGED / "sim.toml", packaged)
    monkeypatch.setattr(profile, "PACKAGED", packaged)
    monkeypatch.setattr(paths, "SERVICE_DATA", shared)
    content = (PACKAGED / "sim.toml").read_bytes().replace(b'"width"', b'"mix"')

    def copy() -> None:
        assert main(["board", "copy", "sim", "mine"]) == 0

    def push() -> None:
        offer = Offer("mine.toml", "profile", len(content), hashlib.sha256(content).hexdigest(), "")
        installer.install(
            offer, lambda _: iter([content]), data=shared, report=Report(), live=lambda: ""
        )

    if not can_run_this():
        pytest.skip("other users cannot read this checkout or its Python")
    for user, act in ((member, copy), (owner, push)):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.umask(0o022)
                os.environ.pop("NVERB_DATA_DIR")
                os.setgroups([])
                os.setgid(group)
                os.setuid(user)
                act()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0, f"user {user}"
    assert (shared / "profiles/mine.toml").read_bytes() == content
    for folder in (shared, packaged):
        shutil.rmtree(folder)


def test_check_reports_each_cause_once_and_fails(data: Path) -> None:
    done = board("check", "pi-mcp3008", "--hands-off")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert sum("spidev0.0 does not exist" in line for line in lines) == 1
    assert sum("gpiozero finds no lines" in line for line in lines) == 1
    assert lines[-1] == "2 to mend"
    assert board("check", "sim", "--hands-off").returncode == 0


class Terminal:
    def __init__(self, *words: str) -> None:
        self.process, self._file = _spawn(*words)
        self.text = ""

    def until(self, text: str) -> None:
        wait_until(lambda: text in self.text, tend=self._read, told=lambda: self.text)

    def _read(self) -> None:
        if select.select([self._file], [], [], 0)[0]:
            self.text += os.read(self._file, 65536).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    def close(self) -> int:
        status = self.process.wait(HANG_S)
        os.close(self._file)
        return status


def _spawn(*words: str) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    return process, ours


def test_calibrate_saves_the_ends_of_moved_knobs(data: Path) -> None:
    terminal = Terminal("calibrate", "sim")
    terminal.until("to the right")
    terminal.type("qwert" * 48)
    terminal.until("width 100%")
    terminal.type("\n")
    terminal.until("to the left")
    terminal.type("asfg" * 60)  # y, on key d, does not move
    terminal.until("width   0%")
    terminal.type("\n")
    terminal.until("kept")
    assert "does not move" in terminal.text
    assert terminal.close() == 1  # one knob was not calibrated
    kept = json.loads((data / "calibration.json").read_text())["sim"]
    assert set(kept) == {"gain", "x", "z", "width"}
    assert kept["x"] == pytest.approx([0.004, 0.996], abs=0.01)
    assert "calibrated" in board("show", "sim").stdout
    assert board("calibrate", "sim", "--forget").returncode == 0
    assert "calibrated" not in board("show", "sim").stdout


def test_interrupted_calibrate_changes_nothing(data: Path) -> None:
    before = json.dumps({"sim": {"x": [0.1, 0.9]}})
    (data / "calibration.json").write_text(before)
    terminal = Terminal("calibrate", "sim")
    terminal.until("to the right")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.close() == -signal.SIGINT
    assert (data / "calibration.json").read_text() == before
    assert board("calibrate", "sim").stderr.count("\n") == 1  # no terminal: one line says so
