"""Pulling recordings over a real OpenSSH server from a board with folders of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sshd_board import NVERB, SshdBoard, board
from waiting import HANG_S

from bank.format import Waveform, write
from dsp.errors import UserError
from firmware_py.install import pull
from firmware_py.install.inventory import Ssh, boards

RATE_HZ = 44100
NAME = "Hall's $(stairs); 2"
SAMPLES = np.random.default_rng(1).standard_normal((2, 5000)).astype(np.float32)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshdBoard]:
    """A board whose bank `measured` has a recording NAME."""
    folder = tmp_path_factory.mktemp("pull")
    file = folder / "measured.nvbank"
    write(file, name="measured", waveforms=[Waveform(NAME, RATE_HZ, (0.0, 0.0, 0.0), SAMPLES)])
    with board(folder / "board") as at:
        done = at.ssh(f"{NVERB} install --name measured.nvbank -", file.read_bytes())
        assert done.returncode == 0, done.stderr
        yield at


def pulled(at: SshdBoard, *words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """`nverb pull` in a folder of its own; later options override those of the board."""
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "pull", *at.options, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
        cwd=folder,
    )


def test_recording_is_pulled_to_the_sample(desk: SshdBoard, tmp_path: Path) -> None:
    """Under its own name, whatever a shell would make of it, and not over a file that exists."""
    words = ("localhost", "recording", NAME)
    done = pulled(desk, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.wav"]
    found, rate_hz = soundfile.read(tmp_path / f"{NAME}.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    assert np.array_equal(found.T, SAMPLES)
    again = pulled(desk, *words, folder=tmp_path)
    assert again.returncode == 1 and "--force" in again.stderr
    (tmp_path / "x.wav").write_bytes(b"old")
    forced = pulled(desk, *words, "-o", tmp_path / "x.wav", "--force", folder=tmp_path)
    assert forced.returncode == 0, forced.stderr
    assert np.array_equal(soundfile.read(tmp_path / "x.wav", dtype="float32")[0].T, SAMPLES)


WRONG = {
    "no such recording": (("localhost", "recording", "Hal"), NVERB, "no recording"),
    "no such bank": (("localhost", "recording", NAME, "--bank", "nope"), NVERB, "nope"),
    "no nverb": (("localhost", "recording", NAME), "/nowhere/nverb", "--command"),
    "no WAV": (("localhost", "recording", NAME), "echo", "WAV"),
    "cut off": (("localhost", "recording", NAME), f'{NVERB} "$@" | head -c 999', "WAV"),
}
"""Words, the board's command and a part of the message."""


@pytest.mark.parametrize("what", WRONG)
def test_failed_pull_writes_no_file(what: str, desk: SshdBoard, tmp_path: Path) -> None:
    words, command, message = WRONG[what]
    if what == "cut off":
        script = desk.folder / "cut"
        script.write_text(f"#!/bin/sh\n{command}\n")
        script.chmod(0o755)
        command = str(script)
    (tmp_path / "x.wav").write_bytes(b"old")
    done = pulled(desk, *words, "--command", command, "-o", "x.wav", "--force", folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == b"old"


def test_endless_answer_is_cut(
    desk: SshdBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "MAX_BYTES", 1 << 20)
    given = Ssh(desk.port, None, str(desk.client_config), (), "cat /dev/zero #")
    target = boards("localhost", None, given)[0]
    with pytest.raises(UserError, match="more than 1 MB"):
        pull.pull_recording(target, "measured", NAME, tmp_path / "x.wav")
    assert not list(tmp_path.iterdir())
