"""The log of a process: lines on stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys


class _LossyFile(io.FileIO):
    """A file that drops what it cannot write: a full disk, a closed pipe, a terminal that has gone."""

    def write(self, data: object) -> int:
        with contextlib.suppress(OSError):
            super().write(data)  # type: ignore[arg-type]
        return memoryview(data).nbytes  # type: ignore[arg-type]


def keep_stderr_harmless() -> None:
    """No message that cannot be written ends this process or changes its exit status. Called once, first thing in each process.

    Python buffers stderr, tries what is left again at its end, and exits with status 120 when that fails. This stderr writes each line
    once. Where the caller closed stdin, stdout or stderr, /dev/null takes the descriptor, so that no file opened later gets it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free: this one
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = io.TextIOWrapper(
        _LossyFile(2, "w", closefd=False), encoding, "backslashreplace", line_buffering=True
    )


def say(who: str, text: str) -> None:
    """Write a line of the log to stderr. On a terminal it first wipes what the simulated board has drawn there."""
    wipe = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{wipe}nverb{' ' if who else ''}{who}: {text}", file=sys.stderr, flush=True)
