"""A control process starts and answers whatever is in the place of its files."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import HANG_S, wait_until

from dsp.errors import UserError
from firmware_py.link import client

FILES = (
    "presets.json",
    "presets.previous.json",
    "midi.json",
    "settings.toml",
    "calibration.json",
    "profiles/sim.toml",
    "store/current",
    f"store/slots/x.{'a' * 64}.nvbank",
    "store/generations/000001",
)


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def deep(path: Path) -> None:
    path.write_text("[" * 50_000 if path.suffix != ".toml" else "a = " + "[" * 3000)


def numbers(path: Path) -> None:
    number = "1" + "0" * 400
    if path.suffix == ".toml":
        path.write_text(f"version = 1\nscan_hz = {number}\nmax_ir_s = {number}\n")
    else:
        path.write_text(f'{{"version": {number}, "channel": {number}, "sim": {{"x": [{number}]}}}}')


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    runtime = Path(f"/dev/shm/nverb-bad-{os.getpid()}")
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(runtime))
    yield tmp_path
    shutil.rmtree(runtime)


@contextlib.contextmanager
def started(log: Path) -> Iterator[Callable[[dict[str, object]], dict[str, object]]]:
    """A control process that answers; yields the function that asks it. It must end well, and say
    each thing once."""
    command = [sys.executable, "-m", "firmware_py.cli", "control", "--midi", "jack"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=file)

    def ask(request: dict[str, object]) -> dict[str, object] | None:
        assert process.poll() is None, log.read_text()
        try:
            return client.ask(request, timeout_s=HANG_S)
        except UserError:  # its socket is not there yet
            return None

    try:
        wait_until(lambda: ask({"do": "get"}), told=log.read_text)
        yield lambda request: client.ask(request, timeout_s=HANG_S)
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(HANG_S) == 0
    said = log.read_text()
    assert "Traceback" not in said
    assert len(said.splitlines()) < 20


def plays_without_presets(ask: Callable[[dict[str, object]], dict[str, object]]) -> None:
    status = ask({"do": "status"})["status"]
    assert isinstance(status, dict) and status["room"]["bank"]
    assert ask({"do": "set", "values": {"mix": 12}})
    with pytest.raises(UserError):
        ask({"do": "preset", "step": 1})


@pytest.mark.parametrize("harm", [os.mkfifo, folder, loop, endless, deep, numbers])
def test_control_process_starts_with_every_file_of_its_folders_bad(
    folders: Path, tmp_path_factory: pytest.TempPathFactory, harm: Callable[[Path], None]
) -> None:
    for name in FILES:
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        harm(folders / name)
    runtime = Path(os.environ["NVERB_RUNTIME_DIR"])
    for name in ("session.json", "control.deaths", "safe"):
        harm(runtime / name)
    log = tmp_path_factory.mktemp("log") / "log"
    with started(log) as ask:
        plays_without_presets(ask)
    assert "sim.toml" in log.read_text()  # the profile: reported, and the pedal plays without knobs


@pytest.mark.parametrize("harm", [os.mkfifo, loop, Path.touch])
def test_control_process_plays_without_its_data_folder_until_it_is_back(
    folders: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Path], None],
) -> None:
    """As on a disk that failed: the folder cannot be read."""
    data = folders / "data"
    monkeypatch.setenv("NVERB_DATA_DIR", str(data))
    harm(data)
    log = tmp_path_factory.mktemp("log") / "log"
    with started(log) as ask:
        plays_without_presets(ask)
        with pytest.raises(UserError):
            ask({"do": "midi", "assign": "mix", "source": "cc 20"})
        wait_until(lambda: f"settings in {data}; check the disk" in log.read_text())
        data.unlink()
        data.mkdir()
        wait_until(lambda: "data folder: works again" in log.read_text())
        assert ask({"do": "midi", "assign": "mix", "source": "cc 20"})
        assert (data / "midi.json").is_file()
