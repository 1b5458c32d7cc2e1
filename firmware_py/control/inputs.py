"""The inputs besides the board and the socket: MIDI and OSC. The control process polls them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from device.events import Action, Change, Notice


class Program(NamedTuple):
    """A request for a preset by its position, from 0: a MIDI program change."""

    number: int


class PresetName(NamedTuple):
    """A request for a preset by name."""

    name: str


Event = Change | Action | Notice | Program | PresetName


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
