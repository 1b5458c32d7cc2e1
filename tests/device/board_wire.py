"""What several tests of the board hold in their hands: a simulated board, scanned by a clock that they turn."""

from __future__ import annotations

from clock import Clock

from device.board import Board
from device.events import Change, Event, Notice


def scan_for(board: Board, clock: Clock, seconds: float) -> list[Event]:
    """Scans at the profile's rate; all that happened."""
    events = []
    for _ in range(round(seconds / board.scan_s)):
        clock.now += board.scan_s
        events += board.scan()
    return events


def last(events: list[Event]) -> dict[str, float]:
    """The values of the controls that were changed."""
    return {event.control: event.value for event in events if isinstance(event, Change)}


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]
