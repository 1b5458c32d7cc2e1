"""MCP3008, MCP3208: SPI converters, eight inputs, 10 and 12 bits. Microchip DS21295, DS21298."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from device.adc import Adc, AdcError, AdcRow, Where
from device.spi import SPI0, SimulatedSpiChip, Spi, SpiLines, open_spi, open_spi_pins

PINS = {
    "VDD": 16, "VREF": 15, "AGND": 14, "DGND": 9, "CLK": 13, "DOUT": 12, "DIN": 11, "CS": 10,
}  # fmt: skip
"""Pins of the 16-pin package; CH0 to CH7 are 1 to 8."""


def spi_wires(lines: SpiLines) -> list[tuple[str, str]]:
    """The chip's pins except inputs, on these lines of a Raspberry Pi."""
    to = {
        "VDD": "3V3",
        "VREF": "3V3",
        "AGND": "GND",
        "DGND": "GND",
        "CLK": f"GPIO{lines.clock}",
        "DOUT": f"GPIO{lines.miso}",
        "DIN": f"GPIO{lines.mosi}",
        "CS": f"GPIO{lines.select}",
    }
    return [(f"{leg} (pin {PINS[leg]})", name) for leg, name in to.items()]


class Mcp3xxx(Adc):
    """What both chips share. A reading is one transfer of three bytes, single-ended."""

    channels = 8
    buses = ("spi", "pins")
    simulations = ("transfers", "pins")
    input_pin = "CH{}"
    command: ClassVar[int]
    """The three bytes to send for channel 0."""
    channel_shift: ClassVar[int]
    """Place of the channel's lowest bit in them."""

    def __init__(self, wire: Spi, channels: Sequence[int], bits: int = 0) -> None:
        self._spi = wire
        self.full_scale = self.top_code(bits)
        self._null_mask = 1 << (self.bits - 8)
        self._requests = [
            list((self.command | channel << self.channel_shift).to_bytes(3, "big"))
            for channel in channels
        ]

    @classmethod
    def connect(cls, row: AdcRow, root: Path) -> Spi:
        assert not isinstance(row.where, str)
        if row.bus == "pins":
            return open_spi_pins(*row.where)
        return open_spi(row.where[0], row.where[1], root)

    @classmethod
    def place_fault(cls, bus: str, where: Where) -> str:
        if bus == "pins" and len(set(where)) != 4:
            return "pins = [clock, mosi, miso, select] must be four different lines"
        return ""

    @classmethod
    def wires(cls, row: AdcRow) -> list[tuple[str, str]]:
        if isinstance(row.where, str):
            return spi_wires(SPI0[0])
        return spi_wires(SpiLines(*row.where) if row.bus == "pins" else SPI0[row.where[1]])

    @classmethod
    def simulation(cls, inputs: Sequence[Callable[[], float]], bits: int = 0) -> Mcp3xxxChip:
        return Mcp3xxxChip(inputs, cls.bits)

    def read(self) -> list[int]:
        codes = []
        transfer, null_mask = self._spi.transfer, self._null_mask
        try:
            for request in self._requests:
                _, high, low = transfer(request)
                if high & null_mask:
                    # The chip pulls its null bit low; a data line without a chip is pulled up.
                    raise AdcError(
                        "no chip answers", "check its supply, MISO (DOUT) and chip select"
                    )
                codes.append((high & null_mask - 1) << 8 | low)
        except AdcError:
            raise
        except Exception as error:  # gpiozero, lgpio and spidev each raise their own
            raise AdcError(str(error), "check the wiring and that the SPI bus is on") from None
        return codes

    def close(self) -> None:
        self._spi.close()


class Mcp3008(Mcp3xxx):
    """DS21295, figure 6-1.

              byte 0             byte 1             byte 2
        DIN   0 0 0 0 0 0 0 1    1 C C C x x x x    x x x x x x x x
        DOUT  ? ? ? ? ? ? ? ?    ? ? ? ? ? 0 D D    D D D D D D D D

    1: start bit, then single-ended. C: channel. 0: null bit. D: code, highest bit first.
    """

    name = "mcp3008"
    bits = 10
    command = 0b00000001_10000000_00000000
    channel_shift = 12


class Mcp3208(Mcp3xxx):
    """DS21298, figure 6-1; letters as for the MCP3008.

          byte 0             byte 1             byte 2
    DIN   0 0 0 0 0 1 1 C    C C x x x x x x    x x x x x x x x
    DOUT  ? ? ? ? ? ? ? ?    ? ? ? 0 D D D D    D D D D D D D D
    """

    name = "mcp3208"
    bits = 12
    command = 0b00000110_00000000_00000000
    channel_shift = 14


class Mcp3xxxChip(SimulatedSpiChip):
    """Either chip at its pins. From the start bit on, clock by clock:

        clock  0      1              2  3  4    5         6     7 ...
        DIN    start  1 single-ended  C  C  C    x         x     x
                      0 differential
        DOUT   floats ...                       sampling  null  code, highest bit first

    Channel bits of a differential reading name the positive input; its pair is the negative one.
    """

    def __init__(self, inputs: Sequence[Callable[[], float]], bits: int = 10) -> None:
        self.inputs = list(inputs)
        self.bits = bits
        self.floating = 1
        """What the master reads while DOUT is not driven, or without a chip."""
        self._clocks = -1
        self._word = 0

    def select(self) -> None:
        self._clocks = -1
        self._word = 0

    def clock(self, bit_in: int) -> int:
        if not self.present:
            return self.floating
        if self._clocks < 0:
            if bit_in:
                self._clocks = 0
            return self.floating
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
