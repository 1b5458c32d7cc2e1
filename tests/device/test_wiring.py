"""Wiring picture and table: all rows of a profile, header pins of Raspberry Pi's documentation."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from device import profile, wiring
from device.chips import CHIPS

# from pinout.xyz and Raspberry Pi's documentation
PINS = {
    "GPIO11": 23,
    "GPIO9": 21,
    "GPIO10": 19,
    "GPIO8": 24,
    "GPIO17": 11,
    "GPIO27": 13,
    "GPIO5": 29,
    "GPIO6": 31,
    "GPIO2": 3,
}


def test_pin_of_gives_header_pins() -> None:
    assert {name: wiring.pin_of(name) for name in PINS} == PINS
    assert (wiring.pin_of("3V3"), wiring.pin_of("GND"), wiring.pin_of("GPIO99")) == (1, 6, 0)


@pytest.mark.parametrize("name", sorted(profile.paths()))
def test_svg_and_table_have_every_row(name: str) -> None:
    board = profile.load(name)
    root = ET.fromstring(wiring.svg(board))
    text = " ".join("".join(node.itertext()) for node in root.iter())
    for knob in board.knobs:
        assert f"pot {knob.control.name}" in text
        pin = CHIPS[board.adcs[knob.adc].chip].input_pin.format(knob.channel)
        assert re.search(rf"\b{pin}\b", text)
    for line in [switch.line for switch in board.switches] + [led.line for led in board.leds]:
        assert re.search(rf"(GPIO|line ){line}\b", text)
    assert len(wiring.table(board).splitlines()) == 2 + len(wiring.wires(board))


def test_audio_side_and_its_page_are_in_every_picture() -> None:
    text = wiring.svg(profile.load("pi-mcp3008"))
    for part in ("guitar jack", "output jack", "buffer or preamp", "docs/electrics.md"):
        assert part in text
    page = (Path(__file__).parents[2] / "docs/electrics.md").read_text()
    assert "1 MOhm" in page and "10 kOhm" in page and "2.2 kOhm" in page


@pytest.mark.parametrize("inverted", [False, True])
def test_an_expression_pedal_is_a_jack_whose_supply_cannot_be_shorted(
    tmp_path: Path, inverted: bool
) -> None:
    """The plug connects ring and sleeve for a moment, a mono plug for as long as it is in."""
    text = profile.paths()["pi-mcp3008"].read_text()
    row = '{ channel = 7, control = "mix", minimum = 20, maximum = 80, pedal = true'
    row += f", inverted = {str(inverted).lower()} }},\n"
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/mine.toml").write_text(text.replace("knob = [\n", f"knob = [\n  {row}"))
    found = {
        wire.leg: wire.to
        for wire in wiring.wires(profile.load("mine", tmp_path))
        if wire.part == "expression pedal mix"
    }
    assert found == {
        "tip": "converter 1 CH7, by 1 kOhm",
        "ring": "its supply, by 1 kOhm",
        "sleeve": "GND",
    }


def test_mcp3008_is_wired_to_spi0() -> None:
    found = {
        wire.leg: (wire.to, wire.pin)
        for wire in wiring.wires(profile.load("pi-mcp3008"))
        if "MCP3008" in wire.part
    }
    assert found["CLK (pin 13)"] == ("GPIO11", 23)
    assert found["DOUT (pin 12)"] == ("GPIO9", 21)
    assert found["DIN (pin 11)"] == ("GPIO10", 19)
    assert found["CS (pin 10)"] == ("GPIO8", 24)


def test_guide_has_current_wiring() -> None:
    board, docs = profile.load("pi-mcp3008"), Path(__file__).parents[2] / "docs"
    assert (docs / "wiring-pi-mcp3008.svg").read_text() == wiring.svg(board), (
        "nverb board picture pi-mcp3008 -o docs/wiring-pi-mcp3008.svg"
    )
    assert wiring.table(board) in (docs / "board.md").read_text(), "nverb board picture pi-mcp3008"
