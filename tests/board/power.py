"""power: the plug is pulled at a random moment while something is written, and put back in.

The emulator is killed (kill -9) with its disk cache on writeback: what the guest's kernel had not yet sent to the disk is lost, as
on a board. Then the board boots from that disk, and must play with the old state or the new one, whole. No sector of the system
partition may have been written, and at the end its bytes are those of the image.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

import cache
import images
import wheels
from debian import Platform
from guest import Guest, GuestError
from push import nverb
from report import Report

X86 = Platform("amd64", "bookworm")
LONGEST_S = 5.0
"""Moments are drawn from the first so many seconds of what is written."""

# Each lasts for longer than LONGEST_S.
WRITING = {
    "push": "while :; do nverb install /run/b.nvbank; nverb install /run/a.nvbank; done",
    "preset": "n=0; while :; do n=$((n + 1)); nverb set x=$((n % 9)); nverb preset save p$n; nverb preset save again; done",
    "settings": "n=0; while :; do n=$((n + 1)); nverb settings set periods=$((3 + n % 2)); done",
    # What `nverb board calibrate` ends with, over and over: it wants a hand at the pots for each of its own runs.
    "calibration": "/opt/nverb/current/bin/python /run/calibrate.py",
}
CALIBRATE = """
from firmware_py.commands.board import _keep
number = 0
while True:
    number += 1
    _keep({"emulated": {"x": [number % 50 / 1000, 1 - number % 50 / 1000]}})
"""
# Waits until it plays, and asks the pedal itself, by its commands.
CHECK = """
import json, subprocess, sys, time
def ask(*words):
    done = subprocess.run(("nverb", *words), capture_output=True, text=True)
    return (done.stdout, "") if done.returncode == 0 else ("", " ".join(words) + ": " + done.stderr.strip()[-200:])
while True:
    answer, fault = ask("status", "--json")
    found = json.loads(answer or "{}")
    up_s = float(open("/proc/uptime").read().split()[0])
    alive = bool((found.get("audio") or {}).get("alive"))
    if alive or up_s > 90: break
    time.sleep(0.2)
presets, no_presets = ask("preset", "list")
room, board = found.get("room") or {}, found.get("board") or {}
faults = [fault, no_presets, room.get("fault"), *board.get("faults", ())]
print(json.dumps({"up_s": up_s, "faults": [str(f) for f in faults if f], "bank": room.get("path", "").partition("@")[0],
    "again": "again" in presets, "profile": board.get("profile"), "alive": alive}))
"""


def _hands() -> Path:
    """A tar file: what is written to the board, and what asks it afterwards."""

    def make(target: Path) -> None:
        for name, grid in (("a", "4"), ("b", "5")):
            nverb("bank", "build", "-o", str(target / f"{name}.nvbank"), "--grid", grid, data=target)
        (target / "calibrate.py").write_text(CALIBRATE)
        (target / "check.py").write_text(CHECK)
        words = ["tar", "-C", target, "-cf", target / "hands.tar", "a.nvbank", "b.nvbank", "calibrate.py", "check.py"]
        cache.run(words, what="tar")

    return cache.made("hands", [wheels.source_digest(), Path(__file__)], make) / "hands.tar"


def check(cuts: int, seed: int, report: Report) -> None:
    """`cuts` power cuts of one board, their moments drawn from `seed`: each boot goes on with what the cut before it left."""
    chance = random.Random(seed)
    image, hands = images.disk(X86), _hands().read_bytes()
    with Guest(X86, name="power") as guest:

        def on() -> None:
            guest.boot(timeout_s=1800)
            # In memory, as a pushed file is.
            guest.run("tar -C /run -x", stdin=hands)

        on()
        guest.wait_for_sound()
        guest.run("nverb install /run/a.nvbank && nverb preset save again && sync")
        for number in range(cuts):
            kind = list(WRITING)[(seed + number) % len(WRITING)]
            after_s = chance.uniform(0.1, LONGEST_S)
            begun = time.monotonic()
            _cut(guest, kind, after_s)
            written = _written_to_system(guest.disk)
            on()
            found = json.loads(guest.run("python3 /run/check.py"))
            whole = found["alive"] and found["again"] and found["profile"] == "emulated" and found["bank"] in ("a", "b")
            good = whole and not found["faults"] and not written
            figure = (
                f"plays {found['bank']} {found['up_s']:.0f} s after power-on" if good else f"{found}, {written} B in /"
            )
            report.add(
                "power", "amd64", f"cut {after_s:.2f} s into writing: {kind}", figure, "old or new, plays", ok=good
            )
            cache.say(f"power cut {number + 1} of {cuts}: {time.monotonic() - begun:.0f} s")
        guest.cut_power()
        image_hash = _system_hash(image, "raw")
        same = _system_hash(guest.disk, "qcow2") == image_hash
        figure = f"SHA-256 {image_hash[:12]}, {'the same' if same else 'another'} after {cuts} cuts"
        report.add("power", "amd64", "bytes of the system partition", figure, "the same", ok=same)


def _cut(guest: Guest, kind: str, after_s: float) -> None:
    writing = subprocess.Popen(
        [*guest.ssh_words(), f"echo writes; {WRITING[kind]} >/dev/null"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert writing.stdout is not None
    writing.stdout.readline()
    # The sleep is the guest's; the answer's way back adds some more milliseconds of it.
    guest.run(f"sleep {after_s:.3f}")
    if writing.poll() is not None:
        raise GuestError(f"writing ended by itself: {kind}")
    guest.cut_power()
    writing.kill()
    writing.wait()


def check_lost(report: Report) -> None:
    """The worst that a cut can do: a card whose data partition no fsck mends. The rooms that come with the pedal play."""
    with Guest(X86, name="power") as guest:
        guest.boot(timeout_s=1800)
        guest.wait_for_sound()
        guest.run("dd if=/dev/urandom of=/dev/vda2 bs=1M oflag=direct 2>/dev/null; true")
        guest.cut_power()
        guest.boot(timeout_s=1800)
        up_s = guest.wait_for_sound()
        told = guest.run("nverb doctor", check=False)
        good = "not mounted" in told and not guest.status()["room"]["fault"]
        report.add(
            "power", "amd64", "data partition full of noise", f"plays {up_s:.0f} s after power-on", "plays", ok=good
        )
        guest.run("nverb preset save again")
        report.add("power", "amd64", "nverb doctor", "tells so" if good else told[-150:], "tells so", ok=good)


def _written_to_system(disk: Path) -> int:
    """Bytes of the system partition that this disk holds itself, over the image that it began as."""
    size = images.system_bytes()
    rows = json.loads(cache.run(["qemu-img", "map", "--output=json", str(disk)], what="qemu-img map"))
    return sum(row["length"] for row in rows if row["depth"] == 0 and row["data"] and row["start"] < size)


def _system_hash(disk: Path, form: str) -> str:
    """SHA-256 of the system partition, and what lies before it."""
    state = hashlib.sha256()
    left = images.system_bytes()
    with tempfile.TemporaryDirectory(prefix="nverb-", dir="/var/tmp") as scratch:
        raw = Path(scratch) / "raw"
        words = ["qemu-img", "dd", "-f", form, "-O", "raw", "bs=1M", f"count={left >> 20}", f"if={disk}", f"of={raw}"]
        cache.run(words, what="qemu-img dd")
        with open(raw, "rb") as file:
            while left and (piece := file.read(min(left, 1 << 20))):
                state.update(piece)
                left -= len(piece)
    return state.hexdigest()
