"""Helpers of the board's tests: scan a simulated board with a clock that the test advances."""

from __future__ import annotations

from pathlib import Path

from clock import Clock

from device import profile
from device.board import Board
from device.events import Change, Event, Notice


def board_with_switch(folder: Path, clock: Clock, keys: str, action: str = "bypass") -> Board:
    """The simulated board with other keys, and maybe another action, for its bypass switch."""
    text, row = (profile.PACKAGED / "sim.toml").read_text(), 'action = "bypass"'
    assert row in text
    path = folder / "switch.toml"
    path.write_text(text.replace(row, f'action = "{action}"{keys}'))
    return Board.open(str(path), clock=clock)


def scan_for(board: Board, clock: Clock, seconds: float) -> list[Event]:
    """Scan at the profile's rate. Returns all events."""
    events = []
    for _ in range(round(seconds / board.scan_s)):
        clock.now += board.scan_s
        events += board.scan()
    return events


def last(events: list[Event]) -> dict[str, float]:
    """The last value of each changed control."""
    return {event.control: event.value for event in events if isinstance(event, Change)}


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def flashes(board: Board, clock: Clock) -> int:
    """Flashes of the fault LED between two pauses."""
    lit = []
    for _ in range(round(10 / board.scan_s)):
        clock.now += board.scan_s
        board.scan()
        lit.append(board.simulation.leds["fault"].lit)
    edges = [n * board.scan_s for n in range(1, len(lit)) if lit[n] and not lit[n - 1]]
    pauses = [n for n in range(1, len(edges)) if edges[n] - edges[n - 1] > 0.6]
    return pauses[1] - pauses[0] if len(pauses) > 1 else 0
