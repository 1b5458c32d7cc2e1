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
import guest as guests
import images
from debian import Platform
from guest import Guest, GuestError
from push import nverb
from report import Report

X86 = Platform("amd64", "bookworm")
LONGEST_S = 5.0
"""Moments are drawn from the first so many seconds of what is written, by the guest's clock."""

# Each lasts for longer than LONGEST_S.
WRITING = {
    "push": "while :; do nverb install /run/b.nvbank; nverb install /run/a.nvbank; done",
    "preset": "n=0; while :; do n=$((n + 1)); nverb set x=$((n % 9)); nverb preset save p$n; nverb preset save again; done",
    "settings": "n=0; while :; do n=$((n + 1)); nverb settings set periods=$((3 + n % 2)); done",
    # What `nverb board calibrate` ends with, over and over: it wants a hand at the pots for each of its own runs.
    "calibration": "NVERB_DATA_DIR=/var/lib/nverb /opt/nverb/current/bin/python /run/calibrate.py",
}
CALIBRATE = """
from firmware_py.commands.board import _keep
number = 0
while True:
    number += 1
    _keep({"emulated": {"x": [number % 50 / 1000, 1 - number % 50 / 1000]}})
"""
CHECK = """
import json, subprocess
def ask(*words):
    done = subprocess.run(("nverb", *words), capture_output=True, text=True)
    if done.returncode: faults.append(" ".join(words) + ": " + done.stderr.strip()[-200:])
    return done.stdout
faults = []
presets = ask("preset", "list")
settings = ask("settings", "show")
found = json.loads(ask("status", "--json") or "{}")
room = found.get("room", {})
if room.get("fault"): faults.append("room: " + room["fault"])
board = found.get("board") or {}
faults += [str(fault) for fault in board.get("faults", ())]
slots = [slot["reference"] for slot in found.get("slots", ())]
print(json.dumps({"faults": faults, "bank": room.get("path", "").partition("@")[0], "slots": slots, "again": "again" in presets,
    "profile": "emulated" in settings, "alive": bool((found.get("audio") or {}).get("alive"))}))
"""


def armed(ready: Path) -> Path:
    """A disk with a snapshot of a board that plays bank a, has bank b at hand, and a preset: about to be written to."""

    def make(target: Path) -> None:
        disk = guests.copy(ready, target / "armed.qcow2")
        with Guest(X86, name="arming", disk=disk) as guest:
            guest.start(load="ready")
            guest.wait_for_ssh()
            for name, grid in (("a", "4"), ("b", "5")):
                nverb("bank", "build", "-o", str(target / f"{name}.nvbank"), "--grid", grid, data=target)
                guest.put(target / f"{name}.nvbank", f"/run/{name}.nvbank")
            guest.put(CALIBRATE.encode(), "/run/calibrate.py")
            guest.run("nverb install /run/a.nvbank && nverb preset save again && sync")
            guest.forget_connections()
            guest.monitor("human-monitor-command", **{"command-line": "delvm ready"})
            guest.monitor("human-monitor-command", **{"command-line": "savevm armed"})

    return cache.made("armed", [ready.parent.name, Path(__file__)], make) / "armed.qcow2"


def check(ready: Path, cuts: int, seed: int, report: Report) -> None:
    """`cuts` power cuts, their moments drawn from `seed`."""
    chance = random.Random(seed)
    board = armed(ready)
    image_hash = _system_hash(images.disk(X86), "raw")
    with tempfile.TemporaryDirectory(prefix="nverb-", dir="/var/tmp") as scratch:
        for number in range(cuts):
            kind = list(WRITING)[(seed + number) % len(WRITING)]
            after_s = chance.uniform(0.1, LONGEST_S)
            what = f"cut {after_s:.2f} s into writing: {kind}"
            disk = guests.copy(board, Path(scratch) / "cut.qcow2")
            begun = time.monotonic()
            try:
                report.add("power", "amd64", what, _one_cut(disk, kind, after_s), "old or new, plays")
                if number == cuts - 1:
                    same = _system_hash(disk, "qcow2") == image_hash
                    figure = f"SHA-256 {image_hash[:12]}, {'the same' if same else 'another'} after the cut"
                    report.add("power", "amd64", "bytes of the system partition", figure, "the same", ok=same)
            except GuestError as error:
                report.add("power", "amd64", what, str(error)[:160], "old or new, plays", ok=False)
            cache.say(f"power cut: {time.monotonic() - begun:.0f} s")


def _one_cut(disk: Path, kind: str, after_s: float) -> str:
    with Guest(X86, name="before the cut", disk=disk) as guest:
        guest.start(load="armed")
        guest.wait_for_ssh()
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
    with Guest(X86, name="after the cut", disk=disk) as guest:
        guest.boot(timeout_s=1800)
        up_s = guest.wait_for_sound()
        guest.put(CHECK.encode(), "/run/check.py")
        found = json.loads(guest.run("python3 /run/check.py"))
        whole = found["alive"] and found["again"] and found["profile"] and found["bank"] in ("a", "b")
        if found["faults"] or not whole:
            raise GuestError(f"after the cut: {found}")
    written = _written_to_system(disk)
    if written:
        raise GuestError(f"{written} bytes of the system partition were written")
    return f"plays {found['bank']} {up_s:.0f} s after power-on"


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
