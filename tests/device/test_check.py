"""Check and calibration on a simulated board with wiring faults."""

import json
import re

import pytest
from board_wire import board_with_switch, last, scan_for
from clock import Clock

from device import check
from device.board import Board


def wait(clock: Clock):
    def passes(seconds: float) -> None:
        clock.now += seconds

    return passes


@pytest.fixture
def board(clock):
    with Board.open("sim", clock=clock) as board:
        yield board


def wrong(findings) -> dict[str, str]:
    return {finding.part: finding.text for finding in findings if not finding.ok}


def test_check_of_good_board_finds_nothing_wrong(board, clock) -> None:
    findings = check.at_rest(board, check.watch(board, 1, wait(clock)))
    assert not wrong(findings)
    assert len(findings) == 1 + 5 + 4  # converter, knobs, switches


def test_watch_measures_noise(board, clock) -> None:
    pot = board.simulation.pots["x"]
    pot.noise, pot.hum = 3 / 1024, 0.0
    reading = check.watch(board, 10, wait(clock))["x"]
    with_rounding = (9 + 1 / 12) ** 0.5 / 1024
    assert reading.noise == pytest.approx(with_rounding, rel=0.1)


@pytest.mark.parametrize(
    ("harm", "part", "says"),
    [
        (lambda sim: setattr(sim.pots["y"], "wire", "loose"), "knob y", "floats.*middle leg"),
        (lambda sim: setattr(sim.pots["y"], "noise", 8 / 1024), "knob y", "noisy.*100 nF"),
        (lambda sim: setattr(sim.chips[0], "present", False), "adc 1", "no chip answers.*MISO"),
        (
            lambda sim: [setattr(pot, "wire", "ground") for pot in sim.pots.values()],
            "adc 1",
            "0 on every channel.*supply",
        ),
        (
            lambda sim: [setattr(pot, "wire", "supply") for pot in sim.pots.values()],
            "adc 1",
            "highest code.*ground",
        ),
        (lambda sim: sim.switches["tap"].set(True), "switch 4", "closed while not pressed"),
    ],
)
def test_check_at_rest_finds_fault_of_one_part(board, clock, harm, part: str, says: str) -> None:
    harm(board.simulation)
    found = wrong(check.at_rest(board, check.watch(board, 1, wait(clock))))
    assert set(found) == {part}
    assert re.search(says, found[part])


def both_ends(board, clock, swapped=(), stuck=()):
    readings = []
    for end in (1.0, 0.0):
        for name in board.simulation.pots:
            if name not in stuck:
                board.simulation.turn(name, 1 - end if name in swapped else end)
        scan_for(board, clock, 0.5)
        readings.append(check.watch(board, 0.5, wait(clock)))
    return readings


def test_check_at_ends_finds_swapped_stuck_and_short_pots(board, clock) -> None:
    board.simulation.pots["z"].ends = (0.05, 0.8)
    board.simulation.pots["width"].ends = (0.1, 0.4)
    found = wrong(check.at_ends(board, *both_ends(board, clock, swapped=("x",), stuck=("y",))))
    assert set(found) == {"knob x", "knob y", "knob z", "knob width"}
    assert "inverted = true" in found["knob x"]
    assert "does not move" in found["knob y"]
    assert "nverb board calibrate" in found["knob z"]
    assert "outer legs" in found["knob width"]


def test_calibrated_pot_of_short_travel_reaches_both_ends(board, clock, tmp_path) -> None:
    board.simulation.pots["z"].ends = (0.05, 0.8)
    ends, findings = check.calibrated(board, *both_ends(board, clock, stuck=("y",)))
    assert set(wrong(findings)) == {"knob y"}
    assert set(ends) == {"gain", "x", "z", "width"}
    assert ends["z"] == pytest.approx((0.05, 0.8), abs=0.01)
    (tmp_path / "calibration.json").write_text(json.dumps({"sim": ends}))
    with Board.open("sim", tmp_path, clock=clock) as again:
        again.simulation.pots["z"].ends = (0.05, 0.8)
        for end, value in ((1.0, 9.0), (0.0, 0.0)):
            again.simulation.turn("z", end)
            assert last(scan_for(again, clock, 1))["z"] == value


def test_presses_finds_switches_that_were_not_stepped_on(board, clock) -> None:
    scan_for(board, clock, 0.1)
    board.simulation.press("hold", 0.2)
    findings = check.presses(board, 1, wait(clock))
    assert [finding.part for finding in findings if finding.ok] == ["switch 2"]
    assert len(wrong(findings)) == 3


@pytest.mark.parametrize(
    ("keys", "closed_contacts", "latching", "at_rest", "stepped"),
    [
        ("", False, False, None, None),
        ("", True, False, "inverted = true in its row", "set inverted = true"),
        ("", False, True, None, "set latching = true"),
        ("", True, True, "latching = true", "set latching = true"),
        (", inverted = true", True, False, None, None),
        (", inverted = true", False, False, "take inverted = true out", "take inverted = true out"),
        (", latching = true", False, True, None, None),
        (", latching = true", True, True, None, None),
        (", latching = true", False, False, None, "take latching = true out"),
    ],
)
def test_check_finds_normally_closed_and_latching_switches(
    tmp_path, clock, keys: str, closed_contacts: bool, latching: bool, at_rest, stepped
) -> None:
    with board_with_switch(tmp_path, clock, keys) as board:
        switch = board.simulation.switches["bypass"]
        switch.latching = latching
        switch.normally_closed = closed_contacts
        switch.set(closed_contacts)
        found = wrong(check.at_rest(board, check.watch(board, 1, wait(clock))))
        assert set(found) == ({"switch 1"} if at_rest else set())
        assert not at_rest or at_rest in found["switch 1"]
        board.simulation.press("bypass", 0.2)
        found = wrong(check.presses(board, 1, wait(clock)))
        assert ("switch 1" in found) == bool(stepped)
        assert not stepped or stepped in found["switch 1"]
