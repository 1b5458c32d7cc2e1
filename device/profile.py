"""Board profiles: where each pot, switch and LED is connected, and its function. TOML files.

The keys are explained in profiles/REFERENCE.md, which `nverb board help` prints. A profile in the
folder `profiles` of the data folder overrides the package's of the same name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from device.adc import AdcRow, Where
from device.chips import CHIPS
from device.controls import CONTROLS, LAWS, RENAMED, Control, find
from device.i2c import I2C1
from device.iio import BITS as DRIVER_BITS
from device.knobs import HYSTERESIS, MARGIN, MOTION_S, TAKEOVERS, TakeoverMode
from device.spi import SPI0
from dsp.errors import InvalidValue, did_you_mean
from dsp.names import name_key, shown
from models.reading import MalformedFile, read_file, toml_table

PACKAGED = Path(__file__).parent / "profiles"
REFERENCE = PACKAGED / "REFERENCE.md"
LED_SHOWS = ("on", "clip", "fault", "activity")
ACTIONS = (
    "preset next",
    "preset previous",
    "recording next",
    "recording previous",
    "scene toggle",
    "tap",
    "measure",
)
HIGHEST_PI_LINE = 27
MAX_BYTES = 65_536


class ProfileError(InvalidValue):
    """A profile is invalid. The message has file, row and remedy."""


@dataclass(frozen=True)
class KnobRow:
    """Fields as the keys above; low, high, hysteresis are fractions of the converter's range."""

    control: Control
    """With the row's own law and range."""
    adc: int
    channel: int
    takeover: TakeoverMode
    inverted: bool
    low: float
    high: float
    hysteresis: float
    motion_ms: float
    pedal: bool


@dataclass(frozen=True)
class SwitchRow:
    line: int
    action: str
    control: str | None
    """The switch control that the action sets; None for other actions."""
    hold: bool = False
    long: SwitchRow | None = None
    """The action after LONG_S; `action` then waits for the release."""
    inverted: bool = False
    """Its contacts are closed while it is not pressed."""
    latching: bool = False
    """It changes at each step and stays so."""


@dataclass(frozen=True)
class LedRow:
    line: int
    shows: str


@dataclass(frozen=True)
class Profile:
    name: str
    title: str
    path: Path
    scan_hz: float
    gpiochip: int | None
    adcs: tuple[AdcRow, ...]
    knobs: tuple[KnobRow, ...]
    switches: tuple[SwitchRow, ...]
    leds: tuple[LedRow, ...]

    @property
    def is_simulated(self) -> bool:
        return any(adc.bus == "sim" for adc in self.adcs)


def paths(folder: Path | None = None) -> dict[str, Path]:
    """All profiles by name. folder: the data folder, whose profiles override the package's.

    Raises OSError if that folder cannot be read: a profile of the package does not replace an own
    one then.
    """
    found = {path.stem: path for path in sorted(PACKAGED.glob("*.toml"))}
    if folder is not None:
        own = folder / "profiles"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = sorted(name for name in os.listdir(own) if name.endswith(".toml"))
            found.update({Path(name).stem: own / name for name in names})
    return found


def load(name: str, folder: Path | None = None) -> Profile:
    """The profile of a name, or of a path that ends in .toml. Raises ProfileError, OSError."""
    path = find_path(name, folder)
    return parse(_table(path), path)


def find_path(name: str, folder: Path | None = None) -> Path:
    """The path of a profile. Raises ProfileError with the nearest name."""
    if name.endswith(".toml"):
        return Path(name)
    known = paths(folder)
    if name in known:
        return known[name]
    alike = [path for other, path in known.items() if name_key(other) == name_key(name)]
    if len(alike) != 1:
        hint = shown(did_you_mean(name, known))
        raise ProfileError(f"no board profile {name!r}: {hint}")
    return alike[0]


def leds_of(name: str, folder: Path | None = None) -> Profile:
    """Of an invalid profile the LEDs, if their rows are valid, so that the fault LED can flash."""
    path = Path(name)
    with contextlib.suppress(ProfileError, OSError):
        path = find_path(name, folder)
        table = _table(path)
        return parse({key: table[key] for key in ("gpiochip", "led") if key in table}, path)
    return parse({}, path)


def _table(path: Path) -> dict[str, Any]:
    try:
        return toml_table(read_file(path, MAX_BYTES), str(path))
    except MalformedFile as error:
        raise ProfileError(str(error)) from None


def parse(table: Mapping[str, Any], path: Path) -> Profile:
    """The profile of a parsed file. Raises ProfileError."""
    top = _Row(table, str(path))
    title = shown(top.take("title", str, path.stem))
    scan_hz = top.number("scan_hz", 50, 1000, 200)
    gpiochip = None if "gpiochip" not in table else top.integer("gpiochip", 0, 63)
    adcs = tuple(_adc(row) for row in top.rows("adc"))
    knobs = tuple(_knob(row, adcs) for row in top.rows("knob"))
    switches = tuple(_switch(row) for row in top.rows("switch"))
    leds = tuple(_led(row) for row in top.rows("led"))
    top.done()
    profile = Profile(path.stem, title, path, scan_hz, gpiochip, adcs, knobs, switches, leds)
    _reject_shared(profile)
    if gpiochip is None:
        _reject_reserved(profile)
    return profile


def _lines(profile: Profile) -> list[tuple[str, int]]:
    """The row and the line of each switch and LED."""
    lines = [(f"switch {number}", row.line) for number, row in enumerate(profile.switches, 1)]
    return lines + [(f"led {number}", row.line) for number, row in enumerate(profile.leds, 1)]


def _reject_shared(profile: Profile) -> None:
    """Raise ProfileError if two rows have the same place, input, control or line."""
    used: dict[tuple[object, ...], str] = {}

    def claim(what: tuple[object, ...], row: str, words: str) -> None:
        if what in used:
            remedy = f"is taken by {used[what]}: give each its own"
            raise ProfileError(f"{profile.path}, {row}: {words} {remedy}")
        used[what] = row

    for number, adc in enumerate(profile.adcs, 1):
        claim(("adc", adc.bus, adc.where), f"adc {number}", str(adc))
        if adc.bus == "pins":
            for line in adc.where:  # converters may share all lines but select
                used.setdefault(("line", line), f"adc {number}")
    for number, knob in enumerate(profile.knobs, 1):
        row = f"knob {number} ({knob.control.name})"
        claim(("input", knob.adc, knob.channel), row, f"channel {knob.channel} of adc {knob.adc}")
        claim(("control", knob.control.name), row, f"the control {knob.control.name}")
    for row, line in _lines(profile):
        claim(("line", line), row, f"line {line}")


def _reject_reserved(profile: Profile) -> None:
    """Raise ProfileError for a line that a Raspberry Pi lacks or that is part of a bus."""
    reserved: set[int] = set()
    for adc in profile.adcs:
        if adc.bus == "spi" and adc.where[0] == 0:
            reserved.update(*SPI0)
        if adc.bus == "i2c" and adc.where[0] == 1:
            reserved.update(I2C1)
    for row, line in _lines(profile):
        where = f"{profile.path}, {row}: line {line}"
        if line in reserved:
            raise ProfileError(f"{where} belongs to the converter's bus: use another")
        if line > HIGHEST_PI_LINE:
            raise ProfileError(f"{where}: a Raspberry Pi has lines 0 to {HIGHEST_PI_LINE}")


_LIMITS = {"spi": (6, 7), "pins": (63, 63, 63, 63), "i2c": (31, 0x77)}
"""Highest valid numbers, by bus."""


def _adc(row: _Row) -> AdcRow:
    name = row.choice("chip", tuple(CHIPS))
    chip = CHIPS[name]
    buses = [bus for bus in (*chip.buses, "sim") if bus in row]
    if len(buses) != 1:
        row.fail(f"say where the {name} is with one of: {', '.join((*chip.buses, 'sim'))}")
    bus = buses[0]
    where: Where
    if bus == "name":
        where = str(row.take("name", str))
    elif bus == "sim":
        where = str(row.choice("sim", chip.simulations))
    else:
        where = row.numbers(bus, _LIMITS[bus])
    fault = chip.place_fault(bus, where)
    if fault:
        row.fail(fault)
    bits = chip.bits
    if not bits:
        known = DRIVER_BITS.get(where) if isinstance(where, str) else None
        if known is None and "bits" not in row:
            row.fail(f"add bits = (the resolution of {where!r}, which its driver does not report)")
        bits = row.integer("bits", 4, 24, known)
    row.done()
    return AdcRow(name, bus, where, bits)


def _knob(row: _Row, adcs: tuple[AdcRow, ...]) -> KnobRow:
    control = row.control()
    if not adcs:
        row.fail("the profile has no adc row: add one")
    adc = row.integer("adc", 0, len(adcs) - 1, 0)
    chip = adcs[adc].chip
    channels = CHIPS[chip].channels
    channel = row.integer(
        "channel", 0, channels - 1, hint=f"{chip} has channels 0 to {channels - 1}"
    )
    if "law" in row or "minimum" in row or "maximum" in row:
        low = row.number("minimum", control.minimum, control.maximum, control.minimum)
        high = row.number("maximum", control.minimum, control.maximum, control.maximum)
        law = row.choice("law", LAWS, control.law)
        try:
            control = control._replace(minimum=low, maximum=high, law=law).checked()
        except ValueError as error:
            row.fail(str(error))
    low = row.number("low", 0, 1, MARGIN)
    high = row.number("high", 0, 1, 1 - MARGIN)
    if high - low < 0.1:
        remedy = "high must exceed low by 0.1; for swapped ends set inverted = true"
        row.fail(f"low = {low:g}, high = {high:g}: {remedy}")
    pedal = row.take("pedal", bool, False)
    result = KnobRow(
        control,
        adc,
        channel,
        row.choice("takeover", TAKEOVERS, "jump" if pedal else "pickup"),
        row.take("inverted", bool, False),
        low,
        high,
        row.number("hysteresis", 0, 0.05, HYSTERESIS),
        row.number("motion_ms", 0.1, 1000, MOTION_S * 1000),
        pedal,
    )
    row.done()
    return result


def _switch(row: _Row) -> SwitchRow:
    line = row.integer("line", 0, 511)
    short = _action(row, line, row.take("action", str))
    long = _action(row, line, row.take("long", str)) if "long" in row else None
    inverted = row.take("inverted", bool, False)
    latching = row.take("latching", bool, False)
    row.done()
    if long is not None and (short.hold or long.hold):
        row.fail("an action with ' hold' needs its own switch: it acts on press and on release")
    if latching and (long is not None or short.hold):
        row.fail("a latching switch cannot be held: use one action, without ' hold' and long")
    if latching and inverted:
        row.fail("a latching switch acts at each step, so inverted has no meaning: leave it out")
    return dataclasses.replace(short, long=long, inverted=inverted, latching=latching)


def _action(row: _Row, line: int, action: str) -> SwitchRow:
    name, _, hold = action.partition(" ")
    name = RENAMED.get(name, name)
    action = f"{name} {hold}" if hold else name
    switches = [control.name for control in CONTROLS if control.is_switch]
    if action in ACTIONS:
        return SwitchRow(line, action, None)
    if name in switches and hold in ("", "hold"):
        return SwitchRow(line, action, name, bool(hold))
    actions = f"{', '.join((*ACTIONS, *switches))}; those of controls also with ' hold'"
    row.fail(f"no action {action!r}: there are {actions}")


def _led(row: _Row) -> LedRow:
    result = LedRow(row.integer("line", 0, 511), row.choice("shows", LED_SHOWS))
    row.done()
    return result


class _Row:
    """A table of the file, read key by key. Every error has the file and the row."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = table
        self._where = where
        self._seen: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def fail(self, what: str) -> NoReturn:
        raise ProfileError(f"{self._where}: {what}")

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        self._seen.add(key)
        value = self._table.get(key, default)
        if value is None:
            self.fail(f"{key} is missing")
        if type(value) is not kind:
            self.fail(f"{key} = {value!r}: must be {'text' if kind is str else 'true or false'}")
        return value

    def number(
        self, key: str, low: float, high: float, default: float | None = None, hint: str = ""
    ) -> float:
        self._seen.add(key)
        value = self._table.get(key, default)
        if value is None:
            self.fail(f"{key} is missing")
        if type(value) not in (int, float) or not low <= value <= high:
            self.fail(f"{key} = {value!r}: {hint or f'a number from {low:g} to {high:g}'}")
        return float(value)

    def integer(
        self, key: str, low: int, high: int, default: int | None = None, hint: str = ""
    ) -> int:
        value = self.number(key, low, high, default, hint or f"a whole number from {low} to {high}")
        if value != int(value):
            self.fail(f"{key} = {value:g}: a whole number from {low} to {high}")
        return int(value)

    def numbers(self, key: str, limits: tuple[int, ...]) -> tuple[int, ...]:
        self._seen.add(key)
        value = self._table[key]
        if (
            not isinstance(value, list)
            or len(value) != len(limits)
            or not all(
                type(number) is int and 0 <= number <= top
                for number, top in zip(value, limits, strict=True)
            )
        ):
            self.fail(
                f"{key} = {value!r}: a list of {len(limits)} whole numbers, at most {list(limits)}"
            )
        return tuple(value)

    def choice(self, key: str, choices: tuple[Any, ...], default: Any = None) -> Any:
        value = self.take(key, str, default)
        if value not in choices:
            self.fail(f"{key} = {value!r}: {did_you_mean(value, choices)}")
        return value

    def control(self) -> Control:
        name = self.take("control", str)
        try:
            return find(name)
        except ValueError as error:
            self.fail(str(error))

    def rows(self, key: str) -> list[_Row]:
        self._seen.add(key)
        value = self._table.get(key, [])
        if (
            not isinstance(value, list)
            or len(value) > 64
            or not all(isinstance(row, dict) for row in value)
        ):
            self.fail(f"{key} must be a list of at most 64 rows, {key} = [ {{ ... }}, ... ]")
        names = [
            row.get("control", row.get("action", row.get("shows", row.get("chip", ""))))
            for row in value
        ]
        return [
            _Row(
                row,
                f"{self._where}, {key} {number}"
                + (f" ({name})" if isinstance(name, str) and name else ""),
            )
            for number, (row, name) in enumerate(zip(value, names, strict=True), 1)
        ]

    def done(self) -> None:
        for key in self._table:
            if key not in self._seen:
                self.fail(f"unknown key {key!r}: {did_you_mean(key, sorted(self._seen))}")
