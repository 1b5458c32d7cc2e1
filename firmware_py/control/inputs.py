"""The inputs besides the board and the socket: MIDI and OSC. The control process polls them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from device.controls import Control, to_position, to_value
from device.events import Action, Change, Notice
from firmware_py.control.budget import Budget
from firmware_py.link.status import InputStatus


class Program(NamedTuple):
    """A request for a preset by its position, from 0: a MIDI program change."""

    number: int


class PresetName(NamedTuple):
    """A request for a preset by name."""

    name: str


class Flip(NamedTuple):
    """A press that switches a control between the ends of its range."""

    control: Control
    """Range and law may be others than those of the table."""

    def value_after(self, value: float) -> float:
        low, high = self.control.minimum, self.control.maximum
        return low if to_position(self.control, value) >= 0.5 else high


class Turn(NamedTuple):
    """An endless encoder has turned a control by a share of its travel."""

    control: Control
    """Range and law may be others than those of the table."""
    by: float

    def value_after(self, value: float) -> float:
        if self.control.is_switch:
            return float(self.by > 0)
        return to_value(self.control, to_position(self.control, value) + self.by)


class ClockTempo(NamedTuple):
    """The tempo of a MIDI clock, once a beat."""

    bpm: float


class PresetSteps(NamedTuple):
    """Several presses of "preset next" (positive) or "preset previous" (negative) at once."""

    by: int


Event = Change | Action | Notice | Program | PresetName | PresetSteps | Flip | Turn | ClockTempo
STEPS = {"preset next": 1, "preset previous": -1}


class Input(Protocol):
    """Called by the control process in its one thread. No method blocks."""

    def poll(self) -> list[Event]:
        """The events since the last call, oldest first. Values are checked."""

    def describe(self) -> str:
        """One line for `nverb status`."""

    def status(self) -> InputStatus:
        """The same for programs."""

    def close(self) -> None: ...


@dataclass
class Waiting:
    """The events of an input that are not applied yet."""

    events: deque[Event] = field(default_factory=deque)
    budget: Budget = field(default_factory=Budget)

    def skip_presets(self) -> None:
        """Leave one request for a preset: the last one, with the steps after it.

        A preset may take 0.1 s on a small board, and a player who scrolls with a MIDI controller
        sends more than ten a second.
        """
        requests = [i for i, event in enumerate(self.events) if _is_preset(event)]
        if len(requests) < 2:
            return
        asked: list[Event] = []
        steps = 0
        for i in requests:
            event = self.events[i]
            if isinstance(event, Action):
                steps += STEPS[event.name]
            else:
                asked, steps = [event], 0
        if steps:
            asked.append(PresetSteps(steps))
        kept: deque[Event] = deque()
        for i, event in enumerate(self.events):
            kept += asked if i == requests[-1] else [] if _is_preset(event) else [event]
        self.events = kept


def _is_preset(event: Event) -> bool:
    return isinstance(event, Program | PresetName) or (
        isinstance(event, Action) and event.name in STEPS
    )


class UnavailableInput:
    """An input that could not be opened. `nverb status` shows the reason."""

    def __init__(self, name: str, reason: str) -> None:
        self._name, self._reason = name, reason

    def poll(self) -> list[Event]:
        return []

    def describe(self) -> str:
        return f"{self._name} cannot start: {self._reason}"

    def status(self) -> InputStatus:
        return {"name": self._name, "where": "", "ports": [], "fault": self._reason}

    def close(self) -> None:
        pass
