"""The base class of the converter (ADC) drivers.

Each chip has a driver class. Its attributes describe the chip to profiles and the wiring table, an
instance reads the chip, and `simulation` returns a model that answers at the wire.
`device/chips.py` lists the drivers. To add a chip, write its class, add the class to that list and
name the chip in a profile; `tests/device/test_chips.py` then tests it.

Every failure is an AdcError that says what to do. Instances are used from one thread, and their
methods do not wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from device.faults import PartError

Where = tuple[int, ...] | str


class AdcError(PartError):
    """The converter does not answer, or its answer is invalid."""


@dataclass(frozen=True)
class AdcRow:
    """A converter's row of a profile."""

    chip: str
    """Key of `device.chips.CHIPS`."""
    bus: str
    """The key that says where the chip is: one of the chip's `buses`, or "sim"."""
    where: Where
    bits: int

    def __str__(self) -> str:
        if isinstance(self.where, str):
            place = self.where if self.bus == "name" else f"{self.bus} {self.where}"
        elif self.bus == "i2c":
            place = f"i2c {self.where[0]} {self.where[1]:#x}"
        else:
            place = " ".join((self.bus, *map(str, self.where)))
        return f"{self.chip} ({place})"


class SimulatedChip(ABC):
    """A chip of a simulated board. Its inputs are functions that return fractions of the supply."""

    present = True
    """False: the chip is unplugged."""

    @abstractmethod
    def connect(self, how: str) -> Any:
        """The wire to this chip, for the driver's constructor. how: one of its `simulations`."""


class Adc(ABC):
    """An open converter."""

    name: ClassVar[str]
    """As profiles write it: `chip = "mcp3008"`."""
    channels: ClassVar[int]
    """Number of inputs."""
    bits: ClassVar[int]
    """0 if the profile says it."""
    buses: ClassVar[tuple[str, ...]]
    """Keys of a profile row. One of them says where the chip is: "spi", "pins", "i2c", "name"."""
    simulations: ClassVar[tuple[str, ...]] = ("transfers",)
    """Values of `sim` in a profile row."""
    input_pin: ClassVar[str]
    """Name of an input in the wiring table, such as "CH{}"."""

    full_scale: int
    """The highest code that `read` returns."""

    @abstractmethod
    def __init__(self, wire: Any, channels: Sequence[int], bits: int = 0) -> None:
        """wire: from `connect`. channels: the inputs to read. bits: used if the chip's are 0."""

    @classmethod
    def open(cls, row: AdcRow, channels: Sequence[int], root: Path = Path("/")) -> Self:
        """Open the chip of a profile row. root: of /dev and /sys, for tests. Raises AdcError."""
        return cls(cls.connect(row, root), channels, row.bits)

    @classmethod
    @abstractmethod
    def connect(cls, row: AdcRow, root: Path) -> Any:
        """Open the bus. Raises AdcError."""

    @classmethod
    def place_fault(cls, bus: str, where: Where) -> str:
        """What is wrong with a place that a profile gives; "" if it is valid."""
        return ""

    @classmethod
    def top_code(cls, bits: int) -> int:
        """The code of a pot at its upper end."""
        return (1 << (cls.bits or bits)) - 1

    @classmethod
    @abstractmethod
    def wires(cls, row: AdcRow) -> list[tuple[str, str]]:
        """The chip's pins except inputs, each with the Raspberry Pi pin that it goes to."""

    @classmethod
    @abstractmethod
    def simulation(cls, inputs: Sequence[Callable[[], float]], bits: int = 0) -> SimulatedChip:
        """A model of the chip. inputs: one for each channel."""

    @abstractmethod
    def read(self) -> Sequence[int | None]:
        """A code for each channel of the constructor, in that order: 0 to `top_code`.

        None where there is no new code. Raises AdcError.
        """

    @abstractmethod
    def close(self) -> None: ...
