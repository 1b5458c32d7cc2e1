"""Every packaged profile of a Raspberry Pi on SPI or I2C, from the chip's wire to the controls.

SPI goes bit by bit through gpiozero's mock pins, which stand in for the hardware bus as well.
"""

from __future__ import annotations

import os
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from board_wire import last, notices, scan_for
from clock import Clock
from gpiozero.pins.mock import MockFactory

from device.adc import AdcError, AdcRow, SimulatedChip
from device.board import Board
from device.chips import CHIPS
from device.controls import find
from device.i2c import SimulatedI2c
from device.profile import Profile, load, paths
from device.simulated import Pot
from device.spi import SPI0, connect_to_mock_pins, open_spi

NAMES = ("gain", "x", "y", "z", "width")


def profiles_on(*buses: str) -> list[str]:
    return [name for name in paths() if {adc.bus for adc in load(name).adcs} & set(buses)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the buses switched on."""
    (tmp_path / "dev").mkdir()
    for node in ("spidev0.0", "i2c-1"):
        (tmp_path / "dev" / node).touch()
    return tmp_path


def use_smbus(monkeypatch: pytest.MonkeyPatch, smbus: Callable[[str], object]) -> None:
    module = types.ModuleType("smbus2")
    module.SMBus = smbus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "smbus2", module)


class Bench:
    """Simulated pots and chips on the buses of a packaged profile, and its board."""

    def __init__(self, name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.pots = {
            name: Pot(0.5, noise=0.5 / 1024, hum=1 / 1024, seed=n, clock=self.clock)
            for n, name in enumerate(NAMES)
        }
        profile = load(name)
        self.chips = [self._chip(profile, number) for number in range(len(profile.adcs))]
        i2c = {
            int(row.where[1]): chip
            for row, chip in zip(profile.adcs, self.chips, strict=True)
            if row.bus == "i2c"
        }
        use_smbus(monkeypatch, lambda node: SimulatedI2c(i2c))
        self.board = Board.open(name, clock=self.clock, root=root)

    def _chip(self, profile: Profile, number: int) -> SimulatedChip:
        row: AdcRow = profile.adcs[number]
        inputs: list[Callable[[], float]] = [lambda: 0.0] * CHIPS[row.chip].channels
        for knob in profile.knobs:
            if knob.adc == number:
                inputs[knob.channel] = self.pots[knob.control.name].volts
        chip = CHIPS[row.chip].simulation(inputs, row.bits)
        if row.bus in ("spi", "pins"):
            lines = SPI0[row.where[1]] if row.bus == "spi" else row.where
            connect_to_mock_pins(chip, *lines)
        return chip

    def plug(self, present: bool) -> None:
        """Plug all chips in, or unplug them."""
        for chip in self.chips:
            chip.present = present

    def turn(self, name: str, position: float) -> dict[str, float]:
        """Turn a pot within a tenth of a second. The controls' values half a second later."""
        begin, events = self.pots[name].position, []
        for step in range(1, 11):
            self.pots[name].position = begin + (position - begin) * step / 10
            events += scan_for(self.board, self.clock, max(0.01, self.board.scan_s))
        return last(events + scan_for(self.board, self.clock, 0.5))


@pytest.fixture(params=profiles_on("spi", "pins", "i2c"))
def bench(
    request, pins: MockFactory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    bench = Bench(request.param, root, monkeypatch)
    yield bench
    bench.board.close()


def test_pots_reach_ends_and_middle_through_wire(bench: Bench) -> None:
    values = last(scan_for(bench.board, bench.clock, 0.5))
    assert values["x"] == pytest.approx(4.5, abs=0.03)
    for name in NAMES:
        control = find(name)
        assert bench.turn(name, 1.0) == {name: control.maximum}
        assert bench.turn(name, 0.0) == {name: control.minimum}


def test_unplugged_chip_is_reported_once_and_recovers(bench: Bench) -> None:
    scan_for(bench.board, bench.clock, 0.5)
    bench.plug(False)
    reports = notices(scan_for(bench.board, bench.clock, 3))
    assert len(reports) == len(bench.chips)
    for number, text in enumerate(reports, 1):
        assert f"adc {number}" in text and "check" in text and "keep their values" in text
    bench.plug(True)
    assert "answers again" in notices(scan_for(bench.board, bench.clock, 1.5))[0]
    assert bench.turn("y", 1.0) == {"y": 9.0}


@pytest.mark.parametrize("bench", profiles_on("spi", "pins"), indirect=True)
def test_random_bits_leave_controls_at_their_values(bench: Bench) -> None:
    """Some readings look valid, some fail at the null bit. The knobs return to their positions."""
    scan_for(bench.board, bench.clock, 1)
    (chip,) = bench.chips
    bits = random.Random(5)
    clock = chip.clock
    chip.clock = lambda bit: bits.getrandbits(1)
    events = scan_for(bench.board, bench.clock, 5)
    assert bench.board.faults()
    assert len(notices(events)) <= 5 * 4  # a few a second at most, not one a scan
    chip.clock = clock
    scan_for(bench.board, bench.clock, 3)
    assert not bench.board.faults()
    values = {name: bench.board.knobs[name].filter.position for name in NAMES}
    assert values == pytest.approx(dict.fromkeys(NAMES, 0.5), abs=5e-3)


def test_i2c_board_opens_bus_of_its_profile(
    pins: MockFactory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def smbus(node: str) -> SimulatedI2c:
        opened.append(node)
        return SimulatedI2c({})

    use_smbus(monkeypatch, smbus)
    clock = Clock()
    with Board.open("pi-ads1115", clock=clock, root=root) as board:
        scan_for(board, clock, 0.1)
    assert set(opened) == {str(root / "dev/i2c-1")}


def test_spi_without_permission_names_group(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root
    with pytest.raises(
        AdcError, match=r"spidev0\.0: no permission: add this user to the group spi"
    ):
        open_spi(0, 0, root)


def test_i2c_without_permission_names_group(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def smbus(node: str) -> None:
        raise PermissionError(13, "Permission denied")

    use_smbus(monkeypatch, smbus)
    clock = Clock()
    with Board.open("pi-ads1115", clock=clock, root=root) as board:
        scan_for(board, clock, 0.1)
        assert "no permission: add this user to the group i2c" in board.faults()["adc 1"].text


def test_every_profile_with_converter_is_tested() -> None:
    """On SPI and I2C above, in simulation and with IIO in test_board.py."""
    tested = profiles_on("spi", "pins", "i2c", "sim", "name")
    assert set(paths()) - set(tested) == {"none"}
