"""Scenes A and B, and `morph` between them, as a player makes and plays them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import Rig

from device.board import Board
from device.controls import defaults
from device.events import Action, Change
from dsp.errors import UserError
from firmware_py.base.paths import data_dir
from firmware_py.cli import main
from firmware_py.control.pedal import Pedal
from firmware_py.link import mailbox
from firmware_py.rooms.feed import DRIFT_S
from firmware_py.rooms.source import BuiltInRooms
from firmware_py.state import session as settings
from firmware_py.state.preset_file import parse_presets, to_bytes
from firmware_py.state.presets import Presets

A = {"x": 2.0, "mix": 20.0, "lowpass_hz": 1000.0, "gain": -6.0}
B = {"x": 8.0, "mix": 80.0, "lowpass_hz": 4000.0, "gain": 6.0}
MIDWAY = {"x": 5.0, "mix": 50.0, "lowpass_hz": 2000.0, "gain": 0.0}


def set_to(rig: Rig, **values: object) -> None:
    rig.ask({"do": "set", "values": values})


def act(rig: Rig, what: str) -> object:
    answer = rig.ask({"do": "scene", "act": what})
    assert isinstance(answer, dict)
    return answer["scenes"]


def plays(rig: Rig) -> dict[str, float]:
    return {name: rig.values[name] for name in A}


@pytest.fixture
def scenes(rig: Rig) -> Rig:
    """A pedal with both scenes, at B."""
    set_to(rig, **A)
    act(rig, "a")
    set_to(rig, **B)
    assert act(rig, "b") == {"a": A, "b": B}
    assert (rig.values["morph"], plays(rig)) == (100, B)  # storing changes nothing of the sound
    return rig


@pytest.mark.parametrize("way", ["command", "input", "knob"])
def test_morph_moves_what_differs_and_nothing_else(scenes: Rig, way: str) -> None:
    set_to(scenes, decay=2, predelay=7)
    for morph, expected in ((50.0, MIDWAY), (0.0, A), (100.0, B)):
        match way:
            case "command":
                set_to(scenes, morph=morph)
            case "input":
                scenes.send(Change("morph", morph))
            case "knob":
                scenes.pedal.change({"morph": morph})
        assert plays(scenes) == pytest.approx(expected)
        assert (scenes.values["decay"], scenes.values["predelay"]) == (2, 7)
    assert scenes.board.distances().keys() >= {"x", "gain"}  # their knobs take over softly


def test_hand_has_the_last_word_until_morph_moves(scenes: Rig) -> None:
    set_to(scenes, morph=50)
    scenes.pedal.change({"mix": 33.0})
    scenes.scan_for(0.1)
    assert plays(scenes) == pytest.approx(MIDWAY | {"mix": 33.0})
    set_to(scenes, morph=100)
    assert plays(scenes) == B
    set_to(scenes, morph=50, mix=12)  # both at once: the control that is named
    assert scenes.values["mix"] == 12


def test_footswitch_glides_and_turns_back_on_the_way(scenes: Rig) -> None:
    set_to(scenes, morph_glide_s=4)
    scenes.send(Action("scene toggle"))
    scenes.scan_for(2)
    assert scenes.values["morph"] == pytest.approx(50, abs=1)
    scenes.send(Action("scene toggle"))
    scenes.scan_for(1)
    assert scenes.values["morph"] == pytest.approx(75, abs=1)
    scenes.scan_for(1.1)
    assert (scenes.values["morph"], plays(scenes)) == (100, B)
    set_to(scenes, morph_glide_s=0)
    scenes.send(Action("scene toggle"))
    assert (scenes.values["morph"], plays(scenes)) == (0, A)


def test_moving_morph_ends_a_glide_and_moving_others_does_not(scenes: Rig) -> None:
    set_to(scenes, morph_glide_s=2)
    act(scenes, "toggle")
    scenes.scan_for(0.5)
    set_to(scenes, decay=3)
    scenes.scan_for(0.5)
    assert scenes.values["morph"] == pytest.approx(50, abs=1)
    set_to(scenes, morph=10)
    scenes.scan_for(1)
    assert scenes.values["morph"] == 10


def test_rooms_of_a_glide_come_ten_times_a_second_and_the_last_is_that_of_the_end(
    scenes: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = scenes.pedal.rooms
    port = mailbox.create(block_frames=128, rate_hz=48000, max_taps=24000, inputs=2)
    scenes.pedal.mailbox.refresh()
    made: list[float] = []

    def publish(_: object, values: dict[str, float], now: float) -> None:
        made.append(values["x"])
        feed.stale, feed.drifts, feed.published_at = False, False, now

    monkeypatch.setattr(feed, "_publish", publish)
    for feed.made_in_ms, most in ((1, 1 / DRIFT_S), (100, 1 / 0.3)):
        set_to(scenes, morph=0, morph_glide_s=2)
        scenes.scan_for(1)
        scenes.pedal.work()
        made.clear()
        act(scenes, "toggle")
        gains = set()
        for _ in range(500):
            scenes.scan_for(0.005)
            scenes.pedal.work()
            gains.add(port.params()["gain_db"])
        assert most <= len(made) <= 2 * most + 2
        assert made[-1] == B["x"]
        assert len(gains) > 300  # levels follow at each scan


def test_preset_keeps_both_scenes_and_the_place_between(
    scenes: Rig, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("firmware_py.link.client.ask", scenes.ask)
    set_to(scenes, morph=50)
    assert main(["preset", "save", "Two"]) == 0
    preset = Presets(folders).load("Two")
    assert {name: preset.values[name] for name in A} == A and preset.scene_b == B
    assert preset.playing() == pytest.approx(preset.values | MIDWAY)
    assert parse_presets(to_bytes([preset]), "file", warn=pytest.fail) == [preset]
    set_to(scenes, morph=100)
    assert scenes.pedal.presets.describe() == "preset Two"  # morphing changes no preset
    scenes.ask({"do": "preset", "load": "Room"})
    assert act(scenes, "a") is None and scenes.values["morph"] == 0
    scenes.ask({"do": "preset", "load": "Two"})
    assert (scenes.values["morph"], plays(scenes)) == (50, pytest.approx(MIDWAY))
    set_to(scenes, morph=0)
    assert plays(scenes) == A
    capsys.readouterr()
    assert main(["preset", "show", "Two"]) == 0
    assert "mix = 20.0 %; in scene B 80.0 %" in capsys.readouterr().out


@pytest.mark.parametrize(("morph", "mixes"), [(0, (33, 80)), (30, (33, 80)), (100, (20, 33))])
def test_saved_preset_has_what_a_hand_moved_in_the_nearer_scene(
    scenes: Rig, folders: Path, monkeypatch: pytest.MonkeyPatch, morph: int, mixes: tuple[int, int]
) -> None:
    monkeypatch.setattr("firmware_py.link.client.ask", scenes.ask)
    set_to(scenes, morph=morph)
    set_to(scenes, mix=33)
    assert main(["preset", "save", "Two"]) == 0
    preset = Presets(folders).load("Two")
    assert (preset.values["mix"], preset.scene_b["mix"]) == mixes
    assert scenes.pedal.presets.describe() == "preset Two"
    set_to(scenes, y=1)
    assert scenes.pedal.presets.describe() == "preset Two (changed)"


def test_preset_and_then_scene_b_is_enough(rig: Rig) -> None:
    rig.ask({"do": "preset", "load": "Hall"})
    before = dict(rig.values)
    set_to(rig, x=9, decay=4)
    scenes = act(rig, "b")
    assert scenes == {"a": {"x": before["x"], "decay": 1.0}, "b": {"x": 9.0, "decay": 4.0}}
    assert rig.pedal.presets.describe() == "preset Hall (changed)"
    set_to(rig, morph=0)
    assert rig.values == before


def test_without_a_scene_b_morph_does_nothing_and_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.send(*(Change("morph", float(morph)) for morph in range(100)))
    assert rig.values == defaults() | {"morph": 99.0}
    rig.send(Action("scene toggle"))
    assert capsys.readouterr().err.count("what plays has no scene B") == 1
    monkeypatch.setattr("firmware_py.link.client.ask", rig.ask)
    assert main(["set", "morph=40"]) == 0
    said = capsys.readouterr()
    assert "morph = 40.0 %" in said.out and "no scene B" in said.err
    for wrong, says in (("b", "no scene A yet"), ("toggle", "no scene B"), ("c", "toggle or")):
        with pytest.raises(UserError, match=says):
            act(rig, wrong)


def test_forgotten_scene_b_leaves_what_plays(scenes: Rig, capsys) -> None:
    set_to(scenes, morph=50)
    assert act(scenes, "forget") is None
    assert plays(scenes) == pytest.approx(MIDWAY) and scenes.values["morph"] == 0


def test_command_prints_the_scenes(
    scenes: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("firmware_py.link.client.ask", scenes.ask)
    assert main(["scene"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["A", "B"] and ["mix", "20.0", "%", "80.0", "%"] in rows
    assert main(["scene", "A"]) == 0
    assert "scene A is what plays" in capsys.readouterr().out.replace("there is no", "")


def test_scenes_survive_the_control_process(scenes: Rig) -> None:
    set_to(scenes, morph=50)
    scenes.pedal.save_session()
    session = settings.load_session(None)
    pedal = Pedal(session.values, BuiltInRooms(), "")
    pedal.resume(session)
    with Board.open("sim", clock=scenes.clock) as board:
        after = Rig.of(scenes.clock, pedal, board)
        pedal.attach(board)
        assert plays(after) == pytest.approx(MIDWAY)
        set_to(after, morph=0)
        assert plays(after) == A
    scenes.ask({"do": "reset"})
    assert act(scenes, "a") is None


def test_invalid_scene_b_of_a_file_is_reported_and_left_out(tmp_path: Path) -> None:
    told: list[str] = []
    row = '{"name": "P", "bank": "", "values": {"x": 1}, "scene_b": %s}'
    file = f'{{"version": 1, "presets": [{row}]}}'
    for scene_b in ('{"x": 99, "warp": 1, "lowpass": 1}', '{"x": 1}', "{}"):
        [preset] = parse_presets((file % scene_b).encode(), "file", warn=told.append)
        assert preset.scene_b == {}
    assert len(told) == 2 and "warp" in told[1] and "scene B" in told[0]


def test_preset_between_its_scenes_is_no_morph_without_effect(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    Presets(data_dir()).save("Between", defaults() | A | {"morph": 50.0}, scene_b=B)
    rig.pedal.presets.play_name("Between")
    assert plays(rig) == pytest.approx(MIDWAY)
    assert "no scene B" not in caplog.text
