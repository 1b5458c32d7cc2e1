"""When an installation last made progress: a number in memory that its process and the control
process share. The control process never waits for an installation, so it cannot ask.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import time

ACTIVITY_FD = "NVERB_ACTIVITY_FD"
"""Environment variable: the descriptor that the process inherits."""
_FORM = "d"


class Activity:
    """The time of the last progress."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def create(cls) -> Activity:
        """A new one, which counts as progress. Raises OSError."""
        activity = cls(os.memfd_create("nverb-activity", os.MFD_CLOEXEC))
        activity.note()
        return activity

    @classmethod
    def inherited(cls) -> Activity | None:
        """That of the process that started this one; None without one."""
        number = os.environ.pop(ACTIVITY_FD, "")
        if not number.isdecimal():
            return None
        os.set_inheritable(int(number), False)
        return cls(int(number))

    def note(self) -> None:
        """Progress has been made now."""
        self._write(time.monotonic())

    def complete(self) -> None:
        """All is received: the rest of the work ends by itself and is not to be interrupted."""
        self._write(math.inf)

    def _write(self, time_s: float) -> None:
        with contextlib.suppress(OSError):
            os.pwrite(self.descriptor, struct.pack(_FORM, time_s), 0)

    def last(self) -> float:
        """When progress was last made: time.monotonic."""
        return float(struct.unpack(_FORM, os.pread(self.descriptor, struct.calcsize(_FORM), 0))[0])

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
