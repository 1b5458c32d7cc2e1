"""`nverb run`, up to the start of its processes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from firmware_py.cli import main
from firmware_py.desk import supervisor


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_settings_and_profiles_that_cannot_be_read_stop_no_run(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worn card: the pedal plays, and says what is wrong."""
    data, runtime = tmp_path / "data", tmp_path / "runtime"
    (data / "profiles").mkdir(parents=True)
    runtime.mkdir(mode=0o700)
    (data / "settings.toml").write_text("version = 1\nblock_frames = 64\n")
    monkeypatch.setenv("NVERB_DATA_DIR", str(data))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(runtime))
    started: list[list[str]] = []

    class NoProcesses:
        def __init__(self, children: list[supervisor.Child], *_: object) -> None:
            started.extend(child.command for child in children)

        def run(self) -> None: ...

    monkeypatch.setattr(supervisor, "Supervisor", NoProcesses)
    real_open, real_listdir = os.open, os.listdir

    def refuse(path: object) -> None:
        if str(path).startswith(str(data)):
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", lambda path, *a, **k: refuse(path) or real_open(path, *a, **k))
    monkeypatch.setattr(os, "listdir", lambda path=".": refuse(path) or real_listdir(path))
    assert main(["run", "--dummy"]) == 0
    assert any("control" in command for command in started)
    assert "playing with the default settings" in capsys.readouterr().err
