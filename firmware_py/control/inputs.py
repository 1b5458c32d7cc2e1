"""The doors through which orders come besides the board and the socket: MIDI, OSC. The control process polls each of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from device.events import Action, Change, Notice


class Program(NamedTuple):
    """A preset is asked for by its place in the list, from 0: MIDI's program change."""

    number: int


class Named(NamedTuple):
    """A preset is asked for by its name."""

    name: str


Event = Change | Action | Notice | Program | Named


class Door(Protocol):
    """Control process, its one thread. Nothing here waits."""

    def poll(self) -> list[Event]:
        """What has come since the last call, oldest first. Whatever comes from outside is checked here."""

    def describe(self) -> str:
        """One line for `nverb status`."""

    def close(self) -> None: ...


class Shut:
    """A door that could not be opened, and why."""

    def __init__(self, name: str, reason: str) -> None:
        self._name, self._reason = name, reason

    def poll(self) -> list[Event]:
        return []

    def describe(self) -> str:
        return f"{self._name} cannot start: {self._reason}"

    def close(self) -> None:
        pass
