"""Events, LEDs and faults of a board, as the control process gets them."""

import json
import os
import shutil

import pytest
from board_wire import board_with_switch, flashes, last, notices, scan_for
from clock import Clock

from device import profile
from device.board import Board
from device.calibration import CALIBRATION, read_calibrations
from device.controls import find, to_value
from device.events import Action
from device.lines import FAULTS, Debounce, fault_light
from device.profile import ProfileError
from device.simulated import SimulatedSwitch


@pytest.fixture
def board(clock):
    with Board.open("sim", clock=clock) as board:
        yield board


def test_knobs_report_positions_at_power_on(board: Board, clock: Clock) -> None:
    values = last(scan_for(board, clock, 1))
    assert set(values) == {"gain", "x", "y", "z", "width"}
    for name, value in values.items():
        control = find(name)
        assert value == pytest.approx(
            control.default, abs=2e-3 * (control.maximum - control.minimum)
        )


def test_turned_pot_moves_only_its_control_and_reaches_end(board: Board, clock: Clock) -> None:
    scan_for(board, clock, 1)
    board.simulation.play([(0.2, "x", 1.0), (0.5, "x", 1.0), (0.8, "x", 0.0)])
    changes = scan_for(board, clock, 0.5)
    assert {change.control for change in changes} == {"x"}
    assert last(changes) == {"x": 9.0}
    assert last(scan_for(board, clock, 0.5)) == {"x": 0.0}
    assert not board.simulation.playing


def test_knobs_keep_restored_values_until_pickup(clock: Clock) -> None:
    with Board.open("sim", clock=clock) as board:
        board.control_moved("x", 9.0)
        board.control_moved("y", 4.5)
        reported = last(scan_for(board, clock, 1))
        assert "x" not in reported
        distances = board.distances()  # without y, whose knob agrees
        assert distances == pytest.approx({"x": 0.5}, abs=2e-3)
        board.simulation.play([(0.3, "x", 0.2)])
        assert not scan_for(board, clock, 0.5)
        board.simulation.play([(0.5, "x", 1.0)])
        taken = [change.value for change in scan_for(board, clock, 1)]
        assert taken
        assert min(taken) > 8.7
        assert not board.distances()


def test_preset_detaches_knob_until_pickup(board: Board, clock: Clock) -> None:
    scan_for(board, clock, 1)
    board.control_moved("width", -4.0)
    assert board.distances()["width"] == pytest.approx(-0.625, abs=2e-3)
    board.simulation.turn("width", 0.6)
    assert not scan_for(board, clock, 0.5)
    board.simulation.play([(0.5, "width", 0.0)])
    assert last(scan_for(board, clock, 1)) == {"width": -4.0}


def test_bouncing_footswitch_toggles_once_per_press(board: Board, clock: Clock) -> None:
    scan_for(board, clock, 1)
    states = []
    for _ in range(6):
        board.simulation.press("bypass", 0.08)
        changes = scan_for(board, clock, 0.2)
        assert [change.control for change in changes] == ["bypass"]
        states.append(changes[0].value)
    assert states == [1, 0, 1, 0, 1, 0]
    board.control_moved("bypass", 1.0)  # as by MIDI
    board.simulation.press("bypass")
    assert last(scan_for(board, clock, 0.2)) == {"bypass": 0.0}


@pytest.mark.parametrize("action", ["bypass", "bypass hold", "preset next", "tap", "lowpass"])
@pytest.mark.parametrize("keys", ["", ", inverted = true", ", latching = true"])
@pytest.mark.parametrize("charged_s", [0.0, 0.02])
def test_switch_closed_at_power_on_is_a_state_not_a_press(
    tmp_path, clock: Clock, action: str, keys: str, charged_s: float
) -> None:
    """Normally closed, latching, or a foot on it; a capacitor across it reads closed at first."""
    if action.endswith("hold") and "latching" in keys:
        return
    with board_with_switch(tmp_path, clock, keys, action) as board:
        switch = board.simulation.switches[action]
        switch.set(not switch.read())
        assert events_of_switches(scan_for(board, clock, charged_s)) == []
        if charged_s:
            switch.set(not switch.read())
        clock.now += 0.3  # the loop was busy: no scan between
        assert events_of_switches(scan_for(board, clock, 2)) == []


def events_of_switches(events: list) -> list:
    knobs = {"gain", "x", "y", "z", "width"}
    return [event for event in events if getattr(event, "control", "") not in knobs]


def test_foot_on_switch_at_power_on_presses_at_the_next_step(tmp_path, clock: Clock) -> None:
    with board_with_switch(tmp_path, clock, "") as board:
        board.simulation.switches["bypass"].set(True)
        scan_for(board, clock, 1)
        board.simulation.switches["bypass"].set(False)
        assert scan_for(board, clock, 1) == []
        board.simulation.press("bypass")
        assert last(scan_for(board, clock, 1)) == {"bypass": 1.0}


@pytest.mark.parametrize("keys", ["", ", inverted = true", ", latching = true"])
def test_each_step_toggles_whatever_the_switch(tmp_path, clock: Clock, keys: str) -> None:
    with board_with_switch(tmp_path, clock, keys) as board:
        scan_for(board, clock, 1)
        states = []
        for _ in range(4):
            board.simulation.press("bypass", 0.08)
            states += [change.value for change in scan_for(board, clock, 0.3)]
        assert states == [1, 0, 1, 0]


def test_inverted_switch_holds_and_has_a_long_action(tmp_path, clock: Clock) -> None:
    with board_with_switch(tmp_path, clock, ", inverted = true", "lowpass hold") as board:
        scan_for(board, clock, 1)
        board.simulation.press("lowpass hold", 0.5)
        assert [event.value for event in scan_for(board, clock, 1)] == [1, 0]
    keys = ', inverted = true, long = "tap"'
    with board_with_switch(tmp_path, clock, keys, "preset previous") as board:
        scan_for(board, clock, 5)
        board.simulation.press("preset previous", 0.1)
        assert scan_for(board, clock, 1) == [Action("preset previous")]
        board.simulation.press("preset previous", 0.9)
        assert scan_for(board, clock, 2) == []  # the first tap has no interval


def test_failed_line_releases_what_is_held_and_comes_back_as_a_state(
    tmp_path, clock: Clock, monkeypatch
) -> None:
    with board_with_switch(tmp_path, clock, "", "lowpass hold") as board:
        scan_for(board, clock, 1)
        switch = board.simulation.switches["lowpass hold"]
        switch.set(True)
        assert last(scan_for(board, clock, 0.2)) == {"lowpass": 1.0}

        def fail() -> bool:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(switch, "read", fail)
        assert last(scan_for(board, clock, 0.2)) == {"lowpass": 0.0}
        monkeypatch.undo()
        monkeypatch.setattr("device.parts.open_input", lambda *_: switch)
        assert last(scan_for(board, clock, 2)) == {}  # still pressed: a state
        assert not board.faults()


@pytest.mark.parametrize(
    "keys",
    [
        ', latching = true, long = "tap"',
        ", latching = true, inverted = true",
        ", latching = 1",
        ', inverted = "yes"',
    ],
)
def test_profile_rejects_switch_keys_without_meaning(tmp_path, clock: Clock, keys: str) -> None:
    with pytest.raises(ProfileError, match=r"switch 1 \(bypass\)"):
        board_with_switch(tmp_path, clock, keys)


@pytest.mark.parametrize("bounce_s", [0.0, 0.005, 0.02])
def test_debounce_gives_one_press_and_one_release(clock: Clock, bounce_s: float) -> None:
    switch = SimulatedSwitch(bounce_s, clock=clock)
    debounce = Debounce()
    events = []
    for n in range(2000):
        clock.now += 0.005
        if n % 100 in (20, 60):
            switch.set(n % 100 == 20)
        if debounce.update(switch.read(), clock.now):
            events.append(debounce.pressed)
    assert events == [True, False] * 20


def test_debounce_ignores_single_spikes() -> None:
    debounce = Debounce()
    assert not any(debounce.update(n % 7 == 0, n * 0.005) for n in range(1000))


def test_preset_switch_gives_action_and_tap_switch_sets_tempo(board: Board, clock: Clock) -> None:
    scan_for(board, clock, 1)
    board.simulation.press("preset next")
    assert scan_for(board, clock, 0.3) == [Action("preset next")]
    for _ in range(3):
        board.simulation.press("tap", 0.05)
        changes = scan_for(board, clock, 0.32)
    assert last(changes)["tempo"] == pytest.approx(60 / 0.32, rel=0.02)  # 5 ms between scans


@pytest.mark.parametrize(
    ("held_s", "action"), [(0.1, "preset next"), (0.4, "preset next"), (0.8, "preset previous")]
)
def test_held_switch_gives_second_action_once(
    board: Board, clock: Clock, held_s: float, action: str
) -> None:
    scan_for(board, clock, 1)
    for _ in range(2):
        board.simulation.press("preset next", held_s)
        assert scan_for(board, clock, 1.5) == [Action(action)]


def test_leds_show_bypass_and_clip(board: Board, clock: Clock) -> None:
    leds = board.simulation.leds
    scan_for(board, clock, 0.1)
    assert (leds["on"].lit, leds["clip"].lit, leds["fault"].lit) == (True, False, False)
    board.control_moved("bypass", 1.0)
    board.light("clip")
    scan_for(board, clock, 0.1)
    assert (leds["on"].lit, leds["clip"].lit) == (False, True)
    scan_for(board, clock, 0.5)
    assert not leds["clip"].lit  # after CLIP_HOLD_S


@pytest.mark.parametrize("kind", ["audio", "room", "storage"])
def test_fault_led_flashes_by_table(board: Board, clock: Clock, kind: str) -> None:
    board.set_fault(kind, True)
    assert flashes(board, clock) == FAULTS[kind]
    board.set_fault(kind, False)
    scan_for(board, clock, 0.1)
    assert not board.simulation.leds["fault"].lit


def test_fault_led_shows_fault_with_most_flashes() -> None:
    times = [n * 0.01 for n in range(1000)]
    assert [fault_light({"knob", "audio"}, t) for t in times] == [
        fault_light({"audio"}, t) for t in times
    ]
    assert not any(fault_light(set(), t) for t in times)


def test_disconnected_pot_is_reported_keeps_value_and_recovers(board: Board, clock: Clock) -> None:
    scan_for(board, clock, 1)
    board.simulation.pots["y"].wire = "ground"
    (notice,) = notices(scan_for(board, clock, 1))
    assert "sim.toml, knob 3 (y), channel 2" in notice
    assert "wire" in notice
    assert set(board.faults()) == {"knob y"}
    board.simulation.pots["y"].wire = "good"
    assert [event.text[-17:] for event in scan_for(board, clock, 1)] == ["reads valid again"]
    board.simulation.turn("y", 0.9)
    assert last(scan_for(board, clock, 1))["y"] == pytest.approx(8.1, abs=0.1)
    assert not board.faults()


@pytest.mark.parametrize("floating", [0, 1])
def test_missing_chip_is_reported_once_and_recovers(
    board: Board, clock: Clock, floating: int
) -> None:
    scan_for(board, clock, 1)
    chip = board.simulation.chips[0]
    chip.present, chip.floating = False, floating
    (event,) = scan_for(board, clock, 5)  # reported once, not at each retry
    assert "sim.toml, adc 1" in event.text
    assert "keep their values" in event.text
    lit = [scan_for(board, clock, 0.05) or board.simulation.leds["fault"].lit for _ in range(60)]
    assert any(lit)
    chip.present = True
    assert [event.text[-13:] for event in scan_for(board, clock, 1.5)] == ["answers again"]
    board.simulation.turn("x", 0.1)
    assert last(scan_for(board, clock, 1))["x"] == pytest.approx(0.9, abs=0.1)


def test_disabled_bus_is_reported_as_fault_of_its_converter(pins, tmp_path, clock: Clock) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config.txt").touch()
    with Board.open("pi-mcp3008", clock=clock, root=tmp_path) as board:
        (notice,) = notices(scan_for(board, clock, 3))
        assert "pi-mcp3008.toml, adc 1" in notice
        assert "dtparam=spi=on" in notice
        assert list(board.faults()) == ["adc 1"]


def test_iio_board_reads_pots_and_reports_removed_driver(pins, tmp_path, clock: Clock) -> None:
    folder = tmp_path / "sys/bus/iio/devices/iio:device3"
    folder.mkdir(parents=True)
    (folder / "name").write_text("mcp3008\n")
    for channel in range(8):
        (folder / f"in_voltage{channel}_raw").write_text("512\n")
    with Board.open("pi-iio", clock=clock, root=tmp_path) as board:
        values = last(scan_for(board, clock, 1))
        assert values["x"] == pytest.approx(to_value(find("x"), (512 / 1023 - 0.015) / 0.97))
        (folder / "in_voltage1_raw").write_text("1023\n")
        clock.now += 1
        assert last(scan_for(board, clock, 1)) == {"x": 9.0}
        shutil.move(folder, tmp_path / "gone")
        for channel in range(8):
            os.truncate(tmp_path / f"gone/in_voltage{channel}_raw", 0)
        assert not last(scan_for(board, clock, 3))
        assert "no IIO device named" in board.faults()["adc 1"].text


def test_board_on_mock_pins_gives_same_events_as_transfers(pins, tmp_path, clock: Clock) -> None:
    """From the chip's bits to the values of controls."""
    text = (profile.PACKAGED / "sim.toml").read_text().replace('"transfers"', '"pins"')
    path = tmp_path / "pins.toml"
    path.write_text(text)
    events = []
    for name in (str(path), "sim"):
        clock.now = 100.0
        with Board.open(name, clock=clock) as board:
            board.simulation.advance()
            scan_for(board, clock, 0.5)
            board.simulation.play([(0.2, "z", 0.9), (0.3, "gain", 0.0)])
            events.append(scan_for(board, clock, 0.5))
    assert events[0] == events[1]
    assert last(events[0])["gain"] == -140


def test_board_uses_calibrated_ends_and_reports_invalid_file(tmp_path, clock: Clock) -> None:
    (tmp_path / CALIBRATION).write_text(json.dumps({"sim": {"x": [0.3, 0.7]}}))
    with Board.open("sim", tmp_path, clock=clock) as board:
        scan_for(board, clock, 1)
        board.simulation.turn("x", 0.71)
        assert last(scan_for(board, clock, 1)) == {"x": 9.0}
    for damaged in (
        "{",
        "[]",
        '{"sim": {"x": [0.7, 0.3]}}',
        '{"sim": {"x": [0.1]}}',
        '{"sim": {"x": ["a", "b"]}}',
    ):
        (tmp_path / CALIBRATION).write_text(damaged)
        with pytest.raises(ProfileError, match=CALIBRATION):
            read_calibrations(tmp_path)
        with Board.open("sim", tmp_path, clock=clock) as board:
            events = scan_for(board, clock, 1)
            assert CALIBRATION in notices(events)[0]
            assert set(last(events)) == {"gain", "x", "y", "z", "width"}


def test_unplugged_expression_pedal_does_not_light_fault_led(tmp_path, clock: Clock) -> None:
    text = (profile.PACKAGED / "sim.toml").read_text()
    row = '{ channel = 7, control = "mix", minimum = 20, maximum = 80, pedal = true },'
    path = tmp_path / "pedal.toml"
    path.write_text(text.replace("knob = [", f"knob = [\n  {row}"))
    with Board.open(str(path), clock=clock) as board:
        scan_for(board, clock, 1)
        board.simulation.turn("mix", 0.3)
        scan_for(board, clock, 0.5)
        board.simulation.pots["mix"].wire = "ground"  # a switched jack grounds it
        (notice,) = notices(scan_for(board, clock, 1))
        assert "(mix)" in notice
        assert not any(
            scan_for(board, clock, 0.05) or board.simulation.leds["fault"].lit for _ in range(60)
        )
        board.simulation.pots["mix"].wire = "good"
        board.control_moved("mix", 50.0)  # by a preset
        scan_for(board, clock, 1)
        board.simulation.play([(0.3, "mix", 1.0)])
        assert last(scan_for(board, clock, 1)) == {"mix": 80.0}  # takeover of pedals is jump
