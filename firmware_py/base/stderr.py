"""A stderr that harms no process when it cannot be written."""

from __future__ import annotations

import contextlib
import io
import os
import sys


class _LossyFile(io.FileIO):
    """A file that drops what it cannot write: full disk, closed pipe, closed terminal."""

    def write(self, data: object) -> int:
        with contextlib.suppress(OSError):
            super().write(data)  # type: ignore[arg-type]
        return memoryview(data).nbytes  # type: ignore[arg-type]


def keep_stderr_harmless() -> None:
    """Ensure that a failed write to stderr neither ends this process nor changes its exit status.

    Called once, first of all, in each process. Python buffers stderr, writes the rest again at exit
    and exits with status 120 if that fails; this stderr writes each line once. If the caller closed
    stdin, stdout or stderr, /dev/null takes the descriptor, so that no other file gets it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = io.TextIOWrapper(
        _LossyFile(2, "w", closefd=False), encoding, "backslashreplace", line_buffering=True
    )
