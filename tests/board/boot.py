"""boot: after power-on the pedal plays without a user."""

from __future__ import annotations

import re
from pathlib import Path

from guest import Guest
from report import Report

OURS = ("nverb-jack.service", "nverb-audio.service", "nverb-control.service")


def check(guest: Guest, report: Report) -> None:
    """Check a guest that was just switched on."""
    board = guest.platform.arch

    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("boot", board, what, figure, bar, ok=ok)

    guest.wait_for_sound()
    guest.wait(
        "systemctl is-system-running | grep -qE 'running|degraded'",
        timeout_s=60,
        what="the system is up",
    )
    states = guest.run(f"systemctl is-active {' '.join(OURS)}", check=False).split()
    add("JACK, audio and control unit", " ".join(states), "active", ok=states == ["active"] * 3)
    failed = guest.run("systemctl --failed --no-legend --plain").strip()
    add("failed units", failed.splitlines()[0] if failed else "none", "none", ok=not failed)
    status = guest.status()
    audio = status["audio"]
    add(
        "JACK on ALSA's snd-aloop",
        f"{audio['block_frames']} frames, {audio['rate_hz']} Hz",
        ok=audio["alive"],
    )
    text = guest.run("nverb status")
    safe = next((line for line in text.splitlines() if line.startswith("SAFE")), "")
    add("starts", safe or "without fault", "not safe mode", ok=not safe)
    warning = guest.run(
        "journalctl -b -u nverb-control --no-pager | grep -o 'no TFLite runtime.*' || true"
    ).strip()
    add("decoder", warning or "runs", "runs", ok=not warning)
    knobs = next(
        (line.split(None, 1)[1] for line in text.splitlines() if line.startswith("knobs")), "none"
    )
    add(
        "five pots, four switches, four LEDs",
        knobs,
        "emulated, no fault",
        ok=knobs == "emulated, no fault",
    )
    total = guest.run("systemd-analyze time").splitlines()[0].rpartition("= ")[2].strip()
    add("power-on to all units up", total)
    blame = guest.run("systemd-analyze blame --no-pager")
    for unit in OURS:
        took = re.search(rf"^\s*(.+?) {re.escape(unit)}$", blame, re.MULTILINE)
        add(f"{unit.removesuffix('.service')} (blame)", took[1] if took else "not listed")
    chain = guest.run("systemd-analyze critical-chain --no-pager nverb-audio.service").splitlines()
    before = next((line for line in chain[1:] if "nverb" not in line and "─" in line), "")
    add("first in nverb-audio's chain that is not ours", " ".join(before.replace("└─", "").split()))
    network = any("network" in line for line in chain)
    add("waits for the network", "yes" if network else "no", "no", ok=not network)
    root = guest.run("findmnt -no OPTIONS /low 2>/dev/null || grep ' / ' /proc/mounts").strip()
    add("root", "read-only, memory over it" if "overlay" in root else root, ok="overlay" in root)
    console = Path(guest.console).read_text(errors="replace")
    bad = re.findall(
        r"^.*(?:BUG:|Oops|Call Trace|segfault).*$", console + guest.run("dmesg"), re.MULTILINE
    )
    add("kernel complaints", bad[0][:60] if bad else "none", "none", ok=not bad)


def resident_mib(guest: Guest) -> dict[str, float]:
    """Resident memory of the pedal's processes.

    "pss" divides a shared page among the processes that map it; "rss" counts it for each.
    """
    script = (
        "for p in $(systemctl show -p ControlGroup --value nverb-jack nverb-audio nverb-control "
        "| grep . | "
        "while read g; do cat /sys/fs/cgroup$g/cgroup.procs; done); do "
        'echo $(tr "\\0" " " < /proc/$p/cmdline | cut -c1-60 | tr " " "_") '
        "$(awk '/^Rss|^Pss:/ {print $2}' /proc/$p/smaps_rollup); done"
    )
    rows = [line.split() for line in guest.run(script).splitlines()]
    return {
        "rss": sum(float(row[1]) for row in rows) / 1024,
        "pss": sum(float(row[2]) for row in rows) / 1024,
    }
