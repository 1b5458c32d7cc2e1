"""The inputs besides the board and the socket: MIDI and OSC. The control process polls them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from device.controls import Control, to_position, to_value
from device.events import Action, Change, Notice


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


Event = Change | Action | Notice | Program | PresetName | Flip | Turn


class Input(Protocol):
    """Called by the control process in its one thread. No method blocks."""

    def poll(self) -> list[Event]:
        """The events since the last call, oldest first. Values are checked."""

    def describe(self) -> str:
        """One line for `nverb status`."""

    def close(self) -> None: ...


class UnavailableInput:
    """An input that could not be opened. `nverb status` shows the reason."""

    def __init__(self, name: str, reason: str) -> None:
        self._name, self._reason = name, reason

    def poll(self) -> list[Event]:
        return []

    def describe(self) -> str:
        return f"{self._name} cannot start: {self._reason}"

    def close(self) -> None:
        pass
