"""Earlier versions of a file beside it: NAME.previous.json, NAME.previous2.json, ... the oldest.

The caller holds the lock of the file. A version that cannot be moved is lost: that stops no change
of the file itself.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Versions:
    """The last `count` versions of `path`, the newest first."""

    def __init__(self, path: Path, count: int) -> None:
        numbers = ["", *map(str, range(2, count + 1))]
        self.files = [
            path.with_name(f"{path.stem}.previous{number}{path.suffix}") for number in numbers
        ]

    def make_room(self) -> None:
        """Move each version one place down; the first place is free then."""
        for place in range(len(self.files) - 1, 0, -1):
            with contextlib.suppress(OSError):
                os.replace(self.files[place - 1], self.files[place])

    def drop(self, count: int) -> None:
        """Remove the newest `count` versions; the others move up."""
        for place, file in enumerate(self.files):
            with contextlib.suppress(OSError):
                if place < count:
                    file.unlink()
                else:
                    os.replace(file, self.files[place - count])
