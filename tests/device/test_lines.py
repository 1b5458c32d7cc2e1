"""Footswitches and LEDs on gpiozero's mock pins and on a gpiochip of a fake lgpio."""

import sys
import types

import pytest
from board_wire import last, scan_for
from clock import Clock
from gpiozero import Device

from device.board import Board
from device.lines import LineError, open_input, open_output


def test_switch_reads_ground_and_led_drives_pin(pins) -> None:
    switch, led = open_input(17), open_output(22)
    assert pins.pin(17).pull == "up"
    assert not switch.read()
    pins.pin(17).drive_low()
    assert switch.read()
    led.write(True)
    assert pins.pin(22).state == 1
    led.write(False)
    assert pins.pin(22).state == 0
    switch.close()
    led.close()


def test_open_names_line_in_use_or_missing(pins) -> None:
    switch = open_input(17)
    with pytest.raises(LineError, match="line 17"):
        open_output(17)
    with pytest.raises(LineError, match="line 99"):
        open_input(99)
    switch.close()


def test_open_without_raspberry_pi_suggests_gpiochip(monkeypatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    with pytest.raises(LineError, match="set gpiochip"):
        open_input(17)


def test_bypass_switch_of_profile_works_through_pins(pins, tmp_path) -> None:
    folder = tmp_path / "sys/bus/iio/devices/iio:device0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("mcp3008\n")
    for channel in range(8):
        (folder / f"in_voltage{channel}_raw").write_text("512\n")
    clock = Clock()
    with Board.open("pi-iio", clock=clock, root=tmp_path) as board:
        scan_for(board, clock, 1)
        assert pins.pin(22).state == 1
        pins.pin(17).drive_low()
        assert last(scan_for(board, clock, 0.1)) == {"bypass": 1.0}
        pins.pin(17).drive_high()
        assert not scan_for(board, clock, 0.1)
        assert pins.pin(22).state == 0


class FakeChip(types.ModuleType):
    """A fake lgpio module with one gpiochip: levels by line."""

    SET_PULL_UP = 32

    def __init__(self) -> None:
        super().__init__("lgpio")
        self.levels: dict[int, int] = {}
        self.open = 0
        self.lines = 32

    def _must_be(self, line):
        if line >= self.lines:
            raise Exception("bad GPIO number")  # lgpio.error is no OSError

    def gpiochip_open(self, chip):
        if chip != 1:
            raise RuntimeError("can not open gpiochip")
        self.open += 1
        return 7

    def gpiochip_close(self, handle):
        self.open -= 1

    def gpio_claim_input(self, handle, line, flags):
        self._must_be(line)
        self.levels[line] = int(flags == self.SET_PULL_UP)

    def gpio_claim_output(self, handle, line, level):
        self.levels[line] = level

    def gpio_read(self, handle, line):
        self._must_be(line)
        return self.levels[line]

    def gpio_write(self, handle, line, level):
        self._must_be(line)
        self.levels[line] = level


def test_gpiochip_switch_and_led(monkeypatch) -> None:
    chip = FakeChip()
    monkeypatch.setitem(sys.modules, "lgpio", chip)
    switch, led = open_input(28, 1), open_output(12, 1)
    assert not switch.read()
    chip.levels[28] = 0
    assert switch.read()
    led.write(True)
    assert chip.levels[12] == 1
    switch.close()
    led.close()
    assert chip.open == 0
    with pytest.raises(LineError, match="group gpio"):
        open_input(28, 0)


def test_gpiochip_errors_are_line_errors_and_release_chip(
    monkeypatch,
) -> None:
    chip = FakeChip()
    monkeypatch.setitem(sys.modules, "lgpio", chip)
    switch, led = open_input(28, 1), open_output(12, 1)
    chip.lines = 8
    with pytest.raises(LineError, match="line 28: bad GPIO number"):
        switch.read()
    with pytest.raises(LineError, match="line 12: bad GPIO number"):
        led.write(True)
    switch.close()
    led.close()
    with pytest.raises(LineError, match="line 28: bad GPIO number"):
        open_input(28, 1)
    assert chip.open == 0
