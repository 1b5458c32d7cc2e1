"""Notices that the file of the chosen rooms has changed, if it is outside of the store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from firmware_py.rooms.source import path_of

LOOK_S = 1.0
Identity = tuple[int, int, int, int]


class BankWatch:
    """Watches the file of a reference, see firmware_py.rooms.source.rooms_named. Control process.

    Slots of the store never change. A file of the user may be overwritten while it plays, and one
    that was refused may be mended.
    """

    def __init__(self, reference: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.watch(reference)

    def watch(self, reference: str) -> None:
        """Watch the file of this reference from now on."""
        self.reference = reference
        self._path = path_of(reference)
        self._tried = self._seen = self._identity()
        self._next_look = self._clock() + LOOK_S

    def has_changed(self) -> bool:
        """Whether to try the file again. True once for each change, when it has not changed further
        for LOOK_S: a copy may be on its way."""
        if self._path is None or self._clock() < self._next_look:
            return False
        self._next_look = self._clock() + LOOK_S
        before, self._seen = self._seen, self._identity()
        if self._seen is None or self._seen != before or self._seen == self._tried:
            return False
        self._tried = self._seen
        return True

    def _identity(self) -> Identity | None:
        """None if there is no file."""
        if self._path is None:
            return None
        try:
            info = os.stat(self._path)
        except (OSError, ValueError):
            return None
        return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
