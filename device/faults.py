"""Faults of the board's parts. Drivers raise PartError, the board makes a Fault of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from dsp.errors import UserError, reason

Kind = Literal["adc", "knob", "switch", "led"]
EFFECTS: dict[Kind, str] = {"adc": "its knobs keep their values", "knob": "it keeps its value"}
"""What the pedal does until the fault is repaired."""


class PartError(UserError, OSError):
    """A part cannot be opened, does not answer, or gives invalid data."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {remedy}" if remedy else reason)
        self.reason, self.remedy = reason, remedy


class PartName(NamedTuple):
    """A part of the profile. As a string: `adc 1`, `knob x`."""

    kind: Kind
    name: str
    """The control of a knob; else the number of the row, from 1."""
    where: str
    """In the profile, for people: `mine.toml, knob 3 (y), channel 2`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Fault(NamedTuple):
    """What is wrong with a part of the board."""

    part: PartName
    reason: str
    remedy: str

    @classmethod
    def of(cls, part: PartName, error: OSError) -> Fault:
        if isinstance(error, PartError):
            return cls(part, error.reason, error.remedy)
        return cls(part, reason(error), "")

    @property
    def cause(self) -> str:
        """Reason and remedy. Parts that fail for the same cause have one cause text."""
        return f"{self.reason}: {self.remedy}" if self.remedy else self.reason

    @property
    def text(self) -> str:
        """One line: where, what is wrong, what to do, what the pedal does until then."""
        effect = EFFECTS.get(self.part.kind)
        return f"{self.part.where}: {self.cause}" + (f"; {effect}" if effect else "")
