"""What the board reports to the control process. One module for all inputs: MIDI and OSC report the same events."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A control has been moved on the board; the value is in the control's unit."""

    control: str
    value: float


class Action(NamedTuple):
    """A footswitch was pressed that sets no control: "preset next" or "preset previous"."""

    name: str


class Notice(NamedTuple):
    """A fault of the board came or went: a line for the log."""

    text: str


Event = Change | Action | Notice
