"""Notices that the data folder cannot be read, and that it can be again. Control process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from dsp.errors import UserError, reason
from firmware_py.base.paths import data_path

LOOK_S = 1.0


class DataFolder:
    """Looks at the folder once a second, and while it cannot be read, at each call.

    readable_again: called when it can be read after it could not. A failure of it counts as one of
    the folder.
    """

    def __init__(self, readable_again: Callable[[], object]) -> None:
        self._readable_again = readable_again
        self._is_lost = False
        self._next_look_s = 0.0

    def look(self) -> None:
        """Raises UserError while the folder cannot be read."""
        now_s = time.monotonic()
        if now_s < self._next_look_s and not self._is_lost:
            return
        self._next_look_s = now_s + LOOK_S
        was_lost, self._is_lost = self._is_lost, True
        folder = data_path()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.listdir(folder)
            if was_lost:
                self._readable_again()
        except (UserError, OSError) as error:
            raise UserError(
                f"{reason(error)}: playing without the presets, banks and settings in {folder}; "
                "check the disk, and the owner and mode of the folder"
            ) from None
        self._is_lost = False
