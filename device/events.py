"""What happened on the board. MIDI and OSC report their events to the control process likewise."""

from __future__ import annotations

from typing import NamedTuple

from device.faults import Fault


class Change(NamedTuple):
    """A control was moved; the value is in the control's unit."""

    control: str
    value: float


class Action(NamedTuple):
    """A footswitch that sets no control was pressed: "preset next", "tap" and the like."""

    name: str


class Notice(NamedTuple):
    """A line for the log: a fault came or went."""

    text: str
    fault: Fault | None = None
    """The fault that came; None if it went, and for lines that no fault caused."""


Event = Change | Action | Notice
