"""Tells a crash loop from a pedal that is switched off, without a clock: a board has none before it is on the network.

Each process counts itself in when it starts, in a file in the runtime folder, and out when it has been well for STABLE_S or leaves on
purpose. What is left in the count died young. The runtime folder is in memory: switching the pedal off, however often and however
soon, empties it, so only deaths since power-on are ever counted.

After CRASH_LOOP deaths in a row the pedal starts safe: the audio process on a new mailbox (nothing that could have killed it is
read again), the control process with the built-in rooms and the default controls. After twice as many the control process leaves the
board alone, too, and can be steered by commands only. The file `safe` says why; the next power-on tries everything again, and
choosing a bank does at once.

| file in the runtime folder | holds                                                                            |
|----------------------------|----------------------------------------------------------------------------------|
| NAME.deaths                | starts of NAME that were not well yet, a decimal number; then what it depends on |
| safe                       | one line: why the pedal started safe                                             |
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from firmware_py.base.paths import runtime_dir

CRASH_LOOP = 3
STABLE_S = 5.0


class CrashGuard:
    """Of one process, made when it starts. A full or broken runtime folder never stops anything: then nothing is counted.

    `world`: names what the process depends on, such as the JACK server that it plays on. If it is another one than the last time, the
    last death is put down to that: a plug with a loose contact is no crash loop.
    """

    def __init__(self, name: str, world: str = "-") -> None:
        self._path = runtime_dir() / f"{name}.deaths"
        self._started = time.monotonic()
        self._open = True
        self._world = world
        self.deaths = 0
        """Of this process in a row, each before it was well."""
        try:
            deaths, last_world = self._path.read_text(errors="replace")[:200].split()
            self.deaths = max(min(int(deaths), 1000) - (last_world != world), 0)
        except (OSError, ValueError):
            pass
        self._write(self.deaths + 1)

    @property
    def crash_loop(self) -> bool:
        return self.deaths >= CRASH_LOOP

    @property
    def remaining_s(self) -> float:
        """Until a look() does something."""
        return max(STABLE_S - (time.monotonic() - self._started), 0.0) + 0.01 if self._open else 1e9

    def look(self) -> None:
        """Called now and then by a process that is well: after STABLE_S it has not died young."""
        if self._open and time.monotonic() - self._started > STABLE_S:
            self.stable()

    def stable(self) -> None:
        """All that died before are forgotten. Also for a process that is told to stop."""
        self._open = False
        self._path.unlink(missing_ok=True)

    def blameless(self) -> None:
        """This process leaves for another's fault (no JACK): it does not count, those before it still do."""
        if self._open:
            self._open = False
            self._write(self.deaths)

    def _write(self, deaths: int) -> None:
        """In memory: whole, or a kill left it empty, which counts as none. Without Python's buffers: where JACK has changed its block size,
        pyo has by now written past the end of its own, and the C library stops a process that takes or gives back memory then."""
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666
            )
            try:
                os.write(descriptor, f"{deaths} {self._world}\n".encode())
            finally:
                os.close(descriptor)
        except OSError:
            pass


def declare_safe_start(why: str) -> None:
    try:
        (runtime_dir() / "safe").write_text(why + "\n")
    except OSError:
        pass


def safe_start_reason(folder: Path | None = None) -> str:
    """Why the pedal started safe; empty if it did not. `folder`: the runtime folder of a pedal that is not this process's."""
    try:
        return ((folder or runtime_dir()) / "safe").read_text(errors="replace")[:500].strip()
    except OSError:
        return ""


def end_safe_start() -> None:
    (runtime_dir() / "safe").unlink(missing_ok=True)
