"""ADS1115: an I2C converter of four inputs, 16 bits signed. TI SBAS444, sections 7.3.3 and 8.1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from device.adc import Adc, AdcError, AdcRow, Where
from device.i2c import I2C1, I2cDevice, SimulatedI2cChip, open_i2c

ADDRESSES = range(0x48, 0x4C)
"""Chosen by the ADDR pin: GND, VDD, SDA, SCL."""
RANGE_V = 4.096
SUPPLY_V = 3.3
"""Of the pots."""
RANGES_V = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256)
"""By the PGA field."""

# Registers, 16 bits, high byte first:
#
#   0 conversion   signed code; 32767 is the top of the range
#   1 config       15 | 14 13 12 | 11 10  9 |  8   |  7  6  5 |  4   3   2  |  1  0
#                  OS |   MUX    |   PGA    | MODE |    DR    |  comparator | queue
#   written         1 |  1  i  i |  0  0  1 |  1   |  1  1  1 |  0   0   0  |  1  1
#
# OS: written 1 starts a conversion; reads 1 when none is running. MUX: 1 i i is input i against
# ground. PGA 001: +-4.096 V. MODE 1: single shot. DR 111: 860 a second. Queue 11: comparator off.
CONVERSION, CONFIG = 0, 1
START = DONE = 1 << 15
SINGLE_SHOT = START | 0b1_00_001_1_111_000_11
MUX_SHIFT = 12


class Ads1115(Adc):
    """It converts one input at a time, in 1.2 ms.

    `read` takes the conversion that the last call started and starts that of the next input, so
    each call returns one new code. 500 calls a second read each of three inputs 166 times.
    """

    name = "ads1115"
    channels = 4
    bits = 15
    buses = ("i2c",)
    input_pin = "AIN{}"

    def __init__(self, wire: I2cDevice, channels: Sequence[int], bits: int = 0) -> None:
        self._device = wire
        self._channels = list(channels)
        self._next = 0
        self._pending: int | None = None
        self.full_scale = self.top_code(bits)

    @classmethod
    def connect(cls, row: AdcRow, root: Path) -> I2cDevice:
        assert not isinstance(row.where, str)
        return open_i2c(row.where[0], row.where[1], root)

    @classmethod
    def place_fault(cls, bus: str, where: Where) -> str:
        if bus == "i2c" and where[1] not in ADDRESSES:
            return (
                f"i2c address {where[1]:#x}: an ADS1115 has {ADDRESSES[0]:#x} to"
                f" {ADDRESSES[-1]:#x}, set by its ADDR pin"
            )
        return ""

    @classmethod
    def top_code(cls, bits: int) -> int:
        """The pots are between ground and SUPPLY_V, which is below the top of the range."""
        return min(32767, int(32767 * SUPPLY_V / RANGE_V))

    @classmethod
    def wires(cls, row: AdcRow) -> list[tuple[str, str]]:
        return [
            ("VDD", "3V3"),
            ("GND", "GND"),
            ("SDA", f"GPIO{I2C1.sda}"),
            ("SCL", f"GPIO{I2C1.scl}"),
        ]

    @classmethod
    def simulation(cls, inputs: Sequence[Callable[[], float]], bits: int = 0) -> Ads1115Chip:
        return Ads1115Chip(inputs)

    def read(self) -> list[int | None]:
        codes: list[int | None] = [None] * len(self._channels)
        device = self._device
        try:
            if self._pending is not None:
                if not device.read(CONFIG) & DONE:
                    return codes
                code = device.read(CONVERSION)
                code -= (code & 0x8000) << 1
                codes[self._pending] = min(max(code, 0), self.full_scale)
            device.write(CONFIG, SINGLE_SHOT | self._channels[self._next] << MUX_SHIFT)
            self._pending, self._next = self._next, (self._next + 1) % len(self._channels)
        except OSError as error:
            self._pending = None
            raise AdcError(
                error.strerror or str(error),
                "check SDA, SCL, supply and the ADDR pin (i2cdetect lists the devices)",
            ) from None
        return codes

    def close(self) -> None:
        self._device.close()


class Ads1115Chip(SimulatedI2cChip):
    """The chip's registers. conversion_reads: number of reads of CONFIG that say it is busy."""

    def __init__(self, inputs: Sequence[Callable[[], float]], conversion_reads: int = 0) -> None:
        self.inputs = list(inputs)
        self._conversion_reads = conversion_reads
        self._busy = 0
        self._code = 0

    def write_register(self, register: int, word: int) -> None:
        mux, pga = word >> MUX_SHIFT & 7, word >> 9 & 7
        if register != CONFIG or not word & START or mux < 4:
            raise ValueError(f"the model has single-ended single shots only, not {word:#06x}")
        volts = self.inputs[mux - 4]() * SUPPLY_V
        code = round(volts / RANGES_V[pga] * 32768)
        self._code = max(-32768, min(32767, code)) & 0xFFFF
        self._busy = self._conversion_reads

    def read_register(self, register: int) -> int:
        if register == CONVERSION:
            return self._code
        word = 0x0583 if self._busy else 0x8583  # the reset value, with OS as it is now
        self._busy = max(0, self._busy - 1)
        return word
