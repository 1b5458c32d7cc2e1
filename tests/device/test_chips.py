"""What every converter driver has to have. Each test runs for each chip of the table, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_wire import last, scan_for
from clock import Clock

from device import wiring
from device.adc import Adc, AdcError
from device.board import Board
from device.chips import CHIPS
from device.profile import load, parse, paths

BITS = 12
"""For a chip whose profile row gives the bits."""
PLACES: dict[str, Any] = {
    "spi": [0, 0],
    "pins": [21, 20, 19, 16],
    "i2c": [1, 0x48],
    "name": "mcp3008",
}
"""A valid place on each bus."""

pytestmark = pytest.mark.parametrize("name", CHIPS)


def row_of(chip: type[Adc], **place: Any) -> dict[str, Any]:
    return {"chip": chip.name, **place, **({} if chip.bits else {"bits": BITS})}


def test_driver_declares_its_facts(name: str) -> None:
    chip = CHIPS[name]
    assert not chip.__abstractmethods__, (
        f"{name} lacks {', '.join(sorted(chip.__abstractmethods__))}"
    )
    assert 1 <= chip.channels <= 64
    assert chip.bits == 0 or 4 <= chip.bits <= 24
    assert chip.buses and set(chip.buses) <= set(PLACES)
    assert chip.simulations
    assert chip.input_pin.format(3).endswith("3")


def test_driver_reads_every_channel_of_its_simulation(name: str, pins: object) -> None:
    chip = CHIPS[name]
    inputs = [lambda n=n: n / chip.channels for n in range(chip.channels)]
    for how in chip.simulations:
        model = chip.simulation(inputs, BITS)
        channels = list(reversed(range(chip.channels)))
        adc = chip(model.connect(how), channels, BITS)
        codes: dict[int, int] = {}
        for _ in range(4 * chip.channels):  # some chips bring one code in each call
            codes |= {n: c for n, c in zip(channels, adc.read(), strict=True) if c is not None}
        fractions = {channel: code / adc.full_scale for channel, code in codes.items()}
        assert fractions == pytest.approx({n: read() for n, read in enumerate(inputs)}, abs=2e-3)
        adc.close()


def test_driver_detects_unplugged_simulation_and_recovers(name: str) -> None:
    chip = CHIPS[name]
    model = chip.simulation([lambda: 0.5] * chip.channels, BITS)
    adc = chip(model.connect(chip.simulations[0]), [0], BITS)
    adc.read()
    model.present = False
    with pytest.raises(AdcError) as caught:
        adc.read()
    assert caught.value.remedy
    model.present = True
    codes = [adc.read()[0] for _ in range(4)]
    assert any(codes)


def test_wiring_has_supply_and_ground_on_every_bus(name: str) -> None:
    chip = CHIPS[name]
    for bus in chip.buses:
        row = row_of(chip, **{bus: PLACES[bus]})
        profile = parse({"adc": [row], "knob": [{"channel": 0, "control": "x"}]}, Path("a.toml"))
        wires = wiring.wires(profile)
        ends = {wire.to for wire in wires if wire.part.startswith("converter")}
        assert {"3V3", "GND"} < ends, f"{name} on {bus}"
        assert all(wire.pin for wire in wires if wire.part.startswith("converter"))
        wiper = next(wire for wire in wires if wire.leg == "wiper")
        assert wiper.to == f"converter 1 {chip.input_pin.format(0)}"


def test_simulated_board_plays_with_chip(name: str, tmp_path: Path, clock: Clock) -> None:
    chip = CHIPS[name]
    bits = "" if chip.bits else f", bits = {BITS}"
    path = tmp_path / "board.toml"
    path.write_text(
        f'adc = [{{ chip = "{name}", sim = "{chip.simulations[0]}"{bits} }}]\n'
        'knob = [{ channel = 1, control = "x" }, { channel = 3, control = "y" }]\n'
    )
    with Board.open(str(path), clock=clock) as board:
        scan_for(board, clock, 1)
        board.simulation.turn("y", 1.0)
        assert last(scan_for(board, clock, 1)) == {"y": 9.0}
        board.simulation.chips[0].present = False
        scan_for(board, clock, 1)
        assert set(board.faults()) == {"adc 1"}
        board.simulation.chips[0].present = True
        scan_for(board, clock, 2)
        assert not board.faults()


def test_packaged_profile_uses_chip(name: str) -> None:
    assert any(adc.chip == name for profile in paths() for adc in load(profile).adcs)
