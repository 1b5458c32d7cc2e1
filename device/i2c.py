"""I2C: the bus of a board, through smbus2, and a simulated one."""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from device.adc import AdcError, SimulatedChip
from device.boot_config import how_to_enable
from models.packages import how_to_install


class I2cLines(NamedTuple):
    """GPIO lines, BCM numbers."""

    sda: int
    scl: int


I2C1 = I2cLines(2, 3)
"""Bus 1 of a Raspberry Pi's header."""


class Bus(Protocol):
    """The part of smbus2's SMBus that drivers use. Its methods raise OSError."""

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> object: ...

    def read_i2c_block_data(self, address: int, register: int, length: int) -> Sequence[int]: ...

    def close(self) -> None: ...


class I2cDevice:
    """16-bit registers, high byte first, of the device at an address. Methods raise OSError."""

    def __init__(self, bus: Bus, address: int) -> None:
        self._bus, self._address = bus, address

    def read(self, register: int) -> int:
        high, low = self._bus.read_i2c_block_data(self._address, register, 2)
        return high << 8 | low

    def write(self, register: int, word: int) -> None:
        self._bus.write_i2c_block_data(self._address, register, [word >> 8, word & 0xFF])

    def close(self) -> None:
        self._bus.close()


def open_i2c(port: int, address: int, root: Path = Path("/")) -> I2cDevice:
    """Open a bus for the device at an address. Raises AdcError."""
    node = root / f"dev/i2c-{port}"
    if not node.exists():
        raise AdcError(
            f"{node} does not exist, the I2C bus is off",
            how_to_enable("i2c_arm=on", root),
        )
    try:
        from smbus2 import SMBus
    except ImportError:
        raise AdcError("I2C needs the package smbus2", how_to_install("smbus2")) from None
    try:
        return I2cDevice(SMBus(str(node)), address)
    except PermissionError:
        raise AdcError(
            f"{node}: no permission", "add this user to the group i2c, log in again"
        ) from None
    except OSError as error:
        raise AdcError(f"{node}: {error.strerror}") from None


class SimulatedI2cChip(SimulatedChip):
    """A chip of 16-bit registers."""

    @abstractmethod
    def read_register(self, register: int) -> int: ...

    @abstractmethod
    def write_register(self, register: int, word: int) -> None: ...

    def connect(self, how: str = "transfers") -> I2cDevice:
        return I2cDevice(SimulatedI2c({0: self}), 0)


class SimulatedI2c:
    """A bus with chips, by address. An address without a chip fails as the kernel reports it."""

    def __init__(self, chips: Mapping[int, SimulatedI2cChip]) -> None:
        self._chips = chips

    def _chip(self, address: int) -> SimulatedI2cChip:
        chip = self._chips.get(address)
        if chip is None or not chip.present:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
        return chip

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> None:
        high, low = data
        self._chip(address).write_register(register, high << 8 | low)

    def read_i2c_block_data(self, address: int, register: int, length: int) -> list[int]:
        if length != 2:
            raise ValueError("registers have two bytes")
        word = self._chip(address).read_register(register)
        return [word >> 8, word & 0xFF]

    def close(self) -> None:
        pass
