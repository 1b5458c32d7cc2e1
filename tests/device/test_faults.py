"""Faults of parts: their sentence, and what shows them."""

from __future__ import annotations

import pytest
from board_wire import flashes, scan_for
from clock import Clock

from device.adc import AdcError
from device.board import Board
from device.events import Notice
from device.faults import Fault, Kind, PartName, grouped
from device.lines import FAULTS, LED_FAULTS, LineError


def test_fault_text_has_place_reason_remedy_and_effect() -> None:
    part = PartName("adc", "1", "mine.toml, adc 1: mcp3008 (spi 0 0)")
    fault = Fault.of(part, AdcError("no chip answers", "check its supply"))
    assert str(fault.part) == "adc 1"
    assert fault.text == (
        "mine.toml, adc 1: mcp3008 (spi 0 0): no chip answers: check its supply; "
        "its knobs keep their values"
    )


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), LineError("broken")])
def test_fault_of_error_without_remedy_has_reason_only(error: OSError) -> None:
    fault = Fault.of(PartName("switch", "2", "mine.toml, switch 2 (tap)"), error)
    assert fault.remedy == ""
    assert fault.text in (
        "mine.toml, switch 2 (tap): Input/output error",
        "mine.toml, switch 2 (tap): broken",
    )


class Broken:
    """A line that fails."""

    def read(self) -> bool:
        raise LineError("broken")

    def write(self, on: bool) -> None:
        raise LineError("broken")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("kind", ["adc", "knob", "switch", "led"])
def test_fault_led_flashes_by_kind_of_part(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr("device.parts.open_input", lambda line, chip: Broken())
    monkeypatch.setattr("device.parts.open_output", lambda line, chip: Broken())
    with Board.open("sim", clock=clock) as board:
        scan_for(board, clock, 1)
        match kind:
            case "adc":
                board.simulation.chips[0].present = False
            case "knob":
                board.simulation.pots["x"].wire = "ground"
            case "switch":
                monkeypatch.setattr(board.simulation.switches["tap"], "read", Broken().read)
            case "led":
                monkeypatch.setattr(board.simulation.leds["on"], "write", Broken().write)
                board.control_moved("bypass", 1.0)
        shown = LED_FAULTS.get(kind)
        assert flashes(board, clock) == (FAULTS[shown] if shown else 0)
        assert {fault.part.kind for fault in board.faults().values()} == {kind}


def test_lines_that_fail_for_same_cause_give_one_notice(clock: Clock) -> None:
    with Board.open("sim", clock=clock) as board:
        scan_for(board, clock, 1)
        for switch in board.simulation.switches.values():
            switch.read = Broken().read
        events = [event for event in scan_for(board, clock, 0.5) if isinstance(event, Notice)]
        assert len(events) == 1
        assert events[0].fault is not None and events[0].fault.part.kind == "switch"
        assert len(board.faults()) == len(board.simulation.switches)


def test_parts_with_one_cause_are_one_line() -> None:
    def fault(kind: Kind, name: str, reason: str) -> Fault:
        return Fault(PartName(kind, name, f"mine.toml, {kind} {name}"), reason, "mend it")

    groups = grouped(
        [
            *(fault("switch", str(number), "no lines") for number in range(1, 5)),
            *(fault("led", name, "no lines") for name in ("1", "3", "4")),
            fault("adc", "1", "no bus"),
            *(fault("knob", name, "floats") for name in ("x", "mix")),
        ]
    )
    assert [(group["parts"], group["reason"], group["effect"]) for group in groups] == [
        ("mine.toml: switches 1 to 4, leds 1, 3, 4", "no lines", ""),
        ("mine.toml, adc 1", "no bus", "its knobs keep their values"),
        ("mine.toml: knobs x, mix", "floats", "they keep their values"),
    ]
    assert {group["remedy"] for group in groups} == {"mend it"}
