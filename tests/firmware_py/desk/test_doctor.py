"""`nverb doctor`: results with their remedies, and our share of the start time."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_asound import write_cards
from waiting import HANG_S

from device.controls import defaults
from firmware_py.base import boot, crashguard, service
from firmware_py.control.pedal import Pedal
from firmware_py.control.requests import Requests
from firmware_py.control.server import Server
from firmware_py.desk import doctor
from firmware_py.jack import cards, report
from firmware_py.link.client import NoPedal
from firmware_py.link.status import JackStatus
from firmware_py.rooms.source import find_source
from firmware_py.state.card_name import CardName
from firmware_py.state.settings import Settings


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RUNTIME", "DATA"):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(f"NVERB_{name}_DIR", str(tmp_path / name))
    return tmp_path


def nverb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *words],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_is_unmounted_detects_missing_data_partition(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(
        f"# kept\nLABEL=nverb-data {tmp_path} ext4 nofail 0 2\nproc /proc proc defaults 0 0\n"
    )
    assert doctor.is_unmounted(tmp_path, fstab)
    assert not doctor.is_unmounted(Path("/proc"), fstab)  # in fstab and mounted
    assert not doctor.is_unmounted(tmp_path / "elsewhere", fstab)
    assert not doctor.is_unmounted(tmp_path, tmp_path / "missing")


@pytest.mark.parametrize(
    ("available", "swap_free", "state"),
    [(200, 0, "ok"), (10, 90, "ok"), (10, 10, "bad"), (10, 0, "bad")],
)
def test_memory_check_reports_low_memory(
    tmp_path: Path, available: int, swap_free: int, state: str
) -> None:
    kib = {
        "MemTotal": 230,
        "MemFree": 1,
        "MemAvailable": available,
        "SwapTotal": 115,
        "SwapFree": swap_free,
    }
    (tmp_path / "meminfo").write_text(
        "".join(f"{name}: {1024 * mib:8} kB\n" for name, mib in kib.items())
    )
    found = doctor.memory_check(tmp_path / "meminfo")
    assert found.state == state and f"{available} of 230 MiB" in found.found
    assert bool(found.remedy) == (state == "bad")


def test_memory_check_accepts_missing_meminfo(tmp_path: Path) -> None:
    assert doctor.memory_check(tmp_path / "missing").state == "none"
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    assert doctor.memory_check(tmp_path / "meminfo").state == "none"


def test_boot_report_share_runs_from_first_process_to_last_step(folders: Path) -> None:
    for name, times in (
        ("jack", "10.00 10.50"),
        ("audio", "10.10 11.00"),
        ("control", "10.20 11.75"),
    ):
        (folders / "RUNTIME" / f"boot-{name}").write_text(times + "\n")
    report = {result.name: result for result in doctor.boot_report()}
    assert report["our share"].state == "ok" and report["our share"].found.startswith(
        "1.75 s of 11.75 s"
    )
    assert "10.00 s" in report["system"].found
    (folders / "RUNTIME" / "boot-control").write_text("10.20 13.00\n")
    assert doctor.boot_report()[-1].state == "hint"  # above the bar
    done = nverb("doctor", "--boot", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)[-1]["name"] == "our share"


def test_boot_report_without_start_is_bad(folders: Path) -> None:
    (folders / "RUNTIME" / "boot-audio").write_text("garbage")
    done = nverb("doctor", "--boot")
    assert done.returncode == 1 and "has not played" in done.stdout and "nverb run" in done.stdout


def test_boot_note_keeps_first_start(folders: Path) -> None:
    boot.note("audio")
    first = (folders / "RUNTIME" / "boot-audio").read_text()
    boot.note("audio")
    assert (folders / "RUNTIME" / "boot-audio").read_text() == first
    began, done = map(float, first.split())
    assert 0 < began <= done


def test_doctor_does_not_advise_to_reset_settings_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "settings.toml")

    monkeypatch.setattr(doctor.settings_file, "load", fail)
    found = doctor.settings_check()
    assert (found.state, found.found) == ("bad", "settings.toml: Input/output error")
    assert "disk" in found.remedy and "reset" not in found.remedy


def test_doctor_gives_remedy_for_each_fault(folders: Path) -> None:
    (folders / "DATA" / "settings.toml").write_text("version = 9\n")
    crashguard.declare_safe_start("the audio process died 3 times in a row")
    done = nverb("doctor", "--json")
    assert done.returncode == 1
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["settings"]["state"] == "bad" and "settings reset" in found["settings"]["remedy"]
    assert found["start"]["state"] == "bad" and "died 3 times" in found["start"]["found"]
    assert all(
        row["remedy"] or "start it" in row["found"]
        for row in found.values()
        if row["state"] in ("bad", "hint")
    )


@pytest.fixture
def pi_cards(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Raspberry Pi with a USB interface, and no PipeWire."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folders))
    asound = write_cards(folders / "asound", "0:vc4hdmi0:play", "1:USB:both")
    monkeypatch.setattr(cards, "ASOUND", asound)
    return asound


def test_card_check_looks_at_the_card_of_the_settings(
    folders: Path, pi_cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.card_check().found == "hw:USB, not in use now"
    (folders / "DATA" / "settings.toml").write_text('version = 1\ncard = "hw:MODDUO"\n')
    row = doctor.card_check()
    assert row.state == "bad" and "no sound card hw:MODDUO; here: hw:vc4hdmi0" in row.found
    (folders / "DATA" / "settings.toml").write_text('version = 1\ncard = "hw:0"\n')
    row = doctor.card_check()
    assert row.state == "bad" and "hw:0 cannot record: hw:vc4hdmi0" in row.found
    write_cards(pi_cards)
    for file, remedy in ((None, "connect one"), ("/boot/config.txt", "in /boot/config.txt")):
        monkeypatch.setattr(doctor, "boot_file", lambda file=file: file)
        row = doctor.card_check()
        assert row.state == "bad" and row.remedy.endswith(remedy)


def test_card_check_names_process_that_has_the_card(folders: Path, pi_cards: Path) -> None:
    status = pi_cards / "card1" / "pcm0c" / "sub0" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(f"state: RUNNING\nowner_pid   : {os.getpid()}\n")
    row = doctor.card_check()
    assert row.state == "hint" and f"(process {os.getpid()}" in row.found and row.remedy


def test_card_check_looks_at_what_runs(folders: Path, pi_cards: Path) -> None:
    choice = cards.choose(Settings())
    plays = {"block_frames": 128, "rate_hz": 44100, "periods": 2}
    report.write(report.new("jackd", choice=choice, **plays))
    assert doctor.card_check() == doctor.Result(
        "sound card", "ok", "hw:USB, 128 frames x 2 at 44100 Hz"
    )
    report.write(report.new("jackd", choice=choice, changed="not 48000 Hz, it refused", **plays))
    row = doctor.card_check()
    assert row.state == "hint" and "not 48000 Hz" in row.found and "rate_hz=44100" in row.remedy
    two = cards.Choice(CardName("Device"), CardName("HAT"))
    report.write(report.new("jackd", choice=two, **plays))
    row = doctor.card_check()
    assert row.state == "hint" and "two clocks" in row.found
    devices = cards.Choice(CardName("USB"), CardName("USB", 1))  # of one card
    report.write(report.new("jackd", choice=devices, **plays))
    assert doctor.card_check().state == "ok"
    report.write(report.new("PipeWire", choice=two))  # it converts between them
    assert doctor.card_check().state == "ok"
    report.write(report.new("PipeWire", changed="hw:USB does not play in PipeWire"))
    row = doctor.card_check()
    assert row.state == "hint" and "hw:USB does not play" in row.found and "profile" in row.remedy
    report.write(report.new("jackd", trouble="waiting for a sound card: none"))
    assert doctor.card_check().state == "bad"
    report.write(report.new("PipeWire") | {"pid": 1})  # another user's
    assert report.read(folders / "RUNTIME") is not None
    report.write(report.new("PipeWire") | {"pid": 2**22 + 1})  # of a process that is gone
    assert doctor.card_check().found == "hw:USB, not in use now"


DUMMY = report.new("jackd")


@pytest.mark.parametrize(
    ("block", "late", "jack", "advice"),
    [
        (64, (0, 5), None, "=128"),
        (256, (0, 5), None, "=512"),
        (1024, (0, 5), None, "max_ir_s"),
        (64, (5, 5), None, ""),  # long ago
        (64, (0, 5), DUMMY, ""),
        (64, (0, 5), DUMMY | {"playback": "hw:USB"}, "=128"),
    ],
)
def test_late_blocks_of_a_card_lead_to_larger_blocks_while_they_come(
    monkeypatch: pytest.MonkeyPatch,
    block: int,
    late: tuple[int, int],
    jack: JackStatus | None,
    advice: str,
) -> None:
    answers = iter(
        {
            "status": {
                "audio": {
                    "alive": True,
                    "blocks": blocks,
                    "late_blocks": count,
                    "load": 0.5,
                    "block_frames": block,
                },
                "room": {"fault": ""},
                "jack": jack,
            }
        }
        for blocks, count in zip((1000, 2000), late, strict=True)
    )
    monkeypatch.setattr("firmware_py.link.client.ask", lambda _: next(answers))
    monkeypatch.setattr(doctor, "WATCHED_S", 0.0)
    row = doctor.pedal_check()
    assert row.state == ("hint" if advice else "ok") and advice in row.remedy
    assert row.remedy or not advice


def test_doctor_waits_for_a_service_that_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after an installation nobody answers for a second; where none starts, it says so."""
    audio = {"alive": True, "blocks": 1, "late_blocks": 0, "load": 0.1, "block_frames": 64}
    running = {"status": {"audio": audio, "room": {"fault": ""}, "jack": None}}
    answers: list[dict[str, object]] = [{}, {}, running, running]

    def ask(_: object) -> dict[str, object]:
        if answer := answers.pop(0):
            return answer
        raise NoPedal("no pedal runs here")

    monkeypatch.setattr("firmware_py.link.client.ask", ask)
    monkeypatch.setattr("firmware_py.base.service.is_active", lambda: True)
    monkeypatch.setattr("firmware_py.link.client.POLL_S", 0.0)
    monkeypatch.setattr(doctor, "WATCHED_S", 0.0)
    assert doctor.pedal_check().state == "ok" and not answers
    answers.append({})
    monkeypatch.setattr("firmware_py.base.service.is_active", lambda: False)
    assert "no pedal runs here" in doctor.pedal_check().found


@pytest.mark.parametrize(
    ("said", "active"), [("active", 1), ("activating", 1), ("inactive", 0), ("failed", 0)]
)
def test_a_service_that_starts_is_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, active: bool
) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {said}; exit 3\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(service, "is_used", lambda: True)
    assert service.is_active() == active
    assert ("is starting" in service.why_it_is_missing()) == active


def test_state_check_reports_read_only_folder(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "read-only" in doctor.state_check().found


@pytest.mark.parametrize(
    ("module", "check", "setting"),
    [("pythonosc", doctor.osc_check, 'osc = "9000"')],
)
def test_missing_package_gives_existing_install_command(
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    check: Callable[[], doctor.Result],
    setting: str,
) -> None:
    (folders / "DATA" / "settings.toml").write_text(f"version = 1\n{setting}\n")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else found(name)
    )
    row = check()
    assert row.state == "hint" and "not installed" in row.found
    words = [word for word in shlex.split(row.remedy) if word != "sudo"]
    assert shutil.which(words[0]) and words[1] == "install", row.remedy


def test_osc_check_reports_failed_start(folders: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        pedal = Pedal(defaults(), find_source(), "")
        pedal.open_inputs("off", f"127.0.0.1:{taken.getsockname()[1]}")
        server, done = Server(Requests(pedal).answer), threading.Event()
        thread = threading.Thread(
            target=lambda: [server.serve(0.02) for _ in iter(done.is_set, True)]
        )
        thread.start()
        try:
            row = doctor.osc_check()
        finally:
            done.set()
            thread.join()
            server.close()
            pedal.close_inputs()
    assert (
        row.state == "hint"
        and "cannot start" in row.found
        and "Address already in use" in row.found
    )
