"""Footswitches and LEDs of a profile. Each opens its line on first use, again after a failure."""

from __future__ import annotations

from typing import Literal

from device.events import Event, Notice
from device.faults import Fault, PartName
from device.lines import Debounce, InputLine, Output, open_input, open_output
from device.profile import LedRow, Profile, SwitchRow
from device.simulated import SimulatedBoard

RETRY_S = 1.0
"""Time between attempts to open a part that failed."""
LONG_S = 0.5
"""A switch that is pressed for this long does its second action."""


class Part:
    """A part with one line."""

    def __init__(
        self, profile: Profile, kind: Literal["switch", "led"], number: int, what: str
    ) -> None:
        self.part = PartName(kind, str(number), f"{profile.path.name}, {kind} {number} ({what})")
        self.fault: Fault | None = None
        self._retry_at = 0.0

    def _failed(self, error: OSError, now: float, events: list[Event]) -> None:
        self.close()
        self._retry_at = now + RETRY_S
        fault = Fault.of(self.part, error)
        if fault != self.fault:
            events.append(Notice(fault.text, fault))
        self.fault = fault

    def _worked(self, events: list[Event]) -> None:
        if self.fault is not None:
            self.fault = None
            events.append(Notice(f"{self.part.where}: works again"))

    def close(self) -> None:
        raise NotImplementedError


class Switch(Part):
    def __init__(
        self, profile: Profile, number: int, row: SwitchRow, simulation: SimulatedBoard | None
    ) -> None:
        super().__init__(profile, "switch", number, row.action)
        self.row = row
        self._gpiochip = profile.gpiochip
        self._input: InputLine | None = None
        if simulation is not None:
            switch = simulation.add_switch(row.action, row.line)
            switch.wire(normally_closed=row.inverted, latching=row.latching)
            self._input = switch
        self._debounce = Debounce()
        self._since: float | None = None  # time of the press, until its action is reported

    @property
    def pressed(self) -> bool:
        return self._debounce.pressed

    def scan(self, now: float, events: list[Event]) -> bool:
        """True if it was pressed or released; of a latching switch, which stays where it was
        stepped to, at each step. While its line fails it counts as released."""
        if self._input is None and now < self._retry_at:
            return False
        try:
            if self._input is None:
                self._input = open_input(self.row.line, self._gpiochip)
            pressed = self._input.read() != self.row.inverted
        except OSError as error:
            self._failed(error, now, events)
            was_held = self.pressed and self.row.hold
            self._debounce, self._since = Debounce(), None
            return was_held
        self._worked(events)
        return self._debounce.update(pressed, now)

    def short_or_long(self, changed: bool, now: float) -> SwitchRow | None:
        """The action that is due, of a switch with two: short on release, long after LONG_S."""
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


class Led(Part):
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
