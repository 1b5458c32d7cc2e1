"""Converters: the codes of a board's pots. One class a family; each has `read()`, one code a channel asked for, 0..full_scale.

| chip                | bits | inputs | bus                        |
|---------------------|------|--------|----------------------------|
| mcp3008, mcp3208    | 10, 12 | 8    | SPI, by gpiozero: hardware or any four pins |
| ads1115             | 15 (one-sided) | 4 | I2C, by smbus2        |
| any with a Linux IIO driver | its own | its own | files in /sys     |

Whatever goes wrong is an AdcError that says what to do. The classes are used from one thread.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from dsp.errors import UserError
from models.packages import how_to_install


class AdcError(UserError, OSError):
    """The converter does not answer, or answers nonsense. The message says which, where, and the remedy."""


class Adc(Protocol):
    """What the board needs of a converter."""

    full_scale: int

    def read(self) -> Sequence[int | None]:
        """A code for each channel asked for, in that order; None where there is no new one. Raises AdcError."""

    def close(self) -> None: ...


class Spi(Protocol):
    """What we need of gpiozero's SPI interfaces; the simulated board has its own."""

    def transfer(self, data: list[int]) -> Sequence[int]: ...

    def close(self) -> None: ...


class Mcp3xxx:
    """MCP3008 (10 bits) or MCP3208 (12 bits), single-ended. Microchip DS21295 fig. 6-1, DS21298 fig. 6-1; 3 bytes a reading:

                  byte 0             byte 1             byte 2
        MCP3008
          to   0 0 0 0 0 0 0 1    1 C C C x x x x    x x x x x x x x     1: start, then single-ended; CCC: channel
          from ? ? ? ? ? ? ? ?    ? ? ? ? ? 0 D D    D D D D D D D D     0: null bit; D: the code, highest bit first
        MCP3208
          to   0 0 0 0 0 1 1 C    C C x x x x x x    x x x x x x x x
          from ? ? ? ? ? ? ? ?    ? ? ? 0 D D D D    D D D D D D D D

    A chip that is there pulls the null bit low; a data line that nobody drives and that is pulled up does not.
    """

    def __init__(self, spi: Spi, bits: int, channels: Sequence[int], where: str) -> None:
        self._spi = spi
        self._where = where
        self.full_scale = (1 << bits) - 1
        self._high_mask = (1 << (bits - 8)) - 1
        self._null_mask = 1 << (bits - 8)
        command = {10: 0x018000, 12: 0x060000}[bits]
        shift = {10: 12, 12: 14}[bits]
        self._requests = [
            list((command | channel << shift).to_bytes(3, "big")) for channel in channels
        ]

    def read(self) -> list[int]:
        codes = []
        transfer = self._spi.transfer
        try:
            for request in self._requests:
                _, high, low = transfer(request)
                if high & self._null_mask:
                    raise AdcError(
                        f"{self._where}: no chip answers: check its supply, MISO (DOUT) and chip select"
                    )
                codes.append((high & self._high_mask) << 8 | low)
        except AdcError:
            raise
        except Exception as error:  # gpiozero, lgpio and spidev each have errors of their own
            raise AdcError(
                f"{self._where}: {error}: check the wiring and that the SPI bus is on"
            ) from None
        return codes

    def close(self) -> None:
        self._spi.close()


class Ads1115:
    """ADS1115, single-ended. TI SBAS444, sections 7.3.3 and 8.1. It converts one input at a time, in 1.2 ms.

    `read` never waits: it takes the conversion begun by the last call and begins that of the next input, so each call
    brings one new code. Called 500 times a second it gives each of three inputs 166 times.

    Registers, 16 bits, high byte first:

        0 conversion   signed code; 32767 at the range's top
        1 config       15: begin / done   14..12: 1 i i, input i   11..9: 0 0 1, +-4.096 V
                       8: 1 single shot   7..5: 1 1 1, 860 a second   4..0: 0 0 0 1 1, no comparator
    """

    RANGE_V = 4.096

    def __init__(
        self, bus: Any, address: int, channels: Sequence[int], where: str, supply_v: float = 3.3
    ) -> None:
        self._bus = bus
        self._address = address
        self._channels = list(channels)
        self._where = where
        self._next = 0
        self._pending: int | None = None
        self.full_scale = self.supply_code(supply_v)

    @classmethod
    def supply_code(cls, supply_v: float) -> int:
        """The code of a pot at its upper end: it hangs between ground and the supply, not the converter's range."""
        return min(32767, int(32767 * supply_v / cls.RANGE_V))

    def read(self) -> list[int | None]:
        codes: list[int | None] = [None] * len(self._channels)
        try:
            if self._pending is not None:
                if not self._bus.read_i2c_block_data(self._address, 1, 2)[0] & 0x80:
                    return codes  # still converting
                high, low = self._bus.read_i2c_block_data(self._address, 0, 2)
                code = high << 8 | low
                code -= (code & 0x8000) << 1
                codes[self._pending] = min(max(code, 0), self.full_scale)
            config = 0xC3E3 | self._channels[self._next] << 12
            self._bus.write_i2c_block_data(self._address, 1, [config >> 8, config & 0xFF])
            self._pending, self._next = self._next, (self._next + 1) % len(self._channels)
        except OSError as error:
            self._pending = None
            raise AdcError(
                f"{self._where}: {error.strerror or error}: check SDA, SCL, supply and the ADDR pin (i2cdetect shows who is there)"
            ) from None
        return codes

    def close(self) -> None:
        self._bus.close()


class Iio:
    """Any converter with a driver of Linux's industrial I/O: one file a channel, text, read again for each code.

    folder: the device's folder in /sys/bus/iio/devices (see `find_iio`).
    """

    def __init__(self, folder: Path, bits: int, channels: Sequence[int], where: str) -> None:
        self.full_scale = (1 << bits) - 1
        self._where = where
        self._files: list[int] = []
        try:
            for channel in channels:
                self._files.append(os.open(folder / f"in_voltage{channel}_raw", os.O_RDONLY))
        except OSError as error:
            self.close()
            raise AdcError(
                f"{where}: {folder}/in_voltage{channel}_raw: {error.strerror}: name a channel that the driver has"
            ) from None

    def read(self) -> list[int]:
        try:
            codes = [int(os.pread(file, 16, 0)) for file in self._files]
        except (OSError, ValueError) as error:
            raise AdcError(
                f"{self._where}: {getattr(error, 'strerror', None) or error}: the driver has gone"
            ) from None
        for code in codes:
            if not 0 <= code <= self.full_scale:
                raise AdcError(
                    f"{self._where}: code {code} is above {self.full_scale}: set `bits` in the profile"
                )
        return codes

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())


IIO_BITS = {"mcp3008": 10, "mcp3208": 12, "mcp3004": 10, "mcp3204": 12, "TI-am335x-adc": 12}
"""Bits of drivers that boards of this class have; a profile names those of others."""


def find_iio(name: str, root: Path = Path("/")) -> Path:
    """The folder of the IIO device of that name: numbers move from boot to boot, names do not. Raises AdcError."""
    devices = root / "sys/bus/iio/devices"
    names = []
    for folder in sorted(devices.glob("iio:device*")):
        try:
            found = (folder / "name").read_text().strip()
        except OSError:
            continue
        if found == name or re.fullmatch(re.escape(name) + r"(\.\d+)?(\.auto)?", found):
            return folder
        names.append(found)
    there = f"there is {', '.join(names)}" if names else "there is none: load its overlay or driver"
    raise AdcError(f"no IIO device named {name!r} in {devices}: {there}")


def open_spi(port: int, device: int, root: Path = Path("/")) -> Spi:
    """The hardware SPI bus by gpiozero, at 1 MHz (an MCP3008 at 3.3 V allows 1.6). Raises AdcError with the remedy."""
    node = root / f"dev/spidev{port}.{device}"
    if not node.exists():
        raise AdcError(
            f"{node} is not there: the SPI bus is off. Switch it on (raspi-config, or dtparam=spi=on in"
            " /boot/firmware/config.txt) and boot again"
        )
    if not os.access(node, os.R_OK | os.W_OK):
        raise AdcError(
            f"{node}: no permission: add this user to the group spi (sudo usermod -aG spi $USER), log in again"
        )
    import warnings

    from gpiozero import SPIFixedRate, SPISoftwareFallback

    with (
        warnings.catch_warnings()
    ):  # bit-banging behind our back would take ten times the time of the bus
        warnings.simplefilter("error", SPISoftwareFallback)
        spi = _gpiozero_spi(port=port, device=device)
    with contextlib.suppress(SPIFixedRate):
        spi.rate = 1_000_000
    return spi  # type: ignore[no-any-return]


def open_spi_pins(clock: int, mosi: int, miso: int, select: int) -> Spi:
    """SPI in software on any four pins. Slow (0.3 ms a channel): for boards whose bus is taken. Raises AdcError."""
    return _gpiozero_spi(clock_pin=clock, mosi_pin=mosi, miso_pin=miso, select_pin=select)  # type: ignore[no-any-return]


def _gpiozero_spi(**where: int) -> Any:
    from device.lines import LineError, pin_factory

    try:
        return pin_factory().spi(**where)
    except LineError as error:
        raise AdcError(str(error)) from None
    except Exception as error:  # gpiozero's factories raise what their libraries raise
        raise AdcError(f"SPI on {where}: {error}") from None


def open_i2c(port: int, root: Path = Path("/")) -> Any:
    """An SMBus by smbus2. Raises AdcError with the remedy."""
    node = root / f"dev/i2c-{port}"
    if not node.exists():
        raise AdcError(
            f"{node} is not there: the I2C bus is off. Switch it on (raspi-config, or dtparam=i2c_arm=on in"
            " /boot/firmware/config.txt) and boot again"
        )
    try:
        from smbus2 import SMBus
    except ImportError:
        raise AdcError(f"an ADS1115 needs the package smbus2: {how_to_install('smbus2')}") from None
    try:
        return SMBus(str(node))
    except PermissionError:
        raise AdcError(
            f"{node}: no permission: add this user to the group i2c, log in again"
        ) from None
    except OSError as error:
        raise AdcError(f"{node}: {error.strerror}") from None
