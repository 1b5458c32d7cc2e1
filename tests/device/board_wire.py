"""What several tests of the board hold in their hands: a clock that they turn, and hands for a simulated board."""

from __future__ import annotations

from device.board import Board, Change


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def scan_for(board: Board, clock: Clock, seconds: float) -> list[Change]:
    """Scans at the profile's rate; all that changed."""
    changes = []
    for _ in range(round(seconds / board.scan_s)):
        clock.now += board.scan_s
        changes += board.scan()
    return changes


def last(changes: list[Change]) -> dict[str, float]:
    return {change.control: change.value for change in changes}
