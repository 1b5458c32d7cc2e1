"""What one MIDI controller, note or program does: its source, its target, and how it is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal, NamedTuple, cast

from device.controls import LAWS, Control, Law, find, to_position, to_value
from device.events import Action, Change
from device.profile import ACTIONS
from dsp.errors import InvalidValue
from firmware_py.control.inputs import Event, Flip, Turn

Kind = Literal["cc", "nrpn", "rpn", "note", "program"]
KINDS: tuple[Kind, ...] = ("cc", "nrpn", "rpn", "note", "program")
HIGHEST_CC = 119
"""120 and above are channel mode messages: all sound off, all notes off."""
FULL = 127 << 7
"""The 14-bit value of a controller's upper end. Controllers with seven bits reach it with 127,
those with fourteen with any lower half: one formula for both, so the value never steps back."""
ON = 64
"""From here on a controller is pressed or a switch on, as in the MIDI standard."""

Mode = Literal["absolute", "momentary", "toggle", "trigger", "twos", "offset", "sign"]
MODES: dict[Mode, str] = {
    "absolute": "the control follows the value; a switch is on from 64",
    "momentary": "on while pressed: the same as absolute",
    "toggle": "each press switches between on and off",
    "trigger": "each message does, whatever its value: a latching button",
    "twos": "endless encoder: 1 is up, 127 is down",
    "offset": "endless encoder: 65 is up, 63 is down",
    "sign": "endless encoder: 1 is up, 65 is down",
}
RELATIVE: tuple[Mode, ...] = ("twos", "offset", "sign")


class Source(NamedTuple):
    """What moves on a MIDI controller."""

    kind: Kind
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number + (self.kind == 'program')}"


def describe(source: Source) -> str:
    """The source as manuals call it: `CC 20`, `NRPN 133 (1, 5)`."""
    match source.kind:
        case "cc":
            return f"CC {source.number}"
        case "nrpn" | "rpn":
            halves = f"({source.number >> 7}, {source.number & 127})"
            return f"{source.kind.upper()} {source.number} {halves}"
    return str(source)


_SOURCE = re.compile(r"\s*(?:(cc|nrpn|rpn|note|program)\s*)?(\d{1,5})\s*", re.IGNORECASE)


def parse_source(text: str) -> Source:
    """The source of `20`, `cc 20`, `nrpn 133`, `note 60`, `program 6` (from 1).

    Raises InvalidValue.
    """
    found = _SOURCE.fullmatch(text[:64])
    if found is None:
        raise InvalidValue(
            f"{text[:64]!r}: write a controller such as 20 or 'cc 20', or 'nrpn 133', 'rpn 0', "
            "'note 60', 'program 6'"
        )
    kind = cast(Kind, (found[1] or "cc").lower())
    number = int(found[2]) - (kind == "program")
    highest = {"cc": HIGHEST_CC, "nrpn": 16383, "rpn": 16382}.get(kind, 127)
    if not 0 <= number <= highest:
        first = int(kind == "program")
        raise InvalidValue(f"{kind} {found[2]}: write a number from {first} to {highest + first}")
    return Source(kind, number)


@lru_cache(maxsize=256)
def _ranged(name: str, minimum: float | None, maximum: float | None, law: Law | None) -> Control:
    """The control with another range and law where they are given: asked for at each message."""
    control = find(name)
    return control._replace(
        minimum=control.minimum if minimum is None else minimum,
        maximum=control.maximum if maximum is None else maximum,
        law=law or control.law,
    ).checked()


@dataclass(frozen=True)
class Assignment:
    """A source and how it is meant. What is None is that of the control."""

    source: Source
    mode: Mode = "absolute"
    minimum: float | None = None
    maximum: float | None = None
    law: Law | None = None
    """The taper, as in a row of a board's profile."""
    inverted: bool = False
    ends: tuple[int, int] | None = None
    """The lowest and the highest 14-bit value that an expression pedal reaches."""

    def control(self, name: str) -> Control:
        """The control with the range and taper of this assignment."""
        return _ranged(name, self.minimum, self.maximum, self.law)

    def events(self, name: str, value: int, *, pressed: bool) -> list[Event]:
        """What the source does to control or action `name` at a 14-bit value.

        pressed: it has just been pressed, see `Presses`.
        """
        acts = pressed or self.mode == "trigger"
        if name in ACTIONS:
            return [Action(name)] if acts else []
        control = self.control(name)
        if self.mode in RELATIVE:
            return [Turn(control, steps / 127)] if (steps := self._steps(value >> 7)) else []
        if self.mode in ("toggle", "trigger") or self.source.kind == "program":
            return [Flip(control)] if acts else []
        if control.is_switch:
            on = (value >> 7 >= ON) != self.inverted
            return [Change(name, to_value(control, float(on)))]
        return [Change(name, to_value(control, self._position(value)))]

    def _position(self, value: int) -> float:
        low, high = self.ends or (0, FULL)
        position = min(max((value - low) / (high - low), 0.0), 1.0)
        return 1 - position if self.inverted else position

    def _steps(self, value: int) -> int:
        """The steps of an encoder, up positive."""
        match self.mode:
            case "twos":
                steps = value if value < 64 else value - 128
            case "offset":
                steps = value - 64
            case _:
                steps = value if value < 64 else 64 - value
        return -steps if self.inverted else steps

    def value_of(self, name: str, control_value: float) -> int:
        """The 14-bit value at which the control has this value: the inverse of `events`."""
        position = to_position(self.control(name), control_value)
        low, high = self.ends or (0, FULL)
        return round(low + (high - low) * (1 - position if self.inverted else position))

    def json(self) -> dict[str, object]:
        """The fields that are not the default, for midi.json."""
        table: dict[str, object] = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "source" and getattr(self, field.name) != field.default
        }
        return {"source": str(self.source)} | table

    def describe(self) -> str:
        """The meaning in words, for `nverb midi list`."""
        words = [describe(self.source)]
        if self.mode != "absolute":
            words.append(self.mode)
        if self.minimum is not None or self.maximum is not None:
            low = "" if self.minimum is None else f"{self.minimum:g}"
            high = "" if self.maximum is None else f"{self.maximum:g}"
            words.append(f"{low}..{high}")
        if self.law is not None:
            words.append(self.law)
        if self.inverted:
            words.append("inverted")
        if self.ends is not None:
            words.append(f"ends {self.ends[0] >> 7} to {self.ends[1] >> 7}")
        return ", ".join(words)


def make_assignment(name: str, source: Source, options: Mapping[str, object]) -> Assignment:
    """The checked assignment of a source to control or action `name`.

    options: fields of Assignment by name. Raises InvalidValue.
    """
    known = {field.name for field in fields(Assignment)} - {"source"}
    if unknown := sorted(set(options) - known):
        raise InvalidValue(f"{unknown[0][:40]!r}: write one of {', '.join(sorted(known))}")
    mode = options.get("mode", default_mode(name, source))
    if mode not in MODES:
        raise InvalidValue(f"{repr(mode)[:40]}: write one of {', '.join(MODES)}")
    if name in ACTIONS:
        if mode not in ("toggle", "trigger"):
            raise InvalidValue(f"{name}: it can be toggle (on a press) or trigger (each message)")
        return Assignment(source, cast(Mode, mode))
    control = find(name)
    numbers = {}
    for end in ("minimum", "maximum"):
        number = options.get(end)
        if number is not None:
            if type(number) not in (int, float) or not (
                control.minimum <= cast(float, number) <= control.maximum
            ):
                text = f"{control.minimum:g} to {control.maximum:g} {control.unit}".rstrip()
                raise InvalidValue(f"{name}, {end} {repr(number)[:40]}: the range is {text}")
            number = float(cast(float, number))
        numbers[end] = number
    law = options.get("law")
    if law is not None and (law not in LAWS or control.is_switch != (law == "switch")):
        raise InvalidValue(f"{repr(law)[:40]}: {name} can have {', '.join(_laws(control))}")
    made = Assignment(
        source,
        mode,
        numbers["minimum"],
        numbers["maximum"],
        law,
        options.get("inverted", False) is True,
        _ends(options.get("ends")),
    )
    try:
        made.control(name)
    except ValueError as error:
        raise InvalidValue(str(error)) from None
    return made


def _laws(control: Control) -> list[str]:
    return ["switch"] if control.is_switch else [law for law in LAWS if law != "switch"]


def _ends(ends: object) -> tuple[int, int] | None:
    if ends is None:
        return None
    if isinstance(ends, list | tuple) and len(ends) == 2:
        low, high = ends
        if type(low) is int and type(high) is int and 0 <= low < high <= FULL:
            return low, high
    raise InvalidValue(f"ends {repr(ends)[:40]}: write two numbers from 0 to {FULL}, rising")


def default_mode(name: str, source: Source) -> Mode:
    """How a source is meant if nobody says: pads and programs have no value to follow."""
    if name in ACTIONS:
        return "toggle"
    return "toggle" if source.kind in ("note", "program") and find(name).is_switch else "absolute"
