"""power: the plug is pulled at a random moment while something is written, and put back in.

The emulator is killed (kill -9) with its disk cache on writeback: what the guest's kernel had not yet sent to the disk is lost, as
on a board. Then the board boots from that disk, and must play with the old state or the new one, whole. The system partition must
be what it was, to the bit.
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
SECTOR = 512
LONGEST_S = 6.0
"""Moments are drawn from the first so many seconds (of this machine) of what is written."""

WRITING = {
    "bank": "for n in 1 2 3; do nverb install /run/b.nvbank; nverb install /run/a.nvbank; done",
    "preset": "for n in $(seq 50); do nverb set x=$((n % 9)); nverb preset save p$n; nverb preset save again; done",
    "settings": "for n in $(seq 50); do nverb settings set periods=$((3 + n % 2)); done",
}
CHECK = """
import json, subprocess, sys
def ask(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.strip()[-200:]
faults = []
for words in (("nverb", "list"), ("nverb", "preset", "list"), ("nverb", "settings", "show")):
    status, out, err = ask(*words)
    if status: faults.append(" ".join(words) + ": " + err)
status, out, err = ask("nverb", "status", "--json")
found = json.loads(out) if status == 0 else {}
room = found.get("room", {})
if room.get("fault"): faults.append("room: " + room["fault"])
print(json.dumps({"faults": faults, "bank": room.get("bank", ""), "alive": bool((found.get("audio") or {}).get("alive"))}))
"""


def check(ready: Path, cuts: int, seed: int, report: Report) -> None:
    """`cuts` power cuts, their moments drawn from `seed`."""
    chance = random.Random(seed)
    reference = _system_hash(ready)
    with tempfile.TemporaryDirectory(prefix="nverb-", dir="/var/tmp") as scratch:
        desk = Path(scratch)
        for name, grid in (("a", "4"), ("b", "5")):
            nverb("bank", "build", "-o", str(desk / f"{name}.nvbank"), "--grid", grid, data=desk)
        for number in range(cuts):
            what = ("bank", "preset", "settings")[(seed + number) % 3]
            after_s = chance.uniform(0.1, LONGEST_S)
            begun = time.monotonic()
            try:
                figure = _one_cut(ready, desk, what, after_s, reference)
                report.add("power", "amd64", f"cut {after_s:.2f} s into writing a {what}", figure, "old or new, plays")
            except GuestError as error:
                report.add(
                    "power", "amd64", f"cut {after_s:.2f} s into writing a {what}", str(error)[:160], "plays", ok=False
                )
            cache.say(f"power cut: {time.monotonic() - begun:.0f} s")


def _one_cut(ready: Path, desk: Path, what: str, after_s: float, reference: str) -> str:
    disk = guests.copy(ready, desk / "cut.qcow2")
    try:
        with Guest(X86, name="before the cut", disk=disk) as guest:
            guest.start(load="ready")
            guest.wait_for_ssh()
            for name in ("a", "b"):
                guest.put(desk / f"{name}.nvbank", f"/run/{name}.nvbank")
            guest.run(
                "sync; echo 3 > /proc/sys/vm/drop_caches; nverb install /run/a.nvbank && nverb preset save again && sync"
            )
            writing = subprocess.Popen(
                [*guest.ssh_words(), WRITING[what]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(after_s)
            guest.cut_power()
            writing.kill()
            writing.wait()
        with Guest(X86, name="after the cut", disk=disk) as guest:
            guest.boot(timeout_s=1800)
            up_s = guest.wait_for_sound()
            guest.put(CHECK.encode(), "/run/check.py")
            found = json.loads(guest.run("python3 /run/check.py"))
            if found["faults"] or not found["alive"] or found["bank"] not in ("a", "b"):
                raise GuestError(f"after the cut: {found}")
        if _system_hash(disk) != reference:
            raise GuestError("the system partition has changed")
        return f"plays {found['bank']} {up_s:.0f} s after power-on"
    finally:
        disk.unlink(missing_ok=True)


def _system_hash(disk: Path) -> str:
    """SHA-256 of the system partition as the guest sees it: by the map of what this overlay changed, and by content if anything."""
    words = ["qemu-img", "map", "--output=json", str(disk)]
    size = images.system_bytes()
    changed = [
        row
        for row in json.loads(cache.run(words, what="qemu-img map"))
        if row["depth"] == 0 and row["data"] and row["start"] < size
    ]
    return hashlib.sha256(json.dumps(changed).encode()).hexdigest() if changed else "untouched"
