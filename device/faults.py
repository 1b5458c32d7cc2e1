"""Faults of the board's parts. Drivers raise PartError, the board makes a Fault of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypedDict

from dsp.errors import UserError, reason

Kind = Literal["adc", "knob", "switch", "led", "profile"]
EFFECTS: dict[Kind, str] = {
    "adc": "its knobs keep their values",
    "knob": "it keeps its value",
    "profile": "the last valid one stays, after a start none",
}
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
    """The control of a knob; of a switch the number of the row, from 1; of a profile its name."""
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


class FaultGroup(TypedDict):
    """Parts that fail for the same reason: one line for a person."""

    parts: str
    """Such as `mine.toml: switches 1 to 4, leds 1, 3`."""
    reason: str
    remedy: str
    effect: str
    """What the pedal does until then; "" if there is nothing to say."""


def grouped(faults: Iterable[Fault]) -> list[FaultGroup]:
    """One group for each cause, in the order of the faults."""
    groups: dict[tuple[str, str], list[PartName]] = {}
    for fault in faults:
        groups.setdefault((fault.reason, fault.remedy), []).append(fault.part)
    return [
        {
            "parts": parts[0].where if len(parts) == 1 else _names(parts),
            "reason": reason,
            "remedy": remedy,
            "effect": _effect(parts),
        }
        for (reason, remedy), parts in groups.items()
    ]


def _effect(parts: list[PartName]) -> str:
    kinds = [part.kind for part in parts]
    if kinds.count("knob") > 1:
        return "they keep their values"
    return next((EFFECTS[kind] for kind in kinds if kind in EFFECTS), "")


def _names(parts: list[PartName]) -> str:
    """`mine.toml: knobs x, y, switches 1 to 4`."""
    kinds: dict[Kind, list[str]] = {}
    for part in parts:
        kinds.setdefault(part.kind, []).append(part.name)
    words = [_of_kind(kind, names) for kind, names in kinds.items()]
    return f"{parts[0].where.partition(',')[0]}: {', '.join(words)}"


def _of_kind(kind: Kind, names: list[str]) -> str:
    if len(names) == 1:
        return f"{kind} {names[0]}"
    word = "switches" if kind == "switch" else f"{kind}s"
    first = names[0]
    if len(names) > 2 and first.isdecimal():
        numbers = range(int(first), int(first) + len(names))
        if names == [str(number) for number in numbers]:
            return f"{word} {first} to {names[-1]}"
    return f"{word} {', '.join(names)}"
