"""Footswitches and LEDs on gpiozero's mock pins and on a gpiochip behind lgpio's calls."""

import sys
import types

import pytest
from board_wire import last, scan_for
from clock import Clock
from gpiozero import Device

from device.board import Board
from device.lines import LineError, open_input, open_output


def test_a_switch_to_ground_and_an_led(pins) -> None:
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


def test_a_line_that_is_taken_or_not_there_is_told(pins) -> None:
    switch = open_input(17)
    with pytest.raises(LineError, match="line 17"):
        open_output(17)
    with pytest.raises(LineError, match="line 99"):
        open_input(99)
    switch.close()


def test_a_machine_without_lines_is_told_in_one_line(monkeypatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    with pytest.raises(LineError, match="set gpiochip"):
        open_input(17)


def test_the_bypass_of_a_real_profile_through_the_pins(pins, tmp_path) -> None:
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
    """What lgpio offers of a gpiochip: levels by line."""

    SET_PULL_UP = 32

    def __init__(self) -> None:
        super().__init__("lgpio")
        self.levels: dict[int, int] = {}
        self.open = 0
        self.lines = 32

    def _must_be(self, line):
        if line >= self.lines:
            raise Exception("bad GPIO number")  # lgpio.error is an Exception and no OSError

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


def test_lines_of_a_gpiochip(monkeypatch) -> None:
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


def test_a_gpiochip_without_such_lines_or_that_leaves_is_a_fault_and_ends_nothing(
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
