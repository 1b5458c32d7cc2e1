"""`nverb bench memory`: memory of the pedal, by process and by kind."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from firmware_py.bench.parts import Parts

BAR_MIB = 200
KINDS = {
    "own": "its own data",
    "code": "code and files",
    "jack": "JACK's, shared",
    "mailbox": "mailbox, shared",
}
UNITS = ("nverb-jack", "nverb-audio", "nverb-control")
SETTLE_S = 12.0
"""Time for the control process to prepare the carriers and windows of later rooms."""


class MemoryFigures(TypedDict):
    """In MiB (Pss). processes: by process and kind, see KINDS."""

    bar_mib: int
    processes: dict[str, dict[str, float]]
    total_mib: float


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "memory",
        help="memory of JACK, audio and control process, as in the service",
        description="Proportional set sizes (Pss): shared pages are divided among the processes "
        "that map them, so the sum is the pedal's memory. Runs a separate pedal on JACK's dummy "
        "driver, with locked memory, and turns its knobs.",
    )
    parser.add_argument(
        "--service", action="store_true", help="measure the pedal that systemd runs (as root)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_memory)


def _memory(args: argparse.Namespace) -> int:
    figures = measure({unit: _pids_of_unit(unit) for unit in UNITS} if args.service else None)
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def measure(pids: dict[str, list[int]] | None) -> MemoryFigures:
    """`pids`: of each process; None: start a private pedal. Raises UserError."""
    if pids is not None:
        processes = {
            name: _sum(footprint_mib(pid) for pid in found) for name, found in pids.items()
        }
    else:
        processes = _of_private_pedal()
    return {
        "bar_mib": BAR_MIB,
        "processes": {
            name: {kind: round(found[kind], 2) for kind in KINDS}
            for name, found in processes.items()
        },
        "total_mib": round(sum(sum(found.values()) for found in processes.values()), 1),
    }


def _of_private_pedal() -> dict[str, dict[str, float]]:
    from firmware_py.bench.pedal import knob_storm
    from firmware_py.desk.private_pedal import private_pedal, wait_for_room

    with private_pedal(synchronous=False, as_service=True) as pedal:
        wait_for_room(pedal)
        knob_storm(pedal, 5.0)
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            pedal.tend()
            time.sleep(0.1)
        assert pedal.jack is not None
        running = {"jackd": pedal.jack.process} | {
            child.name: child.process for child in pedal.children
        }
        return {
            name: footprint_mib(process.pid)
            for name, process in running.items()
            if process is not None
        }


def _pids_of_unit(unit: str) -> list[int]:
    """All processes of a systemd unit. Raises UserError if it is not running."""
    from dsp.errors import UserError

    words = ["systemctl", "show", "-p", "ControlGroup", "--value", unit]
    try:
        group = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        found = (
            [int(pid) for pid in Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()]
            if group
            else []
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{unit}: {error}") from None
    if not found:
        raise UserError(f"{unit} is not running; start it with `sudo systemctl start nverb.target`")
    return found


def footprint_mib(pid: int) -> dict[str, float]:
    """Pss of a process by kind, see proc_pid_smaps(5). Raises UserError if it cannot be read."""
    from dsp.errors import UserError

    kib: Counter[str] = Counter()
    kind = "own"
    try:
        text = Path(f"/proc/{pid}/smaps").read_text()
    except OSError as error:
        raise UserError(f"process {pid}: {error.strerror}; run as root") from None
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \d+ *(.*)$", line)
        if head:
            kind = _kind(permissions=head[1], name=head[2])
        elif line.startswith("Pss:"):
            kib[kind] += int(line.split()[1])
    return {kind: kib[kind] / 1024 for kind in KINDS}


def _sum(footprints: Iterable[dict[str, float]]) -> dict[str, float]:
    total = dict.fromkeys(KINDS, 0.0)
    for footprint in footprints:
        for kind, mib in footprint.items():
            total[kind] += mib
    return total


def _kind(*, permissions: str, name: str) -> str:
    if "/jack" in name and permissions.endswith("s"):
        return "jack"
    if name.endswith("/mailbox"):
        return "mailbox"
    return "code" if name.startswith("/") and "w" not in permissions else "own"


def table(figures: MemoryFigures) -> str:
    lines = [
        f"{'MiB (Pss)':16}" + "".join(f"{text:>17}" for text in KINDS.values()) + f"{'all':>9}"
    ]
    for name, found in figures["processes"].items():
        cells = "".join(f"{found[kind]:17.1f}" for kind in KINDS)
        lines.append(f"{name:16}{cells}{sum(found.values()):9.1f}")
    lines.append(
        f"{'all':16}{'':{17 * len(KINDS)}}{figures['total_mib']:9.1f}  (bar {figures['bar_mib']})"
    )
    return "\n".join(lines)
