"""Converters with a Linux industrial I/O (IIO) driver: a text file in /sys for each channel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from device.adc import Adc, AdcError, AdcRow, SimulatedChip
from device.mcp3xxx import Mcp3008, Mcp3208, spi_wires
from device.spi import SPI0

BITS = {
    "mcp3008": Mcp3008.bits,
    "mcp3004": Mcp3008.bits,
    "mcp3208": Mcp3208.bits,
    "mcp3204": Mcp3208.bits,
    "TI-am335x-adc": 12,
}
"""By driver, for boards of this class. A profile gives the bits of other drivers."""
GONE = "check that the driver is loaded"


class Channels(Protocol):
    """The files of a driver. Methods raise OSError."""

    def open(self, channel: int) -> None: ...

    def read(self, channel: int) -> bytes:
        """The text of an open channel's file: a new conversion each time."""

    def close(self) -> None: ...


class ChannelFiles:
    """folder: the device's folder in /sys/bus/iio/devices, from `find_iio`.

    A file is text, decimal: `512\\n`. It is `in_voltage0_raw` for channel 0.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}

    def open(self, channel: int) -> None:
        path = self._folder / f"in_voltage{channel}_raw"
        try:
            self._files[channel] = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise AdcError(
                f"{path}: {error.strerror}", "name a channel that the driver has"
            ) from None

    def read(self, channel: int) -> bytes:
        return os.pread(self._files[channel], 16, 0)

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])


def find_iio(name: str, root: Path = Path("/")) -> Path:
    """The folder of the IIO device of that driver. Raises AdcError.

    By name, as the numbers of devices change from boot to boot.
    """
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
    remedy = (
        f"there is {', '.join(names)}" if names else "there is none: load its overlay or driver"
    )
    raise AdcError(f"no IIO device named {name!r} in {devices}", remedy)


class Iio(Adc):
    name = "iio"
    channels = 32
    bits = 0
    buses = ("name",)
    input_pin = "AIN{}"

    def __init__(self, wire: Channels, channels: Sequence[int], bits: int = 0) -> None:
        self.full_scale = self.top_code(bits)
        self._wire = wire
        self._channels = list(channels)
        try:
            for channel in channels:
                wire.open(channel)
        except AdcError:
            wire.close()
            raise

    @classmethod
    def connect(cls, row: AdcRow, root: Path) -> Channels:
        assert isinstance(row.where, str)
        return ChannelFiles(find_iio(row.where, root))

    @classmethod
    def wires(cls, row: AdcRow) -> list[tuple[str, str]]:
        """On SPI 0, as the chips are whose drivers Raspberry Pi OS has overlays for."""
        return spi_wires(SPI0[0])

    @classmethod
    def simulation(cls, inputs: Sequence[Callable[[], float]], bits: int = 0) -> SimulatedDriver:
        return SimulatedDriver(inputs, bits)

    def read(self) -> list[int]:
        try:
            codes = [int(self._wire.read(channel)) for channel in self._channels]
        except (OSError, ValueError) as error:
            raise AdcError(getattr(error, "strerror", None) or str(error), GONE) from None
        for code in codes:
            if not 0 <= code <= self.full_scale:
                raise AdcError(
                    f"code {code} is above {self.full_scale}", "set `bits` in the profile"
                )
        return codes

    def close(self) -> None:
        self._wire.close()


class SimulatedDriver(SimulatedChip):
    """A kernel driver: what its files contain."""

    def __init__(self, inputs: Sequence[Callable[[], float]], bits: int) -> None:
        self._inputs = list(inputs)
        self._full_scale = (1 << bits) - 1

    def connect(self, how: str = "transfers") -> Channels:
        return self

    def open(self, channel: int) -> None:
        pass

    def read(self, channel: int) -> bytes:
        if not self.present:
            return b""  # a removed device's open files are empty
        return b"%d\n" % round(self._inputs[channel]() * self._full_scale)

    def close(self) -> None:
        pass
