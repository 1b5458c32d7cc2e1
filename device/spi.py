"""SPI: the bus of a board, through gpiozero, and a simulated one."""

from __future__ import annotations

import contextlib
import os
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from device.adc import AdcError, SimulatedChip
from device.boot_config import how_to_enable
from device.lines import LineError, pin_factory

RATE_HZ = 1_000_000
"""An MCP3008 at 3.3 V allows 1.6 MHz."""


class SpiLines(NamedTuple):
    """GPIO lines, BCM numbers."""

    clock: int
    mosi: int
    miso: int
    select: int


SPI0 = (SpiLines(11, 10, 9, 8), SpiLines(11, 10, 9, 7))
"""Bus 0 of a Raspberry Pi's header, by device: CE0, CE1."""
MOCK_LINES = SpiLines(21, 20, 19, 16)
"""Lines of a chip that is simulated on mock pins, as in the profile `pi-mcp3008-pins`."""


class Spi(Protocol):
    """The part of gpiozero's SPI interfaces that drivers use."""

    def transfer(self, data: list[int]) -> Sequence[int]: ...

    def close(self) -> None: ...


def open_spi(port: int, device: int, root: Path = Path("/")) -> Spi:
    """The hardware SPI bus, at RATE_HZ. Raises AdcError."""
    node = root / f"dev/spidev{port}.{device}"
    if not node.exists():
        raise AdcError(
            f"{node} does not exist, the SPI bus is off",
            how_to_enable("spi=on", root),
        )
    if not os.access(node, os.R_OK | os.W_OK):
        raise AdcError(
            f"{node}: no permission",
            "add this user to the group spi (sudo usermod -aG spi $USER), log in again",
        )
    from gpiozero import SPIFixedRate, SPISoftwareFallback

    with warnings.catch_warnings():  # software SPI takes ten times as long: an error, no fallback
        warnings.simplefilter("error", SPISoftwareFallback)
        spi = _gpiozero_spi(port=port, device=device)
    with contextlib.suppress(SPIFixedRate):
        spi.rate = RATE_HZ
    return spi  # type: ignore[no-any-return]


def open_spi_pins(clock: int, mosi: int, miso: int, select: int) -> Spi:
    """SPI in software on any four lines, 0.3 ms a channel. Raises AdcError."""
    return _gpiozero_spi(  # type: ignore[no-any-return]
        clock_pin=clock, mosi_pin=mosi, miso_pin=miso, select_pin=select
    )


def _gpiozero_spi(**where: int) -> Any:
    try:
        return pin_factory().spi(**where)
    except LineError as error:
        raise AdcError(error.reason, error.remedy) from None
    except Exception as error:  # gpiozero's factories raise the errors of their libraries
        raise AdcError(f"SPI on {where}: {error}") from None


class SimulatedSpiChip(SimulatedChip):
    """A chip that is clocked bit by bit, on gpiozero's mock pins or in whole transfers.

    The bits are the same. Transfers are the default: toggling mock pins costs 0.3 ms a reading.
    """

    @abstractmethod
    def select(self) -> None:
        """Chip select falls: a new conversation begins."""

    @abstractmethod
    def clock(self, bit_in: int) -> int:
        """One clock: takes the bit on DIN, returns the bit on DOUT, sampled on the rising edge."""

    def connect(self, how: str = "transfers") -> Spi:
        if how == "transfers":
            return SimulatedSpi(self)
        use_mock_pins()
        connect_to_mock_pins(self, *MOCK_LINES)
        return open_spi_pins(*MOCK_LINES)


class SimulatedSpi:
    """SPI by whole transfers."""

    def __init__(self, chip: SimulatedSpiChip) -> None:
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
    """Switch gpiozero to mock pins, for the whole process."""
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    if not isinstance(Device.pin_factory, MockFactory):
        Device.pin_factory = MockFactory()


def connect_to_mock_pins(
    chip: SimulatedSpiChip, clock: int, mosi: int, miso: int, select: int
) -> Any:
    """Connect the chip to four of gpiozero's mock pins. Returns gpiozero's device.

    The pin factory must be a MockFactory.
    """
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
