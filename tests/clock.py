"""A clock that tests set."""

from __future__ import annotations


class Clock:
    """Seconds that advance only when a test changes `now`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ClockModule(Clock):
    """Replaces the module `time`: a sleep returns at once and advances the clock."""

    monotonic = perf_counter = Clock.__call__

    def monotonic_ns(self) -> int:
        return round(1e9 * self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
