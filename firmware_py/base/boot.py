"""The boot time of the pedal: each process notes when it started and when it was first ready.

The notes are files `boot-NAME` in the runtime folder: two decimal numbers, seconds of
CLOCK_BOOTTIME (0 is the start of the kernel). Only the first start after power-on is noted.
`nverb doctor --boot` reads them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from firmware_py.base.paths import runtime_dir
from models.reading import read_file

STEPS = {
    "jack": "JACK answers",
    "audio": "first block of sound",
    "control": "first room sounds",
}
BAR_S = 2.0


@dataclass(frozen=True)
class Step:
    """One process: started at began_s, ready at done_s, both in seconds of CLOCK_BOOTTIME."""

    name: str
    began_s: float
    done_s: float


def process_started_s() -> float:
    """Start time of this process, in seconds of CLOCK_BOOTTIME. Raises OSError."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def note(name: str) -> None:
    """Note that this process is ready. Never raises; later notes are ignored."""
    try:
        text = f"{process_started_s():.3f} {time.clock_gettime(time.CLOCK_BOOTTIME):.3f}\n"
        with open(runtime_dir() / f"boot-{name}", "x") as file:
            file.write(text)
    except (OSError, ValueError, IndexError):
        pass


def steps(folder: Path) -> list[Step]:
    """The notes in a runtime folder, ordered by the start of the processes."""
    found = []
    for name in STEPS:
        try:
            began, done = read_file(folder / f"boot-{name}", 64, follow=False).split()
            found.append(Step(name, float(began), float(done)))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda step: step.began_s)
