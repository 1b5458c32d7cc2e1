"""A simulated board: pots with noise, hum, dirt and loose wires, switches, LEDs and chips.

The chips are modelled at the wire, see `simulation` of their drivers. Everything above the wire
(driver, filters, laws) is the code that runs on a real board.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from device.adc import AdcRow, SimulatedChip
from device.chips import CHIPS
from device.controls import to_position
from device.profile import KnobRow

ENDS = (0.004, 0.996)
"""What the wiper of a new carbon pot reaches, fractions of the supply."""


class Pot:
    """A potentiometer between the converter's supply and ground, as the converter sees its wiper.

    position: of the shaft, 0..1. noise, hum: rms and amplitude at the wiper, fractions of the
    supply. ends: what the wiper reaches. dirt: probability that the wiper has no contact at a
    reading. wire: of the wiper: "good", "loose" (the input floats: hum and noise), or shorted to
    "ground" or "supply".
    """

    def __init__(
        self,
        position: float = 0.5,
        *,
        noise: float = 0.0,
        hum: float = 0.0,
        hum_hz: float = 50.0,
        ends: tuple[float, float] = ENDS,
        dirt: float = 0.0,
        seed: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.position = position
        self.noise, self.hum, self.hum_hz, self.ends, self.dirt = noise, hum, hum_hz, ends, dirt
        self.wire: Literal["good", "loose", "ground", "supply"] = "good"
        self._random = random.Random(seed)
        self._clock = clock

    def volts(self) -> float:
        """The present voltage at the converter's input, a fraction of the supply, 0..1."""
        hum = (
            math.sin(2 * math.pi * self.hum_hz * self._clock())
            if self.hum or self.wire == "loose"
            else 0.0
        )
        if self.wire != "good":
            if self.wire == "loose":
                return min(max(0.5 + 0.2 * hum + self._random.gauss(0, 0.15), 0.0), 1.0)
            return float(self.wire == "supply")
        if self.dirt and self._random.random() < self.dirt:
            return 0.0
        low, high = self.ends
        volts = low + (high - low) * self.position + self.hum * hum
        if self.noise:
            volts += self._random.gauss(0, self.noise)
        return min(max(volts, 0.0), 1.0)


class SimulatedSwitch:
    """A footswitch. Bounces for bounce_s after each press and release."""

    normally_closed = latching = False

    def __init__(
        self, bounce_s: float = 0.0, seed: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bounce_s = bounce_s
        self._random = random.Random(seed)
        self._clock = clock
        self._closed = False
        self._since = -math.inf

    def wire(self, *, normally_closed: bool, latching: bool) -> None:
        """Make it a switch of another kind than one whose contacts close while it is pressed."""
        self.latching = latching
        if normally_closed != self.normally_closed:
            self.normally_closed, self._closed = normally_closed, normally_closed

    def set(self, closed: bool) -> None:
        """Close or open its contacts."""
        self._closed = closed
        self._since = self._clock()

    def press(self) -> None:
        self.set(not self._closed if self.latching else not self.normally_closed)

    def release(self) -> None:
        if not self.latching:
            self.set(self.normally_closed)

    def read(self) -> bool:
        if self._clock() - self._since < self._bounce_s:
            return self._random.random() < 0.5
        return self._closed

    def close(self) -> None:
        pass


class SimulatedLed:
    def __init__(self, line: int) -> None:
        self.line = line
        self.lit = False

    def write(self, on: bool) -> None:
        self.lit = on

    def close(self) -> None:
        pass


class SimulatedBoard:
    """Sets the inputs of a simulated board.

    `pots` are by control, `switches` by action, `leds` by what they show.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.pots: dict[str, Pot] = {}
        self.switches: dict[str, SimulatedSwitch] = {}
        self.leds: dict[str, SimulatedLed] = {}
        self.chips: list[SimulatedChip] = []
        self._rows: dict[str, KnobRow] = {}
        self._releases: list[tuple[float, SimulatedSwitch]] = []
        self._script: dict[str, list[tuple[float, float]]] = {}
        self._started = 0.0

    def add_chip(self, row: AdcRow, knobs: Sequence[KnobRow]) -> Any:
        """Add a converter with a pot for each knob; returns the wire to it. Called by the board."""
        chip_class = CHIPS[row.chip]
        channels: list[Callable[[], float]] = [lambda: 0.0] * chip_class.channels
        for knob in knobs:
            pot = Pot(noise=0.5 / 1024, hum=0.5 / 1024, seed=knob.channel, clock=self._clock)
            self.pots[knob.control.name], self._rows[knob.control.name] = pot, knob
            self.stand_at(knob.control.name, knob.control.default)
            channels[knob.channel] = pot.volts
        chip = chip_class.simulation(channels, row.bits)
        self.chips.append(chip)
        return chip.connect(str(row.where))

    def add_switch(self, action: str, line: int) -> SimulatedSwitch:
        """Called by the board."""
        return self.switches.setdefault(
            action, SimulatedSwitch(bounce_s=0.003, seed=line, clock=self._clock)
        )

    def add_led(self, shows: str, line: int) -> SimulatedLed:
        """Called by the board."""
        return self.leds.setdefault(shows, SimulatedLed(line))

    def turn(self, control: str, position: float) -> None:
        """Turn the pot of this control to a position 0..1. Raises KeyError if there is none."""
        self.pots[control].position = min(max(position, 0.0), 1.0)

    def stand_at(self, control: str, value: float) -> None:
        """Turn the pot to a value of its control, by the ends of its row. Raises KeyError."""
        row = self._rows[control]
        at = to_position(row.control, value)
        volts = row.low + (row.high - row.low) * (1 - at if row.inverted else at)
        low, high = self.pots[control].ends
        self.turn(control, (volts - low) / (high - low))

    def press(self, action: str, seconds: float = 0.1) -> None:
        """Press the switch of this action for some seconds. Raises KeyError if there is none."""
        self.switches[action].press()
        self._releases.append((self._clock() + seconds, self.switches[action]))

    def play(self, script: Sequence[tuple[float, str, float]]) -> None:
        """Turn pots by a script.

        Its rows are (time from now in s, control, position); between rows a pot turns evenly.
        """
        self._script = {control: [(0.0, pot.position)] for control, pot in self.pots.items()}
        for row in sorted(script):
            self._script[row[1]].append((row[0], row[2]))
        self._started = self._clock()

    @property
    def playing(self) -> bool:
        """Whether a script has rows left."""
        return bool(self._script)

    def advance(self) -> None:
        """Advance script and presses to the present. Called by the board before each scan."""
        now = self._clock()
        for release in [release for release in self._releases if release[0] <= now]:
            release[1].release()
            self._releases.remove(release)
        t = now - self._started
        for control, rows in list(self._script.items()):
            while len(rows) > 1 and rows[1][0] <= t:
                del rows[0]
            (at, position), *rest = rows
            if rest:
                position += (rest[0][1] - position) * (t - at) / (rest[0][0] - at)
                self.turn(control, position)
            else:
                self.turn(control, position)
                del self._script[control]
