"""Each packaged profile of a Raspberry Pi, from the chip's pins or registers to the values of the controls.

Hardware SPI, too, goes bit by bit through gpiozero's mock pins: its factory gives an interface on the bus's own lines.
"""

from __future__ import annotations

import os
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_wire import last, notices, scan_for
from clock import Clock
from gpiozero import Device
from gpiozero.pins.mock import MockFactory
from test_adc import FakeI2c

from device.adc import AdcError, open_spi
from device.board import Board
from device.controls import find
from device.profile import paths
from device.simulated import Mcp3xxxChip, Pot, hang_on_mock_pins

HARDWARE = (11, 10, 9, 8)
"""SPI 0's SCLK, MOSI, MISO, CE0 on a Raspberry Pi's header."""
NAMES = ("gain", "x", "y", "z", "width")


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the buses switched on."""
    (tmp_path / "dev").mkdir()
    for node in ("spidev0.0", "i2c-1"):
        (tmp_path / "dev" / node).touch()
    return tmp_path


class Bench:
    """Pots and a chip on the pins of a packaged profile, and its board."""

    def __init__(self, profile: str, lines: tuple[int, ...], bits: int, root: Path) -> None:
        self.clock = Clock()
        self.pots = {
            name: Pot(0.5, noise=0.5 / 1024, hum=1 / 1024, seed=n, clock=self.clock)
            for n, name in enumerate(NAMES)
        }
        self.chip = Mcp3xxxChip([pot.volts for pot in self.pots.values()], bits)
        hang_on_mock_pins(self.chip, *lines)
        self.board = Board.open(profile, clock=self.clock, root=root)

    def turn(self, name: str, position: float) -> dict[str, float]:
        """A quick turn, a tenth of a second; what the controls say half a second later."""
        begin, events = self.pots[name].position, []
        for step in range(1, 11):
            self.pots[name].position = begin + (position - begin) * step / 10
            events += scan_for(self.board, self.clock, max(0.01, self.board.scan_s))
        return last(events + scan_for(self.board, self.clock, 0.5))


@pytest.fixture(
    params=[
        ("pi-mcp3008", HARDWARE, 10),
        ("pi-mcp3208", HARDWARE, 12),
        ("pi-mcp3008-pins", (21, 20, 19, 16), 10),
    ],
    ids=lambda param: param[0],
)
def bench(request, pins: MockFactory, root: Path) -> Iterator[Bench]:
    bench = Bench(*request.param, root)
    yield bench
    bench.board.close()


def test_pots_reach_their_ends_and_middles_through_the_pins(bench: Bench) -> None:
    values = last(scan_for(bench.board, bench.clock, 0.5))
    assert values["x"] == pytest.approx(4.5, abs=0.03)
    for name in NAMES:
        control = find(name)
        assert bench.turn(name, 1.0) == {name: control.maximum}
        assert bench.turn(name, 0.0) == {name: control.minimum}


def test_a_chip_that_leaves_while_it_plays_is_told_once_and_comes_back(bench: Bench) -> None:
    scan_for(bench.board, bench.clock, 0.5)
    bench.chip.present = False
    (told,) = notices(scan_for(bench.board, bench.clock, 3))
    assert "adc 1" in told and "MISO" in told and "keep their values" in told
    bench.chip.present = True
    assert "answers again" in notices(scan_for(bench.board, bench.clock, 1.5))[0]
    assert bench.turn("y", 1.0) == {"y": 9.0}


def test_a_chip_that_answers_nonsense_moves_no_control_for_long(bench: Bench) -> None:
    """Random bits: now and then a code, now and then no null bit. What is held in the end is where the knobs were."""
    scan_for(bench.board, bench.clock, 1)
    bits = random.Random(5)
    clock = bench.chip.clock
    bench.chip.clock = lambda bit: bits.getrandbits(1)  # type: ignore[method-assign]
    events = scan_for(bench.board, bench.clock, 5)
    assert bench.board.faults()
    assert len(notices(events)) <= 5 * 4  # a few a second at most, not one a scan
    bench.chip.clock = clock  # type: ignore[method-assign]
    scan_for(bench.board, bench.clock, 3)
    assert not bench.board.faults()
    values = {name: bench.board.knobs[name].filter.position for name in NAMES}
    assert values == pytest.approx(dict.fromkeys(NAMES, 0.5), abs=5e-3)


def test_ads1115_board_through_its_registers(
    pins: MockFactory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = FakeI2c({0x48: [3.3, 0.0, 1.65, 0.0], 0x49: [3.3, 0.0, 0.0, 0.0]}, conversion_reads=1)
    opened = []

    def smbus(node: str) -> FakeI2c:
        opened.append(node)
        return bus

    module = types.ModuleType("smbus2")
    module.SMBus = smbus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "smbus2", module)
    clock = Clock()
    with Board.open("pi-ads1115", clock=clock, root=root) as board:
        values = last(scan_for(board, clock, 1))
        assert values == {
            "gain": 12.0,
            "x": 0.0,
            "y": pytest.approx(4.5, abs=0.03),
            "z": 9.0,
            "width": -4.0,
        }
        assert opened[0] == str(root / "dev/i2c-1")
        bus.plugged = False
        told = notices(scan_for(board, clock, 3))
        assert [("adc 1" in text, "adc 2" in text) for text in told] == [
            (True, False),
            (False, True),
        ]
        bus.plugged = True
        bus.volts[0x48][0] = 0.0
        assert last(scan_for(board, clock, 2)) == {"gain": -140.0}
        assert not board.faults()


def test_a_bus_without_permission_names_the_group(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # root may everything: a plain user's view
    with pytest.raises(
        AdcError, match=r"spidev0\.0: no permission: add this user to the group spi"
    ):
        open_spi(0, 0, root)


def test_an_i2c_bus_without_permission_names_the_group(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def smbus(node: str) -> None:
        raise PermissionError(13, "Permission denied")

    module = types.ModuleType("smbus2")
    module.SMBus = smbus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "smbus2", module)
    clock = Clock()
    with Board.open("pi-ads1115", clock=clock, root=root) as board:
        scan_for(board, clock, 0.1)
        assert "no permission: add this user to the group i2c" in board.faults()["adc 1"]


def test_every_profile_of_a_pi_is_tried_here() -> None:
    """A new one wants a row above (IIO: tests of the board)."""
    assert set(paths()) - {"sim", "none"} == {
        "pi-mcp3008",
        "pi-mcp3208",
        "pi-mcp3008-pins",
        "pi-ads1115",
        "pi-iio",
        "beagle-iio",
    }
