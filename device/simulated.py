"""A board that is not there, down to the wire: chips that are clocked bit by bit, pots with noise, hum, dirt and loose wires.

`Mcp3xxxChip` is the one model of the chip. It hangs on gpiozero's mock pins (`hang_on_mock_pins`, as a real one on
its four wires) or behind whole transfers (`SimulatedSpi`, the same bits without the pins: what the live simulation
uses, as toggling mock pins costs some 0.3 ms a reading). Everything from there on - driver, filters, laws - is the
code that runs on a real board.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from device.adc import Spi, open_spi_pins
from device.controls import to_position
from device.profile import AdcRow, KnobRow

ENDS = (0.004, 0.996)
"""What the wiper of a fresh carbon pot reaches, fractions of the supply."""
MOCK_SPI_PINS = (21, 20, 19, 16)
"""clock, mosi, miso, select: the lines of the profile `pi-mcp3008-pins`."""


class Pot:
    """A potentiometer between the converter's supply and ground, as the converter sees its wiper.

    position: of the shaft, 0..1. noise, hum: rms and amplitude at the wiper, fractions of the supply. ends: what the
    wiper reaches at its ends. dirt: probability that a reading finds the wiper off the track. wire: "good", or the
    wiper's wire is "loose" (the input floats: hum and noise), or shorted to "ground" or "supply".
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
        """At the converter's input now, as a fraction of the supply, 0..1."""
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


class Mcp3xxxChip:
    """An MCP3008 or MCP3208 at its pins: a start bit, single/differential, three channel bits; then a null bit and the code.

    inputs: one function a channel that says its voltage. present: False if the chip is pulled out; its data line then
    floats to `floating`.
    """

    def __init__(self, inputs: Sequence[Callable[[], float]], bits: int = 10) -> None:
        self.inputs = list(inputs)
        self.bits = bits
        self.present = True
        self.floating = 1
        self._clocks = -1
        self._word = 0

    def select(self) -> None:
        """Chip select falls: a new conversation."""
        self._clocks = -1
        self._word = 0

    def clock(self, bit_in: int) -> int:
        """A clock: takes the bit on DIN, gives that on DOUT, as a master sees it that samples on the rising edge."""
        if not self.present:
            return self.floating
        if self._clocks < 0:
            if bit_in:
                self._clocks = 0
            return self.floating  # DOUT is not driven before the null bit
        self._clocks += 1
        k = self._clocks
        if k <= 4:
            self._word = self._word << 1 | bit_in
            if k == 4:
                self._word = self._convert(bool(self._word & 8), self._word & 7)
            return self.floating
        if k == 5:
            return self.floating
        shift = self.bits + 6 - k
        return self._word >> shift & 1 if 0 <= shift < self.bits else 0

    def _convert(self, single: bool, channel: int) -> int:
        volts = self._volts(channel) if single else self._volts(channel) - self._volts(channel ^ 1)
        return min(max(int(volts * (1 << self.bits)), 0), (1 << self.bits) - 1)

    def _volts(self, channel: int) -> float:
        return self.inputs[channel]() if channel < len(self.inputs) else 0.0


class SimulatedSpi:
    """The wire as whole transfers: `transfer` clocks the chip bit by bit."""

    def __init__(self, chip: Mcp3xxxChip) -> None:
        self._chip = chip

    def transfer(self, data: Sequence[int]) -> list[int]:
        self._chip.select()
        clock = self._chip.clock
        reply = []
        for word in data:
            received = 0
            for shift in range(7, -1, -1):
                received = received << 1 | clock(word >> shift & 1)
            reply.append(received)
        return reply

    def close(self) -> None:
        pass


def use_mock_pins() -> None:
    """Makes gpiozero's pins mock ones, for all of this process."""
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    if not isinstance(Device.pin_factory, MockFactory):
        Device.pin_factory = MockFactory()


def hang_on_mock_pins(chip: Mcp3xxxChip, clock: int, mosi: int, miso: int, select: int) -> Any:
    """Hangs the chip on four of gpiozero's mock pins (the pin factory must be a MockFactory). Returns gpiozero's device."""
    from gpiozero.pins.mock import MockSPIDevice

    class OnPins(MockSPIDevice):  # type: ignore[misc]
        def on_start(self) -> None:
            chip.select()

        def on_clock(self) -> None:
            if not self.select_pin.state and self.clock_pin.state:  # selected, rising edge
                if chip.clock(int(self.mosi_pin.state)):
                    self.miso_pin.drive_high()
                else:
                    self.miso_pin.drive_low()

    return OnPins(clock, mosi, miso, select)


class SimulatedSwitch:
    """A footswitch. Bounces for bounce_s after each press and release."""

    def __init__(
        self, bounce_s: float = 0.0, seed: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bounce_s = bounce_s
        self._random = random.Random(seed)
        self._clock = clock
        self._closed = False
        self._since = -math.inf

    def set(self, closed: bool) -> None:
        self._closed = closed
        self._since = self._clock()

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
    """Hands on a simulated board. `pots` and `switches` are by the names of what they set, `leds` by what they show."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.pots: dict[str, Pot] = {}
        self.switches: dict[str, SimulatedSwitch] = {}
        self.leds: dict[str, SimulatedLed] = {}
        self.chips: list[Mcp3xxxChip] = []
        self._rows: dict[str, KnobRow] = {}
        self._releases: list[tuple[float, SimulatedSwitch]] = []
        self._script: dict[str, list[tuple[float, float]]] = {}
        self._started = 0.0

    def add_chip(self, row: AdcRow, knobs: Sequence[KnobRow]) -> Spi:
        """A converter with a pot on each channel that a knob is on, wired as the row says. Called by the board."""
        channels: list[Callable[[], float]] = [lambda: 0.0] * 8
        for knob in knobs:
            pot = Pot(noise=0.5 / 1024, hum=0.5 / 1024, seed=knob.channel, clock=self._clock)
            self.pots[knob.control.name], self._rows[knob.control.name] = pot, knob
            self.stand_at(knob.control.name, knob.control.default)
            channels[knob.channel] = pot.volts
        chip = Mcp3xxxChip(channels, row.bits)
        self.chips.append(chip)
        if row.where == "transfers":
            return SimulatedSpi(chip)
        use_mock_pins()
        hang_on_mock_pins(chip, *MOCK_SPI_PINS)
        return open_spi_pins(*MOCK_SPI_PINS)

    def add_switch(self, action: str, line: int) -> SimulatedSwitch:
        """Called by the board."""
        return self.switches.setdefault(
            action, SimulatedSwitch(bounce_s=0.003, seed=line, clock=self._clock)
        )

    def add_led(self, shows: str, line: int) -> SimulatedLed:
        """Called by the board."""
        return self.leds.setdefault(shows, SimulatedLed(line))

    def turn(self, control: str, position: float) -> None:
        """Turns the pot of this control to a position 0..1. Raises KeyError if it has none."""
        self.pots[control].position = min(max(position, 0.0), 1.0)

    def stand_at(self, control: str, value: float) -> None:
        """Turns the pot to where the board reads this value of its control, by the ends of its row. Raises KeyError."""
        row = self._rows[control]
        at = to_position(row.control, value)
        volts = row.low + (row.high - row.low) * (1 - at if row.inverted else at)
        low, high = self.pots[control].ends
        self.turn(control, (volts - low) / (high - low))

    def press(self, action: str, seconds: float = 0.1) -> None:
        """Steps on a switch and off again. Raises KeyError if there is none for the action."""
        self.switches[action].set(True)
        self._releases.append((self._clock() + seconds, self.switches[action]))

    def play(self, script: Sequence[tuple[float, str, float]]) -> None:
        """Plays rows (time from now in s, control, position): between two rows of a control its pot turns evenly."""
        self._script = {control: [(0.0, pot.position)] for control, pot in self.pots.items()}
        for row in sorted(script):
            self._script[row[1]].append((row[0], row[2]))
        self._started = self._clock()

    @property
    def playing(self) -> bool:
        """Whether a script has rows left."""
        return bool(self._script)

    def advance(self) -> None:
        """Lets time pass: called by the board before each scan."""
        now = self._clock()
        for release in [release for release in self._releases if release[0] <= now]:
            release[1].set(False)
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
