"""GPIO lines of footswitches and LEDs.

`open_input` and `open_output` use gpiozero on a Raspberry Pi (BCM numbers) and lgpio with a Linux
gpiochip elsewhere. Switches connect to ground, with the processor's pull-up; LEDs light when high.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from device.faults import PartError
from models.packages import how_to_install

T = TypeVar("T")


class LineError(PartError):
    """A line cannot be opened, read or written."""


class InputLine(Protocol):
    def read(self) -> bool:
        """True while the switch is closed."""

    def close(self) -> None: ...


class Output(Protocol):
    def write(self, on: bool) -> None: ...

    def close(self) -> None: ...


def pin_factory() -> Any:
    """gpiozero's pin factory, opened once. Raises LineError where gpiozero finds no Raspberry Pi.

    lgpio creates a FIFO in the folder LG_WD, by default the working folder, which may be read-only.
    """
    os.environ.setdefault("LG_WD", tempfile.gettempdir())
    from gpiozero import BadPinFactory, Device

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each library that gpiozero tries without success
        try:
            Device.ensure_pin_factory()
        except BadPinFactory:
            raise LineError(
                "gpiozero finds no lines: no Raspberry Pi, or no permission",
                "add this user to the group gpio; on other boards set gpiochip in the profile",
            ) from None
    return Device.pin_factory


class _PiInput:
    def __init__(self, line: int) -> None:
        # Polled. The edge events of DigitalInputDevice load a thread while a switch bounces.
        from gpiozero import InputDevice

        self._device = InputDevice(line, pull_up=True, pin_factory=pin_factory())

    def read(self) -> bool:
        return bool(self._device.value)

    def close(self) -> None:
        self._device.close()


class _PiOutput:
    def __init__(self, line: int) -> None:
        from gpiozero import OutputDevice

        self._device = OutputDevice(line, pin_factory=pin_factory())

    def write(self, on: bool) -> None:
        self._device.value = int(on)

    def close(self) -> None:
        self._device.close()


def _lgpio() -> Any:
    os.environ.setdefault("LG_WD", tempfile.gettempdir())
    try:
        return importlib.import_module("lgpio")
    except ImportError:
        raise LineError(
            "lines of a gpiochip need the package lgpio", how_to_install("lgpio")
        ) from None


class _ChipLine:
    """A claimed line of a gpiochip. Reading and writing raise LineError only."""

    def __init__(self, chip: int, line: int) -> None:
        self._lgpio, self._line = _lgpio(), line
        self._handle = self._lgpio.gpiochip_open(chip)
        try:
            self._claim()
        except Exception:
            self.close()
            raise

    def _claim(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._lgpio.gpiochip_close(self._handle)


class _ChipInput(_ChipLine):
    def _claim(self) -> None:
        self._lgpio.gpio_claim_input(self._handle, self._line, self._lgpio.SET_PULL_UP)

    def read(self) -> bool:
        try:
            return not self._lgpio.gpio_read(self._handle, self._line)
        except Exception as error:
            raise LineError(f"line {self._line}: {error}") from None


class _ChipOutput(_ChipLine):
    def _claim(self) -> None:
        self._lgpio.gpio_claim_output(self._handle, self._line, 0)

    def write(self, on: bool) -> None:
        try:
            self._lgpio.gpio_write(self._handle, self._line, int(on))
        except Exception as error:
            raise LineError(f"line {self._line}: {error}") from None


def open_input(line: int, chip: int | None = None) -> InputLine:
    """A switch. chip: the number of a gpiochip, or None for gpiozero. Raises LineError."""
    return _opened(lambda: _PiInput(line) if chip is None else _ChipInput(chip, line), line)


def open_output(line: int, chip: int | None = None) -> Output:
    """An LED. Raises LineError."""
    return _opened(lambda: _PiOutput(line) if chip is None else _ChipOutput(chip, line), line)


def _opened(opener: Callable[[], T], line: int) -> T:
    try:
        return opener()
    except LineError:
        raise
    except Exception as error:  # each library raises its own
        text, remedy = str(error).lower(), ""
        if "permission" in text or "can not open gpiochip" in text:
            remedy = "add this user to the group gpio, log in again"
        elif "pi revision" in text:
            remedy = "on other boards set gpiochip in the profile"
        raise LineError(f"line {line}: {error}", remedy) from None


class Debounce:
    """A switch without bounces: a change counts when two scans agree, then none for LOCKOUT_S.

    Two scans (10 ms at 200 a second) reject spikes of a long cable; the lockout is longer than the
    bounce of worn footswitches. What it reads in the first START_S is its state, not a change: it
    may be normally closed or latching, or a foot may be on it. A capacitor across its contacts is
    charged by then.
    """

    LOCKOUT_S = 0.025
    START_S = 0.05

    def __init__(self) -> None:
        self.pressed = False
        self._last: bool | None = None
        self._is_known = False
        self._until = self._started_by = 0.0

    def update(self, pressed: bool, now: float) -> bool:
        """Take a reading. True if `pressed` changed."""
        if self._last is None:
            self._started_by = now + self.START_S
        agreed, self._last = pressed == self._last, pressed
        if not agreed:
            return False
        if not self._is_known:
            self.pressed, self._is_known = pressed, now >= self._started_by
            return False
        if pressed == self.pressed or now < self._until:
            return False
        self.pressed = pressed
        self._until = now + self.LOCKOUT_S
        return True


FAULTS = {"knob": 1, "adc": 2, "audio": 3, "room": 4, "storage": 5, "profile": 6, "midi": 7}
"""Flashes of the fault LED between pauses. Of several faults, that with most flashes is shown.

| flashes | fault   | look at                                             |
|---------|---------|-----------------------------------------------------|
| 1       | knob    | a pot's wires (`nverb board check` says which)      |
| 2       | adc     | the converter: supply, bus, chip select             |
| 3       | audio   | no sound card, JACK or audio process, or its ports  |
|         |         | cannot be connected                                 |
| 4       | room    | a bank or model cannot be read; the old one plays   |
| 5       | storage | the data folder cannot be written, or is full       |
| 6       | profile | the board's profile is invalid: knobs have no effect |
| 7       | midi    | the process of the MIDI ports died or hung, or      |
|         |         | messages were lost                                  |
"""

LED_FAULTS: dict[str, str] = {"adc": "adc", "knob": "knob", "switch": "knob"}
"""The fault that the LED shows, by the kind of the faulty part. A faulty LED is not shown."""

FLASH_S, PAUSE_S, CLIP_HOLD_S = 0.15, 1.2, 0.3


def fault_light(faults: Iterable[str], now: float) -> bool:
    """Whether the fault LED is lit at `now` (seconds, any origin). faults: keys of FAULTS."""
    flashes = max((FAULTS[fault] for fault in faults), default=0)
    if not flashes:
        return False
    phase = now % (2 * FLASH_S * flashes + PAUSE_S)
    return phase < 2 * FLASH_S * flashes and phase % (2 * FLASH_S) < FLASH_S
