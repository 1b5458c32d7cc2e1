"""MIDI out: controls tell their values, so that motor faders and rings of LEDs follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from firmware_py.control.midi_assignment import Assignment

QUIET_S = 0.3
"""A control that its own controller has moved is told after this time: nothing pulls at a fader
that a hand holds."""
AT_ONCE = 16
"""Messages in one call: a cable carries one in a millisecond."""


class Echo:
    """Sends the value of each control to its controller when it has changed."""

    def __init__(self, send: Callable[[bytes], bool]) -> None:
        self._send = send
        self._known: dict[str, int] = {}
        """What the controller shows, by control."""
        self._moved: dict[str, float] = {}

    def start(self) -> None:
        """Tell all values again: a device has come, or assignments have changed."""
        self._known.clear()

    def moved(self, name: str, value: int, now: float) -> None:
        """The control's own controller has sent this 14-bit value."""
        self._known[name], self._moved[name] = value, now

    def update(
        self,
        assignments: Mapping[str, Assignment],
        values: Mapping[str, float],
        channel: int,
        wide: Callable[[str], bool],
        now: float,
    ) -> None:
        """Tell what has changed. channel: from 0. wide: whether a control's source has 14 bits."""
        sent = 0
        for name, assignment in assignments.items():
            if name not in values or assignment.source.kind == "program":
                continue
            fine = wide(name)
            value = assignment.value_of(name, values[name])
            if not fine:
                value = value + 64 >> 7 << 7
            if value == self._known.get(name) or now - self._moved.get(name, -QUIET_S) < QUIET_S:
                continue
            if sent >= AT_ONCE:
                return
            messages = messages_of(assignment, value, channel, fine=fine)
            if not all(self._send(message) for message in messages):
                return
            sent += len(messages)
            self._known[name] = value


def messages_of(assignment: Assignment, value: int, channel: int, *, fine: bool) -> list[bytes]:
    """The messages with which the source would send this 14-bit value."""
    kind, number = assignment.source
    high, low = value >> 7, value & 127
    if kind == "note":
        return [bytes((0x90 | channel, number, high))]

    def controllers(*pairs: tuple[int, int]) -> list[bytes]:
        return [bytes((0xB0 | channel, cc, data)) for cc, data in pairs]

    if kind == "cc":
        return controllers((number, high), *(((number + 32, low),) if fine and number < 32 else ()))
    address = (99, 98) if kind == "nrpn" else (101, 100)
    return controllers((address[0], number >> 7), (address[1], number & 127), (6, high), (38, low))
