"""power: cut the power at a random moment during a write, and boot again.

The emulator is killed (kill -9); what the guest's kernel has not sent to the disk is lost, as on a
board. Then the board boots from that disk and must play with the old or the new state, complete. No
sector of the system partition may have been written; at the end its bytes must equal the image.

Until the data partition is mounted all boots are the same, because they read only what is never
written. So one boot in POWER_ON_EVERY starts at power-on; the others start from the state just
before that mount (see `_before_data`).
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import cache
import guest as guests
import images
import wheels
from debian import Platform
from guest import Guest, GuestError
from push import nverb
from report import Report

X86 = Platform("amd64", "bookworm")
LONGEST_S = 3.0
"""A cut is at most this long after the start of the write."""
POWER_ON_EVERY = 10

# Each runs for longer than LONGEST_S.
WRITING = {
    "push": "while :; do nverb install /run/b.nvbank; nverb install /run/a.nvbank; done",
    "preset": (
        "n=0; while :; do n=$((n + 1)); nverb set x=$((n % 9)); "
        "nverb preset save p$n; nverb preset save again; done"
    ),
    "settings": "n=0; while :; do n=$((n + 1)); nverb settings set periods=$((3 + n % 2)); done",
    # The last step of `nverb board calibrate`, which itself needs a hand at the pots.
    "calibration": "/opt/nverb/current/bin/python /run/calibrate.py",
}
CALIBRATE = """
from firmware_py.base.ownership import become_owner_of_data
from firmware_py.commands.board import _keep
become_owner_of_data()
number = 0
while True:
    number += 1
    _keep({"emulated": {"x": [number % 50 / 1000, 1 - number % 50 / 1000]}})
"""
# Wait until the pedal plays, then read its state with its own commands.
CHECK = """
import contextlib, io, json, sys, time
from firmware_py.cli import main
def up_s(): return float(open("/proc/uptime").read().split()[0])
begin_s = float(sys.argv[1])
def ask(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    failed = " ".join(words) + ": " + err.getvalue().strip()[-200:]
    return ("", failed) if status else (out.getvalue(), "")
while True:
    answer, fault = ask("status", "--json")
    found = json.loads(answer or "{}")
    took_s = up_s() - begin_s
    alive = bool((found.get("audio") or {}).get("alive"))
    if alive or took_s > 60: break
    time.sleep(0.1)
presets, no_presets = ask("preset", "list")
room, board = found.get("room") or {}, found.get("board") or {}
faults = [fault, no_presets, room.get("fault"), *board.get("faults", ())]
print(json.dumps({"took_s": took_s, "faults": [str(f) for f in faults if f],
    "bank": room.get("path", "").partition("@")[0],
    "again": "again" in presets, "profile": board.get("profile"), "alive": alive}))
"""
PYTHON = "/opt/nverb/current/bin/python"
# Stop the pedal, remove its files in memory, unmount the data partition and drop the kernel's cache
# of it.
STOP = """
systemctl stop nverb.target nverb-jack nverb-audio nverb-control
systemctl stop var-lib-nverb.mount 'systemd-fsck@*'
find /run/nverb /dev/shm -mindepth 1 -delete
blockdev --flushbufs /dev/vda2
"""
GO_ON = f"""
begin=$(cut -d' ' -f1 /proc/uptime)
systemctl start var-lib-nverb.mount && systemctl start --no-block nverb.target &&
{PYTHON} /run/check.py $begin
"""


def _hands() -> Path:
    """A tar file with the banks to install and the scripts that run on the board."""

    def make(target: Path) -> None:
        for name, grid in (("a", "4"), ("b", "5")):
            nverb(
                "bank", "build", "-o", str(target / f"{name}.nvbank"), "--grid", grid, data=target
            )
        (target / "calibrate.py").write_text(CALIBRATE)
        (target / "check.py").write_text(CHECK)
        words = [
            "tar",
            "-C",
            target,
            "-cf",
            target / "hands.tar",
            "a.nvbank",
            "b.nvbank",
            "calibrate.py",
            "check.py",
        ]
        cache.run(words, what="tar")

    return cache.made("hands", [wheels.source_digest(), CALIBRATE, CHECK], make) / "hands.tar"


def _take_hands(guest: Guest) -> None:
    """Unpack the tar file in the guest's memory."""
    guest.run("tar -C /run -x", stdin=_hands().read_bytes())


def _before_data() -> tuple[Path, Path]:
    """A disk with bank `a` and a preset, and the memory of a board that uses it.

    The board is up, but the data partition is not mounted and the pedal does not run.
    """
    image, hands = images.disk(X86), _hands()

    def make(target: Path) -> None:
        disk = guests.overlay(target / "disk.qcow2", image)
        with Guest(X86, name="power", disk=disk) as guest:
            guest.boot()
            _take_hands(guest)
            guest.wait_for_sound()
            guest.run(f"nverb install /run/a.nvbank && nverb preset save again && sync\n{STOP}")
            guest.save_memory(target / "memory")

    parts = [image.parent.name, hands.parent.name, STOP, guests.ICOUNT_SHIFT]
    folder = cache.made("before-data", parts, make)
    return folder / "disk.qcow2", folder / "memory"


def check(cuts: int, seed: int, report: Report) -> None:
    """Cut the power of one board `cuts` times, at moments drawn from `seed`, with the same disk."""
    chance = random.Random(seed)
    image = images.disk(X86)
    first, memory = _before_data()
    with Guest(X86, name="power") as guest:
        guest.disk = guests.copy(first, guest.folder / "disk.qcow2")
        _boot(guest, memory)
        for number in range(cuts):
            kind = list(WRITING)[(seed + number) % len(WRITING)]
            after_s = chance.uniform(0.1, LONGEST_S)
            from_power_on = number % POWER_ON_EVERY == POWER_ON_EVERY // 2
            begun = time.monotonic()
            try:
                _cut(guest, kind, after_s)
                written = _written_to_system(guest.disk)
                found = _boot(guest, None if from_power_on else memory)
                good = (
                    found["alive"]
                    and found["again"]
                    and found["profile"] == "emulated"
                    and found["bank"] in ("a", "b")
                )
                good = good and not found["faults"] and not written
                begin = "power-on" if from_power_on else "mount"
                figure = f"plays {found['bank']} {found['took_s']:.1f} s after {begin}"
                figure = figure if good else f"{found}, {written} B in /"
            except GuestError as error:
                good, figure = False, str(error)[:200]
                guest.cut_power()
            report.add(
                "power",
                "amd64",
                f"cut {after_s:.2f} s into writing: {kind}",
                figure,
                "old or new, plays",
                ok=good,
            )
            cache.say(f"power cut {number + 1} of {cuts}: {time.monotonic() - begun:.0f} s")
            if not good:  # the next cut starts with a valid disk
                guest.cut_power()
                guest.disk.unlink()
                guests.copy(first, guest.disk)
                _boot(guest, memory)
        guest.cut_power()
        image_hash = _system_hash(image, "raw")
        same = _system_hash(guest.disk, "qcow2") == image_hash
        result = "the same" if same else "different"
        figure = f"SHA-256 {image_hash[:12]}, {result} after {cuts} cuts"
        report.add("power", "amd64", "bytes of the system partition", figure, "the same", ok=same)


def _boot(guest: Guest, memory: Path | None) -> dict[str, Any]:
    """Boot, from power-on or from `memory`; wait for sound and return the output of CHECK."""
    if memory is None:
        guest.boot()
        _take_hands(guest)
        answer = guest.run(f"{PYTHON} /run/check.py 0")
    else:
        guest.start(memory=memory)
        guest.wait_for_ssh()
        answer = guest.run(GO_ON)
    found: dict[str, Any] = json.loads(answer)
    return found


def _cut(guest: Guest, kind: str, after_s: float) -> None:
    writing = subprocess.Popen(
        [*guest.ssh_words(), f"echo writes; {WRITING[kind]} >/dev/null"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert writing.stdout is not None
    writing.stdout.readline()
    # The guest sleeps, so that its clock counts; the reply adds some milliseconds.
    guest.run(f"sleep {after_s:.3f}")
    if writing.poll() is not None:
        raise GuestError(f"writing ended by itself: {kind}")
    guest.cut_power()
    writing.kill()
    writing.wait()


def check_lost(report: Report) -> None:
    """The worst case of a cut: fsck cannot repair the data partition. Built-in rooms must play."""
    with Guest(X86, name="power") as guest:
        guest.boot()
        guest.wait_for_sound()
        guest.run("dd if=/dev/urandom of=/dev/vda2 bs=1M oflag=direct 2>/dev/null; true")
        guest.cut_power()
        guest.boot()
        up_s = guest.wait_for_sound()
        output = guest.run("nverb doctor", check=False)
        good = "not mounted" in output and not guest.status()["room"]["fault"]
        report.add(
            "power",
            "amd64",
            "data partition full of noise",
            f"plays {up_s:.0f} s after power-on",
            "plays",
            ok=good,
        )
        guest.run("nverb preset save again")
        report.add(
            "power",
            "amd64",
            "nverb doctor",
            "reported" if good else output[-150:],
            "reported",
            ok=good,
        )


def _written_to_system(disk: Path) -> int:
    """Bytes of the system partition that this overlay contains: those that were written."""
    size = images.system_bytes()
    rows = json.loads(
        cache.run(["qemu-img", "map", "--output=json", str(disk)], what="qemu-img map")
    )
    return sum(
        row["length"] for row in rows if row["depth"] == 0 and row["data"] and row["start"] < size
    )


def _system_hash(disk: Path, form: str) -> str:
    """SHA-256 of the system partition and all before it."""
    state = hashlib.sha256()
    left = images.system_bytes()
    with tempfile.TemporaryDirectory(prefix="nverb-", dir="/var/tmp") as scratch:
        raw = Path(scratch) / "raw"
        words = [
            "qemu-img",
            "dd",
            "-f",
            form,
            "-O",
            "raw",
            "bs=1M",
            f"count={left >> 20}",
            f"if={disk}",
            f"of={raw}",
        ]
        cache.run(words, what="qemu-img dd")
        with open(raw, "rb") as file:
            while left and (piece := file.read(min(left, 1 << 20))):
                state.update(piece)
                left -= len(piece)
    return state.hexdigest()
