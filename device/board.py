"""The board: knobs and footswitches in, LEDs out. The control process polls it; nothing here waits.

    with Board.open("pi-mcp3008", data_folder) as board:
        for name, value in values.items():
            board.control_moved(name, value)          # current values: knobs take over from them
        while True:
            for event in board.scan():                # every board.scan_s: 5 ms on most boards
                match event:
                    case Change(control, value): ...  # from a knob or a switch
                    case Action(name): ...            # "preset next", "preset previous"
                    case Notice(text): ...            # a fault came or went: a line for the log
            board.control_moved("mix", 40.0)          # after a preset, MIDI or a command
            board.light("clip")                       # also "activity": lit now and for a moment
            board.set_fault("audio", True)            # a fault from outside, for the fault LED

An invalid profile raises ProfileError at once. Hardware faults do not raise: the knobs concerned
keep their values, a Notice reports the fault, the fault LED flashes, and the board retries every
second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from device.calibration import load_calibration
from device.controls import CONTROLS
from device.converter import Converter
from device.events import Action, Change, Event, Notice
from device.faults import Fault, PartName
from device.knobs import Knob
from device.lines import CLIP_HOLD_S, FAULTS, LED_FAULTS, fault_light
from device.parts import Led, Switch
from device.profile import Profile, SwitchRow, leds_of, load
from device.simulated import SimulatedBoard
from device.tempo import TapTempo

LED_S = 0.02
"""Time between updates of the LEDs."""


class Board:
    """Made by `open`. All methods are called from one thread."""

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
        """Turns the pots of a simulated board; None on a real one."""
        self.scan_s = 1 / profile.scan_hz
        """Time between scans, s."""
        self._clock = clock
        self._faults: set[str] = set()
        self._profile_fault: Fault | None = None
        self._pending: list[Event] = []
        self._light: dict[str, float] = {}
        self._leds_at = 0.0
        self._states = {control.name: control.default for control in CONTROLS if control.is_switch}
        self._taps = TapTempo()
        self._converters = [
            Converter(profile, number, calibration, simulation, root)
            for number in range(len(profile.adcs))
        ]
        self.knobs: dict[str, Knob] = {
            knob.control.name: knob for converter in self._converters for knob in converter.knobs
        }
        self.pedals = frozenset(knob.control.name for knob in profile.knobs if knob.pedal)
        """Knobs that are expression pedals, which may be unplugged at any time."""
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
        """The board of a profile. name: of the profile, or a path that ends in .toml.

        folder: the data folder, with user profiles and the calibration. clock (s) and root (of /dev
        and /sys) are for tests. Raises ProfileError.
        """
        return cls._of(load(name, folder), folder, clock, root)

    @classmethod
    def bare(
        cls,
        name: str,
        folder: Path | None = None,
        *,
        why: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> Board:
        """The board of an invalid profile: its LEDs if they are valid, with the fault LED flashing.
        why: what is wrong with the profile. Raises nothing.
        """
        board = cls(leds_of(name, folder), {}, None, clock, Path("/"))
        board.report_profile(why)
        return board

    def report_profile(self, why: str) -> None:
        """The profile is invalid or cannot be read: a fault, until another board is opened."""
        self.set_fault("profile", True)
        name = self.profile.name
        self._profile_fault = Fault(PartName("profile", name, f"profile {name}"), why, "")

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
        """Read all inputs once, drive the LEDs. Returns the events since the last scan in order."""
        now = self._clock()
        if self.simulation is not None:
            self.simulation.advance()
        events, self._pending = self._pending, []
        for converter in self._converters:
            converter.scan(now, events)
        for switch in self._switches:
            changed = switch.scan(now, events)
            if switch.row.long is None:
                pressed = switch.pressed or switch.row.latching
                events += self._act(switch.row, pressed) if changed else []
            else:
                row = switch.short_or_long(changed, now)
                events += self._act(row, True) if row is not None else []
        if now - self._leds_at >= LED_S:
            self._leds_at = now
            self._drive_leds(now, events)
        return _report_once(events)

    def control_moved(self, name: str, value: float) -> None:
        """A control was moved by something other than the board."""
        if name in self.knobs:
            self.knobs[name].control_moved(value)
        if name in self._states:
            self._states[name] = value

    def is_unread(self, name: str) -> bool:
        """Whether the control has a knob, no expression pedal, whose position is unknown yet."""
        return (
            name in self.knobs
            and name not in self.pedals
            and self.knobs[name].filter.position is None
        )

    def distances(self) -> dict[str, float]:
        """How far each knob has to turn to take over its control, signed, in travels. No zeros."""
        apart = {name: knob.takeover.distance for name, knob in self.knobs.items()}
        return {name: distance for name, distance in apart.items() if distance}

    def faults(self) -> dict[str, Fault]:
        """The present faults by part: "profile mine", "adc 1", "knob x", "switch 2", "led 1"."""
        found = [fault for converter in self._converters for fault in converter.faults()]
        found += [part.fault for part in (*self._switches, *self._leds) if part.fault is not None]
        found += [self._profile_fault] if self._profile_fault else []
        return {str(fault.part): fault for fault in found}

    def dead_knobs(self) -> set[str]:
        """Knobs whose converter does not answer."""
        return {
            knob.control.name
            for converter in self._converters
            if converter.fault
            for knob in converter.knobs
        }

    def switch_closed(self, number: int) -> bool:
        """Whether the contacts of the switch of that row of the profile, from 0, are closed."""
        switch = self._switches[number]
        return switch.pressed != switch.row.inverted

    def set_fault(self, kind: str, present: bool) -> None:
        """Set or clear a fault from outside the board: "audio", "room", "storage", ..."""
        if kind not in FAULTS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(FAULTS)}")
        (self._faults.add if present else self._faults.discard)(kind)

    def light(self, what: str) -> None:
        """Light the LED that shows "clip" or "activity" for CLIP_HOLD_S."""
        self._light[what] = self._clock() + CLIP_HOLD_S

    def close(self) -> None:
        """Switch the LEDs off and release all lines and buses."""
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

    def tap(self) -> Change | None:
        """Take a tap of the tempo, from a switch or a command. Returns the change, if any."""
        bpm = self._taps.tap(self._clock())
        if bpm is None:
            return None
        self.control_moved("tempo", bpm)
        return Change("tempo", bpm)

    def _act(self, row: SwitchRow, pressed: bool) -> list[Event]:
        """Events of a press or release of a switch."""
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

    def _drive_leds(self, now: float, events: list[Event]) -> None:
        shown = set(self._faults)
        for fault in self.faults().values():
            kind, name, _ = fault.part
            if kind in LED_FAULTS and not (kind == "knob" and name in self.pedals):
                shown.add(LED_FAULTS[kind])
        for led in self._leds:
            match led.row.shows:
                case "on":
                    lit = not self._states["bypass"]
                case "fault":
                    lit = fault_light(shown, now)
                case shows:
                    lit = self._light.get(shows, 0.0) > now
            led.write(lit, now, events)


def _report_once(events: list[Event]) -> list[Event]:
    """Drop notices of switches and LEDs that fail for the same cause as one before them."""
    causes: set[str] = set()
    kept = []
    for event in events:
        fault = event.fault if isinstance(event, Notice) else None
        if fault is not None and fault.part.kind in ("switch", "led"):
            if fault.cause in causes:
                continue
            causes.add(fault.cause)
        kept.append(event)
    return kept
