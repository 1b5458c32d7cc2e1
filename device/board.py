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

import time
from collections.abc import Callable
from pathlib import Path

from device.calibration import load_calibration
from device.controls import CONTROLS, find
from device.converter import Converter
from device.events import Action, Change, Event, Notice
from device.knobs import Knob
from device.lines import CLIP_HOLD_S, FAULTS, TapTempo, fault_light
from device.parts import Led, Switch
from device.profile import Profile, SwitchRow, lights_of, load
from device.simulated import SimulatedBoard

LED_S = 0.02
"""Between two looks at the LEDs."""
MAX_PREDELAY_MS = find("predelay").maximum


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
            Converter(profile, number, row, calibration, simulation, root)
            for number, row in enumerate(profile.adcs)
        ]
        self.knobs: dict[str, Knob] = {
            knob.control.name: knob for converter in self._converters for knob in converter.knobs
        }
        self.pedals = frozenset(knob.control.name for knob in profile.knobs if knob.pedal)
        """Knobs that are expression pedals: may be unplugged at any time."""
        self._switches = [
            Switch(profile, number, row, simulation)
            for number, row in enumerate(profile.switches, 1)
        ]
        self._leds = [
            Led(profile, number, row, simulation) for number, row in enumerate(profile.leds, 1)
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
