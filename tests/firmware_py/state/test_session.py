"""The session: what a restarted control process continues with, whatever is in its file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import HANG_S, wait_until

from device.controls import defaults
from dsp.errors import UserError
from firmware_py.link.client import ask
from firmware_py.state.session import Session, load_session, save_session


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    runtime = Path(f"/dev/shm/nverb-session-{os.getpid()}")
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(runtime))
    yield runtime / "session.json"
    shutil.rmtree(runtime)


def test_session_continues_with_the_bank_of_its_generation(path: Path) -> None:
    session = Session(defaults() | {"x": 1 / 3}, defaults(), "halls@1234", 7, "Hall")
    save_session(session)
    assert load_session(7) == session
    assert load_session(8).bank is None
    assert not load_session(7).is_start
    save_session(session._replace(ended=True))
    assert load_session(7).ended and load_session(7).is_start


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[" * 60_000, b'{"values": 3}', b'{"values": {"x": 1%s}}' % (b"0" * 400)],
)
def test_damaged_session_is_none_and_is_replaced(
    path: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    save_session(Session(defaults(), defaults()))
    path.write_bytes(damage)
    assert load_session(None) == Session(defaults(), defaults(), resumed=False)
    assert capsys.readouterr().err.count("\n") == 1
    save_session(Session(defaults(), defaults(), preset="a"))
    assert load_session(None).preset == "a"


def test_unreadable_session_is_none_and_left_alone(path: Path) -> None:
    save_session(Session(defaults(), defaults()))
    path.unlink()
    os.mkfifo(path)
    assert not load_session(None).resumed
    with pytest.raises(OSError, match=r"session\.json"):
        save_session(Session(defaults(), defaults()))
    assert path.is_fifo()
    path.unlink()
    save_session(Session(defaults(), defaults()))
    assert load_session(None).resumed


def test_missing_session_is_power_on_without_a_word(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not load_session(None).resumed
    assert not capsys.readouterr().err


def test_bypass_survives_a_crash_and_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control process, ended by SIGKILL and by SIGTERM."""
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    with tempfile.TemporaryDirectory(prefix="nverb-session-", dir="/dev/shm") as runtime:
        monkeypatch.setenv("NVERB_RUNTIME_DIR", runtime)

        def values() -> dict[str, float] | None:
            with contextlib.suppress(UserError):
                return ask({"do": "get"}, timeout_s=HANG_S)["values"]
            return None

        kept = []
        for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGTERM):
            command = [sys.executable, "-m", "firmware_py.cli", "control", "--profile", "none"]
            control = subprocess.Popen([*command, "--midi", "off", "--osc", "off"])
            try:
                now = wait_until(values)
                kept.append((now["bypass"], now["mix"]))
                if not now["bypass"]:
                    ask({"do": "set", "values": {"bypass": 1, "mix": 70}}, timeout_s=HANG_S)
                    wait_until(lambda: load_session(None).values["bypass"])
            finally:
                control.send_signal(end)
                control.wait(HANG_S)
        assert load_session(None).ended
    assert kept == [(0, 35), (1, 70), (0, 70)]
