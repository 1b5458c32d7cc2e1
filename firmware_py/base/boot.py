"""What of the way from power-on to sound is ours: each process notes when it began and when it first did its work.

The notes lie in the runtime folder, `boot-NAME`: two decimal numbers, seconds of CLOCK_BOOTTIME (0 is when the kernel started). Only
the first start after power-on is noted. `nverb doctor --boot` reads them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from firmware_py.base.paths import runtime_dir

STEPS = {
    "jack": "JACK answers",
    "audio": "first block of sound",
    "control": "first room sounds",
}
BAR_S = 2.0


@dataclass(frozen=True)
class Step:
    name: str
    began_s: float
    done_s: float


def process_started_s() -> float:
    """When this process began, CLOCK_BOOTTIME."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def note(name: str) -> None:
    """This process does its work from now on. Never raises; the first note counts."""
    try:
        text = f"{process_started_s():.3f} {time.clock_gettime(time.CLOCK_BOOTTIME):.3f}\n"
        with open(runtime_dir() / f"boot-{name}", "x") as file:
            file.write(text)
    except (OSError, ValueError, IndexError):
        pass


def steps(folder: Path) -> list[Step]:
    """The notes in that runtime folder, in the order in which the processes began."""
    found = []
    for name in STEPS:
        try:
            began, done = (folder / f"boot-{name}").read_text()[:64].split()
            found.append(Step(name, float(began), float(done)))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda step: step.began_s)
