"""The board of the running pedal, opened anew when its profile or its calibration is changed. Control process."""

from __future__ import annotations

import os
from pathlib import Path

from device.board import Board
from device.calibration import CALIBRATION
from device.profile import ProfileError, find_path, load
from dsp.errors import reason
from firmware_py.base.log import say

LOOK_S = 1.0


class BoardSlot:
    """`board` is always there: with a profile that makes no sense it has LEDs at most, and the sound goes on.

    A profile that is changed to something that makes no sense is told and leaves the board as it is.
    """

    def __init__(self, profile: str, folder: Path) -> None:
        self._profile, self._folder = profile, folder
        self._seen = self._look()
        self._next_look = 0.0
        self.board = self._open()

    def refresh(self, now: float) -> bool:
        """Looks at the files once a second; True if `board` is another one now."""
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_S
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            load(self._profile, self._folder)
        except (ProfileError, OSError) as error:
            say("control", f"{reason(error)}; the board stays as it is until this is mended")
            self.board.set_fault("profile", True)
            return False
        self.board.close()  # first: its lines can be held once
        self.board = self._open()
        say("control", f"{self.board.profile.path.name}: read anew")
        return True

    def _open(self) -> Board:
        try:
            return Board.open(self._profile, self._folder)
        except (ProfileError, OSError) as error:
            say("control", f"{reason(error)}; the pedal plays without knobs until this is mended")
            return Board.bare(self._profile, self._folder)

    def close(self) -> None:
        self.board.close()

    def _look(self) -> list[tuple[int, int] | None]:
        """What names these versions of the files; None for one that is not there."""
        try:
            profile = find_path(self._profile, self._folder)
        except ProfileError:
            profile = Path(self._profile)
        marks: list[tuple[int, int] | None] = []
        for path in (profile, self._folder / CALIBRATION):
            try:
                info = os.stat(path)
                marks.append((info.st_ino, info.st_mtime_ns))
            except OSError:
                marks.append(None)
        return marks
