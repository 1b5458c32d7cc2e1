"""Detects a crash loop without a clock: a board has no valid time before it is on the network.

Each process increments a counter in the runtime folder when it starts, and resets it after
STABLE_S without a crash or when it exits on purpose. The counter is the number of early deaths in a
row. The runtime folder is in memory: power-off clears it, so only deaths since power-on count.

After CRASH_LOOP early deaths the pedal starts safe: the audio process with a new mailbox, so that
it does not read again what may have killed it, the control process with the built-in rooms and the
default controls. After twice as many the control process does not open the board either, and only
commands control it. The file `safe` gives the reason. The next power-on, or choosing a bank, ends
the safe start.

| file in the runtime folder | content                                                            |
|----------------------------|--------------------------------------------------------------------|
| NAME.deaths                | early deaths of NAME in a row, this start included; then its world |
| safe                       | one line: why the pedal started safe                               |
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from dsp.names import shown
from firmware_py.base.paths import runtime_dir
from models.reading import read_file

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
CRASH_LOOP = 3
STABLE_S = 5.0


class CrashGuard:
    """The counter of one process, created when it starts.

    A full or unwritable runtime folder raises nothing: then no death is counted.

    world: what the process depends on, such as the instance of the JACK server. If it has changed
    since the last start, the last death is attributed to that change and not counted: a USB plug
    with a loose contact is not a crash loop.
    """

    def __init__(self, name: str, world: str = "-") -> None:
        self._path = runtime_dir() / f"{name}.deaths"
        self._started = time.monotonic()
        self._open = True
        self._world = world
        self.deaths = 0
        """Early deaths of this process in a row."""
        try:
            deaths, last_world = _text(self._path).split()
            self.deaths = max(min(int(deaths), 1000) - (last_world != world), 0)
        except (OSError, ValueError):
            pass
        self._write(self.deaths + 1)

    @property
    def crash_loop(self) -> bool:
        return self.deaths >= CRASH_LOOP

    @property
    def remaining_s(self) -> float:
        """Seconds until look() can have an effect."""
        return max(STABLE_S - (time.monotonic() - self._started), 0.0) + 0.01 if self._open else 1e9

    def look(self) -> None:
        """Call regularly while the process works: after STABLE_S, resets the counter."""
        if self._open and time.monotonic() - self._started > STABLE_S:
            self.stable()

    def stable(self) -> None:
        """Reset the counter. Also called when the process is asked to stop."""
        self._open = False
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def blameless(self) -> None:
        """Do not count this exit: another process caused it (no JACK), or somebody asked for it.

        Earlier deaths stay.
        """
        if self._open:
            self._open = False
            self._write(self.deaths)

    def note_blameless(self) -> tuple[int, bytes]:
        """An open file, and what C code must write to it if it ends this process on purpose.

        Without a writable runtime folder the text is empty: nothing is to be written.
        """
        try:
            return os.open(self._path, _FLAGS, 0o666), self._line(self.deaths).encode()
        except OSError:
            return -1, b""

    def _line(self, deaths: int) -> str:
        return f"{deaths} {self._world}\n"

    def _write(self, deaths: int) -> None:
        """Write the counter. A kill may leave the file empty, which reads as no deaths."""
        _write(self._path, self._line(deaths))


def _text(path: Path) -> str:
    """A small file of the runtime folder. Raises OSError, MalformedFile."""
    return read_file(path, 500, follow=False).decode(errors="replace")


def _write(path: Path, text: str) -> None:
    """Write a small file of the runtime folder. Raises nothing, and waits for no reader of a pipe.

    Avoids Python's file buffers: after a change of JACK's block size pyo has written past the end
    of its buffers, and malloc or free may then abort the process.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, _FLAGS | os.O_TRUNC, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def declare_safe_start(why: str) -> None:
    """Write the reason for a safe start, one line."""
    _write(runtime_dir() / "safe", why + "\n")


def safe_start_reason(folder: Path | None = None) -> str:
    """Why the pedal started safe; "" if it did not.

    folder: the runtime folder of another pedal; None: of this process.
    """
    try:
        return shown(_text((folder or runtime_dir()) / "safe").strip())
    except (OSError, ValueError):
        return ""


def end_safe_start() -> None:
    """Remove the reason: the next start is a normal one."""
    with contextlib.suppress(OSError):
        (runtime_dir() / "safe").unlink(missing_ok=True)
