"""The board at work: knobs and footswitches in, LEDs out. The control process polls it; nothing here waits.

    with Board.open("pi-mcp3008", data_folder) as board:
        for name, value in values.items():
            board.control_moved(name, value)          # what plays already: knobs take over from there
        while True:
            for event in board.scan():                # board.scan_s apart: 5 ms on most boards
                match event:
                    case Change(control, value): ...  # a knob, or a switch that sets a control
                    case Action(name): ...            # "preset next", "preset previous"
                    case Notice(text): ...            # a fault came or went: a line for the log
            board.control_moved("mix", 40.0)          # after a preset, MIDI or command: knobs and switches must know
            board.light("clip")                       # also "activity": lit now and for a moment
            board.set_fault("audio", True)            # faults that others see; the board shows its own

A profile that makes no sense raises ProfileError at once. Hardware that does not answer never raises: its knobs keep
their values, a Notice says what and where, the fault LED flashes, and the board tries again every second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from device.adc import Adc, Ads1115, Iio, Mcp3xxx, find_iio, open_i2c, open_spi, open_spi_pins
from device.controls import CONTROLS, find
from device.knobs import Knob, KnobFilter, Takeover
from device.lines import (
    CLIP_HOLD_S,
    FAULTS,
    Debounce,
    Input,
    Output,
    TapTempo,
    fault_light,
    open_input,
    open_output,
)
from device.profile import AdcRow, LedRow, Profile, ProfileError, SwitchRow, lights_of, load
from device.simulated import SimulatedBoard

RETRY_S = 1.0
LONG_S = 0.5
"""For which a switch is held to do its second thing."""
LED_S = 0.02
"""Between two looks at the LEDs."""
MAX_PREDELAY_MS = find("predelay").maximum


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


class Board:
    """Made by `open`. All methods from one thread."""

    def __init__(
        self,
        profile: Profile,
        calibration: dict[str, tuple[float, float]],
        simulation: SimulatedBoard | None,
        clock: Callable[[], float],
        root: Path,
    ) -> None:
        self.profile = profile
        self.simulation = simulation
        """The hands, if the board is simulated; else None."""
        self.scan_s = 1 / profile.scan_hz
        """Seconds between scans for which the profile is made."""
        self._clock = clock
        self._faults: set[str] = set()
        self._pending: list[Event] = []
        self._light: dict[str, float] = {}
        self._leds_at = 0.0
        self._states = {control.name: control.default for control in CONTROLS if control.is_switch}
        self._taps = TapTempo()
        self._converters = [
            _Converter(profile, number, row, calibration, simulation, root)
            for number, row in enumerate(profile.adcs)
        ]
        self.knobs: dict[str, Knob] = {
            knob.control.name: knob for converter in self._converters for knob in converter.knobs
        }
        self.pedals = frozenset(knob.control.name for knob in profile.knobs if knob.pedal)
        """Knobs that are expression pedals: may be unplugged at any time."""
        self._switches = [
            _Switch(profile, number, row, simulation)
            for number, row in enumerate(profile.switches, 1)
        ]
        self._leds = [
            _Led(profile, number, row, simulation) for number, row in enumerate(profile.leds, 1)
        ]

    @classmethod
    def open(
        cls,
        name: str = "sim",
        folder: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
    ) -> Board:
        """The board of that profile (a name, or a path that ends in .toml).

        folder: the data folder, with own profiles and the calibration. clock (s) and root (of the file system, for
        /dev and /sys) are for tests. Raises ProfileError.
        """
        return cls._of(load(name, folder), folder, clock, root)

    @classmethod
    def bare(
        cls, name: str, folder: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> Board:
        """The board of a profile that makes no sense: LEDs at most, and the fault LED says so. Raises nothing."""
        board = cls(lights_of(name, folder), {}, None, clock, Path("/"))
        board.set_fault("profile", True)
        return board

    @classmethod
    def _of(
        cls, profile: Profile, folder: Path | None, clock: Callable[[], float], root: Path
    ) -> Board:
        simulation = SimulatedBoard(clock) if profile.is_simulated else None
        calibration, complaint = load_calibration(folder, profile.name)
        board = cls(profile, calibration, simulation, clock, root)
        if complaint:
            board._pending.append(Notice(complaint))
        return board

    def scan(self) -> list[Event]:
        """Reads all inputs once and drives the LEDs. What has happened since the last scan, oldest first."""
        now = self._clock()
        if self.simulation is not None:
            self.simulation.advance()
        events, self._pending = self._pending, []
        for converter in self._converters:
            codes = converter.read(now, events)
            if codes is None:
                continue
            for knob, code in zip(converter.knobs, codes, strict=True):
                if code is None:
                    continue
                value = knob.update(code, now)
                if value is not None:
                    events.append(Change(knob.control.name, value))
                if knob.filter.fault != converter.told[knob.control.name]:
                    events.append(Notice(converter.tell(knob)))
        for switch in self._switches:
            changed = switch.scan(now, events)
            if switch.row.long is None:
                events += self._stepped_on(switch.row, switch.pressed) if changed else []
            else:
                deed = switch.short_or_long(changed, now)
                events += self._stepped_on(deed, True) if deed is not None else []
        if now - self._leds_at >= LED_S:
            self._leds_at = now
            self._drive_leds(now, events)
        return _told_once(events)

    def control_moved(self, name: str, value: float) -> None:
        """Something other than the board has moved a control."""
        if name in self.knobs:
            self.knobs[name].control_moved(value)
        if name in self._states:
            self._states[name] = value

    def is_unread(self, name: str) -> bool:
        """Whether a knob of this name is there that has not said yet where it stands; never for an expression pedal."""
        return (
            name in self.knobs
            and name not in self.pedals
            and self.knobs[name].filter.position is None
        )

    def distances(self) -> dict[str, float]:
        """How far each knob has to turn to take over its control, signed, in travels; only those that are apart."""
        apart = {name: knob.takeover.distance for name, knob in self.knobs.items()}
        return {name: distance for name, distance in apart.items() if distance}

    def faults(self) -> dict[str, str]:
        """What is wrong with the board now: by the part's name, a line that says where and what to do."""
        found = {}
        for converter in self._converters:
            if converter.fault:
                found[converter.name] = converter.fault
            for knob in converter.knobs:
                if knob.filter.fault:
                    found[f"knob {knob.control.name}"] = converter.tell(knob)
        for part in (*self._switches, *self._leds):
            if part.fault:
                found[part.name] = part.fault
        return found

    def dead_knobs(self) -> set[str]:
        """Knobs whose converter does not answer."""
        return {
            knob.control.name
            for converter in self._converters
            if converter.fault
            for knob in converter.knobs
        }

    def switch_closed(self, number: int) -> bool:
        """Whether the switch of that row of the profile, from 0, is closed now."""
        return self._switches[number].pressed

    def set_fault(self, kind: str, present: bool) -> None:
        """Has the fault LED show a fault of somebody else: "audio", "room", "storage" or "profile"."""
        if kind not in FAULTS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(FAULTS)}")
        (self._faults.add if present else self._faults.discard)(kind)

    def light(self, what: str) -> None:
        """Lights the LED that shows "clip" or "activity", now and for CLIP_HOLD_S."""
        self._light[what] = self._clock() + CLIP_HOLD_S

    def close(self) -> None:
        """Puts out the LEDs and gives all lines and buses back."""
        for led in self._leds:
            led.write(False, 0.0, [])
        for converter in self._converters:
            converter.close()
        for part in (*self._switches, *self._leds):
            part.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stepped_on(self, row: SwitchRow, pressed: bool) -> list[Event]:
        if row.control is not None and (row.hold or pressed):
            state = float(pressed) if row.hold else 1 - self._states[row.control]
            self._states[row.control] = state
            return [Change(row.control, state)]
        if row.control is not None or not pressed:
            return []
        if row.action != "tap":
            return [Action(row.action)]
        change = self.tap()
        return [change] if change else []

    def tap(self) -> Change | None:
        """A tap for the pre-delay, whoever's foot it was: the change that follows from it, if one does."""
        interval_ms = self._taps.tap(self._clock())
        if interval_ms is None:
            return None
        while (
            interval_ms > MAX_PREDELAY_MS
        ):  # a half, a quarter, ... of the beat: the longest that fits
            interval_ms /= 2
        self.control_moved("predelay", interval_ms)
        return Change("predelay", interval_ms)

    def _drive_leds(self, now: float, events: list[Event]) -> None:
        faults = set(self._faults)
        for converter in self._converters:
            if converter.fault:
                faults.add("adc")
            if any(fault for name, fault in converter.told.items() if name not in self.pedals):
                faults.add("knob")
        if any(switch.fault for switch in self._switches):
            faults.add("knob")
        for led in self._leds:
            match led.row.shows:
                case "on":
                    lit = not self._states["bypass"]
                case "fault":
                    lit = fault_light(faults, now)
                case shows:
                    lit = self._light.get(shows, 0.0) > now
            led.write(lit, now, events)


class _Converter:
    """A converter and its knobs: opened again when it fails."""

    def __init__(
        self,
        profile: Profile,
        number: int,
        row: AdcRow,
        calibration: dict[str, tuple[float, float]],
        simulation: SimulatedBoard | None,
        root: Path,
    ) -> None:
        self.name = f"adc {number + 1}"
        self.fault: str | None = None
        self.knobs: list[Knob] = []
        self.told: dict[str, str | None] = {}
        self._where = f"{profile.path.name}, adc {number + 1}: {row}"
        self._profile = profile
        self._row = row
        self._rows = [knob for knob in profile.knobs if knob.adc == number]
        self._root = root
        self._chip = (
            simulation.add_chip(row, self._rows)
            if simulation is not None and row.bus == "sim"
            else None
        )
        self._calibration = calibration
        self._adc: Adc | None = None
        self._retry_at = 0.0
        self._codes: list[int | None] = []
        full_scale = (1 << row.bits) - 1 if row.chip != "ads1115" else Ads1115.supply_code(3.3)
        for knob in self._rows:
            low, high = calibration.get(knob.control.name, (knob.low, knob.high))
            position = KnobFilter(
                full_scale,
                low=low,
                high=high,
                inverted=knob.inverted,
                hysteresis=knob.hysteresis,
                motion_s=knob.motion_ms / 1000,
            )
            self.knobs.append(Knob(knob.control, position, Takeover(knob.takeover)))
            self.told[knob.control.name] = None

    def read(self, now: float, events: list[Event]) -> Sequence[int | None] | None:
        """The codes of its knobs, or None while it does not answer."""
        try:
            if self._adc is None:
                if now < self._retry_at or not self._rows:
                    return None
                self._adc = self._open()
            codes = self._adc.read()
            self._reject_dead(codes)
        except OSError as error:
            self.close()
            self._retry_at = now + RETRY_S
            fault = f"{self._where}: {error}"
            if fault != self.fault:
                events.append(Notice(f"{fault}; its knobs keep their values"))
            self.fault = fault
            return None
        if self.fault is not None:
            self.fault = None
            events.append(Notice(f"{self._where}: answers again"))
        self._codes = list(codes)
        return codes

    def tell(self, knob: Knob) -> str:
        self.told[knob.control.name] = fault = knob.filter.fault
        row = next(row for row in self._rows if row.control.name == knob.control.name)
        where = f"{self._profile.path.name}, knob {self._profile.knobs.index(row) + 1} ({row.control.name}), channel {row.channel}"
        return f"{where}: {fault}; its last value holds" if fault else f"{where}: reads well again"

    def close(self) -> None:
        if self._adc is not None:
            self._adc.close()
            self._adc = None

    def _reject_dead(self, codes: Sequence[int | None]) -> None:
        """Raises if all inputs fell to 0 between two scans, two of them from far: no two hands do that, a supply or data line does.
        The quickest turn of a knob takes 0.15 s from end to end, 19 ms for an eighth of it."""
        if any(codes) or None in codes or len(codes) < 2:
            return
        high = sum(
            1
            for code, knob in zip(self._codes, self.knobs, strict=False)
            if code and code > knob.filter.full_scale / 8
        )
        if high >= 2:
            raise OSError(
                "every channel reads 0 at once: check the chip's supply and its data line"
            )

    def _open(self) -> Adc:
        row = self._row
        channels = [knob.channel for knob in self._rows]
        name = row.chip
        if self._chip is not None:
            return Mcp3xxx(self._chip, row.bits, channels, name)
        if isinstance(row.where, str):
            return Iio(find_iio(row.where, self._root), row.bits, channels, name)
        if row.bus == "i2c":
            return Ads1115(open_i2c(row.where[0], self._root), row.where[1], channels, name)
        spi = (
            open_spi(row.where[0], row.where[1], self._root)
            if row.bus == "spi"
            else open_spi_pins(*row.where)
        )
        return Mcp3xxx(spi, row.bits, channels, name)


class _Part:
    """A line that is opened again when it fails."""

    def __init__(self, profile: Profile, kind: str, number: int, what: str) -> None:
        self.name = f"{kind} {number}"
        self.fault: str | None = None
        self._where = f"{profile.path.name}, {kind} {number} ({what})"
        self._retry_at = 0.0

    def _failed(self, error: OSError, now: float, events: list[Event]) -> None:
        self.close()
        self._retry_at = now + RETRY_S
        fault = f"{self._where}: {error}"
        if fault != self.fault:
            events.append(Notice(fault))
        self.fault = fault

    def _worked(self, events: list[Event]) -> None:
        if self.fault is not None:
            self.fault = None
            events.append(Notice(f"{self._where}: works again"))

    def close(self) -> None:
        raise NotImplementedError


class _Switch(_Part):
    def __init__(
        self, profile: Profile, number: int, row: SwitchRow, simulation: SimulatedBoard | None
    ) -> None:
        super().__init__(profile, "switch", number, row.action)
        self.row = row
        self._gpiochip = profile.gpiochip
        self._input: Input | None = (
            None if simulation is None else simulation.add_switch(row.action, row.line)
        )
        self._debounce = Debounce()
        self._since: float | None = None  # when it was pressed, until something has come of it

    @property
    def pressed(self) -> bool:
        return self._debounce.pressed

    def scan(self, now: float, events: list[Event]) -> bool:
        """True if it was stepped on or released."""
        if self._input is None and now < self._retry_at:
            return False
        try:
            if self._input is None:
                self._input = open_input(self.row.line, self._gpiochip)
            closed = self._input.read()
        except OSError as error:
            self._failed(error, now, events)
            return False
        self._worked(events)
        return self._debounce.update(closed, now)

    def short_or_long(self, changed: bool, now: float) -> SwitchRow | None:
        """Of a switch that can be held: what is due now. The short one on release, the long one when it was held for LONG_S."""
        if changed and self.pressed:
            self._since = now
        elif changed and self._since is not None:
            self._since = None
            return self.row
        if self.pressed and self._since is not None and now - self._since >= LONG_S:
            self._since = None
            return self.row.long
        return None

    def close(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None


class _Led(_Part):
    def __init__(
        self, profile: Profile, number: int, row: LedRow, simulation: SimulatedBoard | None
    ) -> None:
        super().__init__(profile, "led", number, row.shows)
        self.row = row
        self._gpiochip = profile.gpiochip
        self._output: Output | None = (
            None if simulation is None else simulation.add_led(row.shows, row.line)
        )
        self._lit: bool | None = None

    def write(self, lit: bool, now: float, events: list[Event]) -> None:
        if lit == self._lit or (self._output is None and now < self._retry_at):
            return
        try:
            if self._output is None:
                self._output = open_output(self.row.line, self._gpiochip)
            self._output.write(lit)
        except OSError as error:
            self._failed(error, now, events)
            return
        self._lit = lit
        self._worked(events)

    def close(self) -> None:
        self._lit = None
        if self._output is not None:
            self._output.close()
            self._output = None


def _told_once(events: list[Event]) -> list[Event]:
    """Of notices of one scan that give the same reason why a line cannot be had, the first alone."""
    reasons: set[str] = set()
    kept = []
    for event in events:
        if isinstance(event, Notice) and (", switch " in event.text or ", led " in event.text):
            reason = event.text.rpartition("): ")[2]
            if reason in reasons:
                continue
            reasons.add(reason)
        kept.append(event)
    return kept


CALIBRATION = "calibration.json"
"""In the data folder: {profile: {control: [low, high]}}, fractions of the converter's range."""


def read_calibrations(folder: Path) -> dict[str, dict[str, list[float]]]:
    """All that was calibrated, {} if nothing was. Raises ProfileError if the file makes no sense."""
    path = folder / CALIBRATION
    try:
        with open(path, "rb") as file:
            table = json.loads(file.read(65_536))
        for profile in table.values():
            for low, high in profile.values():
                if not 0 <= low < high <= 1:
                    raise ValueError
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise ProfileError(
            f"{path}: not a calibration: delete it, then run nverb board calibrate"
        ) from None
    return table  # type: ignore[no-any-return]


def load_calibration(
    folder: Path | None, profile: str
) -> tuple[dict[str, tuple[float, float]], str | None]:
    """Ends by control for this profile, and a line that says what is wrong with the file, if anything is."""
    if folder is None:
        return {}, None
    try:
        rows = read_calibrations(folder).get(profile, {})
    except (OSError, ProfileError) as error:
        return {}, f"{error}; the profile's ends hold until then"
    return {name: (low, high) for name, (low, high) in rows.items()}, None
