"""A pedal on a simulated board, turned by hand: no audio runs."""

from __future__ import annotations

from clock import ClockModule
from waiting import wait_until

from device.board import Board
from device.controls import defaults
from firmware_py.control import process
from firmware_py.control.inputs import Event
from firmware_py.control.pedal import Pedal
from firmware_py.control.requests import Requests
from firmware_py.link.status import InputStatus
from firmware_py.rooms.source import BuiltInRooms


class FakeInput:
    """An input that reports the events in `waiting`."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []

    def poll(self) -> list[Event]:
        events, self.waiting = self.waiting, []
        return events

    def describe(self) -> str:
        return "an input"

    def status(self) -> InputStatus:
        return {"name": "input", "where": "", "ports": [], "fault": ""}

    def close(self) -> None: ...


class Rig:
    """A pedal with a simulated board and one more input."""

    def __init__(self, clock: ClockModule) -> None:
        pedal, board = Pedal(defaults(), BuiltInRooms(), ""), Board.open("sim", clock=clock)
        process.settle(board, pedal.values)
        pedal.attach(board)
        self._take(clock, pedal, board)

    @classmethod
    def of(cls, clock: ClockModule, pedal: Pedal, board: Board) -> Rig:
        """Of a pedal to which the board is attached."""
        rig = cls.__new__(cls)
        rig._take(clock, pedal, board)
        return rig

    def _take(self, clock: ClockModule, pedal: Pedal, board: Board) -> None:
        self.clock, self.pedal, self.board = clock, pedal, board
        self.ask = Requests(self.pedal).answer
        self.input = FakeInput()
        self.pedal.inputs.append(self.input)

    @property
    def values(self) -> dict[str, float]:
        return self.pedal.values

    def send(self, *events: Event) -> None:
        self.input.waiting += events
        wait_until(lambda: not (self.input.waiting or self.pedal.is_behind), tend=self.pedal.scan)

    def scan_for(self, seconds: float) -> None:
        for _ in range(round(seconds / self.board.scan_s)):
            self.clock.sleep(self.board.scan_s)
            self.pedal.scan()
