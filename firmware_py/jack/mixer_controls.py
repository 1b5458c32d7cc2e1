"""The controls of a sound card's mixer, read from the output of `amixer contents`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dsp.errors import UserError

Value = int | bool | str
"""A value to set: a number, a switch, or an item of an enumeration by its text."""


@dataclass(frozen=True)
class Scale:
    """The decibels of the raw values from `low` to `high`."""

    low: int
    high: int
    kind: str
    low_db: float
    more_db: float
    """Of "dBscale" the step, of all others the decibels at `high`."""

    def db(self, value: int) -> float:
        if self.kind == "dBscale":
            return self.low_db + self.more_db * (value - self.low)
        share = (value - self.low) / max(self.high - self.low, 1)
        if self.kind == "dBlinear":
            low, high = 10 ** (self.low_db / 20), 10 ** (self.more_db / 20)
            return 20 * math.log10(max(low + share * (high - low), 1e-6))
        return self.low_db + share * (self.more_db - self.low_db)


@dataclass(frozen=True)
class MixerControl:
    """A control of a card's mixer."""

    numid: int
    name: str
    """With ",INDEX" if it is not the first of this name."""
    kind: str
    """BOOLEAN, INTEGER or ENUMERATED."""
    writable: bool
    values: tuple[int, ...]
    """One for each channel; of an enumeration the number of the item."""
    low: int = 0
    high: int = 1
    items: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ()

    def db(self, value: int) -> float | None:
        """The decibels of a raw value; None if the card does not tell."""
        if self.items:
            found = _DB_ITEM.fullmatch(self.items[value]) if value < len(self.items) else None
            return float(found[1]) if found else None
        return next((s.db(value) for s in self.scales if s.low <= value <= s.high), None)

    @property
    def has_db(self) -> bool:
        return self.db(self.low) is not None and self.db(self.high) is not None

    def at_db(self, db: float) -> int:
        """The raw value nearest to `db`. Only if `has_db`."""
        step = max((self.high - self.low) // 2048, 1)
        values = range(self.low, self.high + 1, step)
        return min(values, key=lambda value: abs((self.db(value) or 0.0) - db))

    def raw(self, value: Value) -> int:
        """The raw value of a number, a switch or an item. Raises UserError for an unknown item."""
        if isinstance(value, str):
            if value not in self.items:
                raise UserError(f"{self.name}: no item {value!r}: {', '.join(self.items)}")
            return self.items.index(value)
        return min(max(int(value), self.low), self.high)

    def words(self) -> str:
        """The value for a reader: "on", "Line In", "23 of 31 (0.0 dB)"."""
        return " / ".join(dict.fromkeys(self._word(value) for value in self.values))

    def _word(self, value: int) -> str:
        if self.kind == "BOOLEAN":
            return "on" if value else "off"
        if self.items:
            return self.items[value] if value < len(self.items) else f"item {value}"
        db = self.db(value)
        text = f"{value} of {self.high}" if self.low == 0 else f"{value}, {self.low} to {self.high}"
        return text if db is None else f"{text} ({db:.1f} dB)"


_DB_ITEM = re.compile(r"\+?(-?\d+(?:\.\d+)?) ?dB")
_HEAD = re.compile(r"numid=(\d+),iface=MIXER,name='(.*?)'(?:,index=(\d+))?(?:,.*)?$")
_FIELD = re.compile(r"(\w+)=([^,]*)")
_SCALE = re.compile(r"\| (dB\w+?)-min=(-?[\d.]+)dB,(?:step|max)=(-?[\d.]+)dB")
_RANGE = re.compile(r"rangemin=(-?\d+),+rangemax=(-?\d+)")


def parse(text: str) -> list[MixerControl]:
    """The switches, volumes and enumerations in the output of `amixer contents`."""
    found = []
    for part in re.split(r"^(?=numid=)", text, flags=re.MULTILINE):
        lines = part.splitlines()
        head = _HEAD.match(lines[0]) if lines else None
        control = _control(head, lines[1:]) if head else None
        if control is not None:
            found.append(control)
    return found


def _control(head: re.Match[str], lines: Sequence[str]) -> MixerControl | None:
    facts: dict[str, str] = {}
    items: list[str] = []
    values = ""
    for line in (line.strip() for line in lines):
        if item := re.match(r"; Item #\d+ '(.*)'", line):
            items.append(item[1])
        elif line.startswith("; "):
            facts |= dict(_FIELD.findall(line))
        elif line.startswith(": values="):
            values = line.removeprefix(": values=")
    kind = facts.get("type", "")
    if kind not in ("BOOLEAN", "INTEGER", "ENUMERATED"):
        return None
    try:
        raw = tuple(int({"on": "1", "off": "0"}.get(v, v)) for v in values.split(","))
        low, high = (int(facts["min"]), int(facts["max"])) if kind == "INTEGER" else (0, 1)
    except (ValueError, KeyError):
        return None
    high = max(len(items) - 1, 0) if items else high
    return MixerControl(
        numid=int(head[1]),
        name=head[2] + (f",{head[3]}" if head[3] else ""),
        kind=kind,
        writable="w" in facts.get("access", ""),
        values=raw,
        low=low,
        high=high,
        items=tuple(items),
        scales=_scales(lines, low, high),
    )


def _scales(lines: Sequence[str], low: int, high: int) -> tuple[Scale, ...]:
    """One scale, or one for each part of a "dBrange"."""
    found = []
    part = low, high
    for line in lines:
        if limits := _RANGE.search(line):
            part = int(limits[1]), int(limits[2])
        elif scale := _SCALE.search(line):
            found.append(Scale(*part, scale[1], float(scale[2]), float(scale[3])))
    return tuple(found)
