"""The errors that a person sees: one line, what was wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import sys


class UserError(Exception):
    """Printed by `nverb` as one line on stderr; the exit status is `status`. Never a traceback."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def say(who: str, text: str) -> None:
    """A line of the log, on stderr. On a terminal it first wipes what the simulated board has drawn there. Never raises: where the log
    goes may be full or gone, and the pedal plays on."""
    with contextlib.suppress(OSError):
        wipe = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{wipe}nverb{' ' if who else ''}{who}: {text}", file=sys.stderr, flush=True)


def reason(error: BaseException) -> str:
    """What went wrong, in one line, as a person reads it: an OSError without its number, with the file."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename is not None else ""
        return f"{name}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
