"""A clock that tests set."""

from __future__ import annotations


class Clock:
    """Seconds that advance only when a test changes `now`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
