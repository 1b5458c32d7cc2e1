"""`nverb bench memory`: what the pedal takes of a board's memory, by process and by what it is for."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

BAR_MIB = 200
KINDS = {
    "own": "its own data",
    "code": "code and files",
    "jack": "JACK's, shared",
    "mailbox": "mailbox, shared",
}
UNITS = ("nverb-jack", "nverb-audio", "nverb-control")
SETTLE_S = 12.0
"""In which the control process makes the carriers and windows of rooms to come."""


def add_parser(parts: Any) -> None:
    parser = parts.add_parser(
        "memory",
        help="memory of JACK, audio and control process under the service's conditions",
        description="Proportional set sizes (Pss): what several processes map is shared out among them, so that the sum is what the pedal "
        "takes. Runs a pedal of its own on JACK's dummy driver, with locked memory, and turns its knobs for a while.",
    )
    parser.add_argument(
        "--service", action="store_true", help="look at the pedal that systemd runs here (as root)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_memory)


def _memory(args: argparse.Namespace) -> int:
    figures = measure({unit: _pids_of_unit(unit) for unit in UNITS} if args.service else None)
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def measure(pids: dict[str, list[int]] | None) -> dict[str, Any]:
    """MiB by process and kind; `pids`: by name, None for a pedal of its own."""
    if pids is not None:
        processes = {
            name: sum((footprint_mib(pid) for pid in found), Counter())
            for name, found in pids.items()
        }
    else:
        processes = _of_own_pedal()
    return {
        "bar_mib": BAR_MIB,
        "processes": {
            name: {kind: round(found[kind], 2) for kind in KINDS}
            for name, found in processes.items()
        },
        "total_mib": round(sum(sum(found.values()) for found in processes.values()), 1),
    }


def _of_own_pedal() -> dict[str, Counter[str]]:
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
    """All processes of a unit."""
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
        raise UserError(f"{unit} does not run here: start it (sudo systemctl start nverb.target)")
    return found


def footprint_mib(pid: int) -> Counter[str]:
    """Pss of a process by kind; see proc_pid_smaps(5). Raises UserError where it may not be read."""
    from dsp.errors import UserError

    found: Counter[str] = Counter()
    kind = "own"
    try:
        text = Path(f"/proc/{pid}/smaps").read_text()
    except OSError as error:
        raise UserError(f"process {pid}: {error.strerror}; ask as root") from None
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \d+ *(.*)$", line)
        if head:
            kind = _kind(permissions=head[1], name=head[2])
        elif line.startswith("Pss:"):
            found[kind] += int(line.split()[1]) / 1024  # type: ignore[assignment]
    return found


def _kind(*, permissions: str, name: str) -> str:
    if "/jack" in name and permissions.endswith("s"):
        return "jack"
    if name.endswith("/mailbox"):
        return "mailbox"
    return "code" if name.startswith("/") and "w" not in permissions else "own"


def table(figures: dict[str, Any]) -> str:
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
