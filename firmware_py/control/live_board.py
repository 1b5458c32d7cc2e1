"""The board of the running pedal. Control process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from device.board import Board
from device.calibration import CALIBRATION, read_calibrations
from device.profile import ProfileError, find_path, load
from dsp.errors import reason
from firmware_py.base.log import logger

log = logger("control")
CHECK_S = 1.0


class LiveBoard:
    """Opens the board, and opens it again when its profile or calibration changes.

    `board` always exists: with an invalid profile it has LEDs at most, and the sound goes on. If
    the profile becomes invalid while the pedal runs, that is logged and the board stays.
    """

    def __init__(self, profile: str, folder: Path) -> None:
        self._profile, self._folder = profile, folder
        self._seen: list[tuple[int, int] | None] = []
        self._seen = self._versions()
        self._next_check = 0.0
        self._complaint = ""
        self.board = self._open()

    def refresh(self, now: float) -> bool:
        """Check the files once a second. True if `board` is a new one. now: time.monotonic()."""
        if now < self._next_check:
            return False
        self._next_check = now + CHECK_S
        seen = self._versions()
        if seen == self._seen:
            return False
        try:
            load(self._profile, self._folder)
            with contextlib.suppress(ProfileError):  # the board reports a damaged one itself
                read_calibrations(self._folder)
        except (ProfileError, OSError) as error:
            if isinstance(error, ProfileError):  # an OSError says nothing about the profile
                self._seen = seen
            if reason(error) != self._complaint:
                self._complaint = reason(error)
                log.warning(f"{self._complaint}; the board stays as it is until this is corrected")
            self.board.report_profile(self._complaint)
            return False
        self._seen, self._complaint = seen, ""
        self.board.close()  # first: a line can be open only once
        self.board = self._open()
        log.info(f"{self.board.profile.path.name}: read again")
        return True

    def _open(self) -> Board:
        try:
            return Board.open(self._profile, self._folder)
        except (ProfileError, OSError) as error:
            log.warning(f"{reason(error)}; the pedal plays without knobs until this is corrected")
            return Board.bare(self._profile, self._folder, why=reason(error))

    def close(self) -> None:
        self.board.close()

    def _versions(self) -> list[tuple[int, int] | None]:
        """Inode and time of each file; None if it does not exist.

        The time of a change of content, owner or mode. A file that cannot be looked at counts as
        unchanged: the board stays as it is until it can.
        """
        try:
            profile = find_path(self._profile, self._folder)
        except ProfileError:
            profile = Path(self._profile)
        except OSError:
            return self._seen
        marks: list[tuple[int, int] | None] = []
        for path in (profile, self._folder / CALIBRATION):
            try:
                info = os.stat(path)
                marks.append((info.st_ino, info.st_ctime_ns))
            except FileNotFoundError:
                marks.append(None)
            except OSError:
                marks.append(self._seen[len(marks)] if self._seen else None)
        return marks
