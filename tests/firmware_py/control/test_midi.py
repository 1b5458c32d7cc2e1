"""MIDI messages and assignments, without ports: what each message does to a control."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.controls import CONTROLS, check, find, to_value
from device.events import Action, Change
from firmware_py.control.inputs import Event, Flip, Program, Turn
from firmware_py.control.midi import Midi
from firmware_py.control.midi_map import MidiMap, target


@pytest.fixture
def midi(tmp_path: Path) -> Midi:
    return Midi("jack", tmp_path)


def cc(number: int, value: int, channel: int = 1) -> bytes:
    return bytes((0xB0 | channel - 1, number, value))


def program(number: int, channel: int = 1) -> bytes:
    return bytes((0xC0 | channel - 1, number, 0))


def send(midi: Midi, *messages: bytes) -> list[Event]:
    return [event for message in messages for event in midi.message(message)]


def assign(midi: Midi, name: str, source: str, **options: object) -> None:
    midi.answer({"assign": name, "source": source, "options": options})


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_controller_reaches_both_ends_of_every_control(midi: Midi, control) -> None:
    if control.cc is None:  # has no default CC: learning only
        midi.answer({"assign": control.name, "cc": 119})
    number = midi.answer({})["cc"][control.name]
    assert midi.message(cc(number, 0)) == [Change(control.name, control.minimum)]
    assert midi.message(cc(number, 127)) == [Change(control.name, control.maximum)]


def test_values_follow_the_law_and_switches_are_on_from_64(midi: Midi) -> None:
    assert midi.message(cc(74, 32)) == [Change("lowpass_hz", pytest.approx(500 * 40 ** (32 / 127)))]
    assert midi.message(cc(83, 63)) == [Change("bypass", 0.0)]
    assert midi.message(cc(83, 64)) == [Change("bypass", 1.0)]


def test_program_changes_and_channels_are_filtered(midi: Midi) -> None:
    assert midi.message(program(5)) == [Program(5)]
    midi.answer({"channel": 3})
    assert midi.message(program(5)) == []
    assert midi.message(program(5, channel=3)) == [Program(5)]
    assert midi.message(cc(91, 0, channel=3)) == [Change("mix", 0.0)]
    assert midi.message(cc(91, 0, channel=4)) == []
    for other in (bytes((0x92, 60, 100)), bytes((0xE2, 0, 64)), cc(120, 0, 3), cc(3, 1, 3)):
        assert midi.message(other) == []


@pytest.mark.parametrize(
    ("banks", "number"),
    [
        ([], 5),
        ([cc(0, 1)], 133),
        ([cc(32, 1)], 133),
        ([cc(0, 0), cc(32, 2)], 261),
        ([cc(0, 1), cc(32, 0)], 133),
        ([cc(0, 1), cc(32, 1)], (1 << 7 | 1) * 128 + 5),
        ([cc(0, 1), cc(0, 0)], 5),
    ],
)
def test_bank_select_reaches_presets_beyond_128(
    midi: Midi, banks: list[bytes], number: int
) -> None:
    assert send(midi, *banks, program(5)) == [Program(number)]
    assert send(midi, program(5, channel=2)) == [Program(5)]  # each channel has its bank


@given(st.lists(st.binary(min_size=3, max_size=3), max_size=60), st.integers(0, 3))
def test_any_message_gives_values_in_range(
    tmp_path_factory, messages: list[bytes], port: int
) -> None:
    midi = Midi("alsa", tmp_path_factory.getbasetemp())
    for message in messages:
        seven_bits = bytes((0x80 | message[0] % 0x70, *(byte & 0x7F for byte in message[1:])))
        for event in midi.message(seven_bits, port):
            if isinstance(event, Change):
                check(find(event.control), event.value)


def test_controller_presses_act_as_footswitches(midi: Midi) -> None:
    midi.answer({"assign": "Preset Next", "cc": 20})
    midi.answer({"assign": "tap", "cc": 21})
    assert midi.message(cc(20, 127)) == [Action("preset next")]
    assert midi.message(cc(20, 0)) == []
    assert midi.message(cc(21, 64)) == [Action("tap")]
    # a button without a release sends the same value at each press
    assert send(midi, cc(20, 127), cc(20, 127)) == 2 * [Action("preset next")]


def test_knob_on_an_action_acts_once_for_each_way_up(midi: Midi) -> None:
    assign(midi, "preset next", "cc 21")
    sweep = [cc(21, value) for value in (*range(128), *range(126, -1, -1))]
    assert send(midi, *sweep, *sweep) == 2 * [Action("preset next")]


def test_toggle_switches_at_each_press(midi: Midi) -> None:
    assign(midi, "bypass", "cc 83", mode="toggle")
    flip = Flip(find("bypass"))
    assert send(midi, cc(83, 127), cc(83, 0)) == [flip]
    assert send(midi, cc(83, 127), cc(83, 0)) == [flip]
    assert (flip.value_after(0), flip.value_after(1)) == (1, 0)


def test_momentary_is_on_while_pressed_and_trigger_acts_on_every_message(midi: Midi) -> None:
    assign(midi, "bypass", "note 60", mode="momentary")
    assert send(midi, bytes((0x90, 60, 1)), bytes((0x90, 60, 0))) == [
        Change("bypass", 0.0),  # a soft hit is below 64
        Change("bypass", 0.0),
    ]
    assert send(midi, bytes((0x90, 60, 99)), bytes((0x80, 60, 99))) == [
        Change("bypass", 1.0),
        Change("bypass", 0.0),
    ]
    assign(midi, "lock", "cc 30", mode="trigger")
    assert send(midi, cc(30, 127), cc(30, 0)) == 2 * [Flip(find("lock"))]


def test_pads_and_programs_switch_by_default(midi: Midi) -> None:
    assign(midi, "bypass", "note 60")
    assign(midi, "lock", "program 6")
    assert send(midi, bytes((0x90, 60, 1)), bytes((0x90, 60, 0))) == [Flip(find("bypass"))]
    assert send(midi, program(5), program(4)) == [Flip(find("lock")), Program(4)]


def test_toggle_of_a_knob_switches_between_the_ends_of_its_range(midi: Midi) -> None:
    assign(midi, "mix", "cc 20", mode="toggle", minimum=10, maximum=60)
    [flip] = send(midi, cc(20, 127))
    assert isinstance(flip, Flip)
    assert [flip.value_after(value) for value in (0, 10, 34, 36, 60, 100)] == [
        60,
        60,
        60,
        10,
        10,
        10,
    ]


@pytest.mark.parametrize(
    ("mode", "up", "down", "fast"),
    [("twos", 1, 127, 5), ("offset", 65, 63, 69), ("sign", 1, 65, 5)],
)
def test_endless_encoder_turns_from_where_the_control_is(
    midi: Midi, mode: str, up: int, down: int, fast: int
) -> None:
    assign(midi, "mix", "cc 20", mode=mode)
    value = 50.0
    for sent, wanted in ((up, 1), (up, 2), (down, 1), (fast, 6)):
        [turn] = send(midi, cc(20, sent))
        assert isinstance(turn, Turn)
        value = turn.value_after(value)
        assert value == pytest.approx(50 + 100 * wanted / 127)
    assert turn.value_after(99) == 100  # the end is reached
    if mode == "offset":
        assert send(midi, cc(20, 64)) == []


def test_range_taper_and_inversion_are_those_of_wired_pots(midi: Midi) -> None:
    assign(midi, "lowpass_hz", "cc 20", minimum=1000, maximum=4000, law="linear")
    assert send(midi, cc(20, 0), cc(20, 127)) == [
        Change("lowpass_hz", 1000.0),
        Change("lowpass_hz", 4000.0),
    ]
    [half] = send(midi, cc(20, 32))
    assert isinstance(half, Change) and half.value == pytest.approx(1000 + 3000 * 32 / 127)
    assign(midi, "mix", "cc 21", inverted=True)
    assert send(midi, cc(21, 0), cc(21, 127)) == [Change("mix", 100.0), Change("mix", 0.0)]


def test_calibrated_pedal_reaches_both_ends(midi: Midi, tmp_path: Path) -> None:
    assert send(midi, cc(91, 13), cc(91, 116)) != [Change("mix", 0.0), Change("mix", 100.0)]
    midi.answer({"calibrate": "mix"})
    with pytest.raises(ValueError, match="end to end"):
        midi.answer({"calibrate": "mix", "done": True})
    send(midi, *(cc(91, value) for value in range(13, 117)))
    assert midi.answer({})["calibrating"]["enough"]
    midi.answer({"calibrate": "mix", "done": True})
    assert send(midi, cc(91, 13), cc(91, 116)) == [Change("mix", 0.0), Change("mix", 100.0)]
    again = Midi("jack", tmp_path)
    assert send(again, cc(91, 13), cc(91, 116)) == [Change("mix", 0.0), Change("mix", 100.0)]


def test_parameter_numbers_move_their_own_control(midi: Midi) -> None:
    assign(midi, "mix", "nrpn 133")
    assign(midi, "gain", "rpn 2")
    assert send(midi, cc(99, 1), cc(98, 5), cc(6, 127)) == [Change("mix", 100.0)]
    assert send(midi, cc(6, 0)) == [Change("mix", 0.0)]  # the number stays selected
    assert send(midi, cc(101, 0), cc(100, 2), cc(6, 127)) == [Change("gain", 12.0)]
    assert send(midi, cc(99, 1), cc(98, 6), cc(6, 64), cc(38, 1)) == []
    assert send(midi, cc(101, 127), cc(100, 127), cc(6, 9)) == []  # no parameter


def test_two_devices_do_not_share_a_parameter_number(midi: Midi) -> None:
    assign(midi, "mix", "nrpn 133")
    for message in (cc(99, 1), cc(98, 5)):
        midi.message(message, port=1)
    assert midi.message(cc(6, 127), port=2) == []
    assert midi.message(cc(6, 127), port=1) == [Change("mix", 100.0)]


def test_next_controller_on_a_port_reaches_the_end(
    midi: Midi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before sent 14 bits, the lower half first: nothing of its value may remain."""
    first = ["+ 1 fine", "01B03028", "01B01001"]
    for end in (["- 1 fine"], None):
        rounds = [(deque(first), ""), (deque(end or ()), "" if end else "has ended")]
        rounds.append((deque(["+ 1 coarse", "01B01000"]), ""))
        monkeypatch.setattr(midi._process, "poll", iter(rounds).__next__)
        events = [event for _ in range(3) for event in midi.poll()]
        assert [event for event in events if isinstance(event, Change)][-1] == Change("x", 0.0)


@pytest.mark.parametrize(
    "request_",
    [
        {"learn": "mux"},
        {"learn": "mix", "not": ["knob"]},
        {"assign": "mix", "cc": 120},
        {"assign": "mix", "cc": 1.5},
        {"assign": "mix", "cc": float("inf")},
        {"assign": "mix", "cc": True},
        {"assign": "mix", "source": "nrpn 16384"},
        {"assign": "mix", "source": "program 0"},
        {"assign": "mix", "source": "cc 20", "options": {"mode": "spin"}},
        {"assign": "mix", "source": "cc 20", "options": {"minimum": 80, "maximum": 20}},
        {"assign": "mix", "source": "cc 20", "options": {"minimum": -1}},
        {"assign": "mix", "source": "cc 20", "options": {"minimum": float("nan")}},
        {"assign": "mix", "source": "cc 20", "options": {"law": "log"}},
        {"assign": "mix", "source": "cc 20", "options": {"law": "switch"}},
        {"assign": "mix", "source": "cc 20", "options": {"ends": [9, 8]}},
        {"assign": "mix", "source": "cc 20", "options": {"colour": 1}},
        {"assign": "mix", "source": "cc 20", "options": []},
        {"assign": "tap", "source": "cc 20", "options": {"mode": "twos"}},
        {"assign": "preset nxt", "cc": 3},
        {"calibrate": "bypass"},
        {"forget": "mux"},
        {"channel": 0},
        {"channel": "x"},
        {"listen": "nano"},
        {"listen": [""]},
        {"out": ["x" * 101]},
    ],
)
def test_rejected_request_changes_nothing(
    midi: Midi, tmp_path: Path, request_: dict[str, Any]
) -> None:
    before = midi.answer({})
    with pytest.raises(ValueError):
        midi.answer(request_)
    assert midi.answer({}) == before
    assert not list(tmp_path.iterdir())


def test_target_suggests_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="preset next"):
        target("preset nxt")
    with pytest.raises(ValueError, match="gain"):
        target("gian")


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1, "channel": 17, "cc": {}}',
        '{"version": 1, "channel": null, "cc": {"mix": 128}}',
        '{"version": 1, "channel": null, "cc": {"mix": 1e400}}',
        '{"cc": {}}',
        '{"version": 2, "channel": null, "assignments": {"mix": {"source": "cc 200"}}}',
        '{"version": 2, "channel": null, "assignments": {"mix": {}}}',
        '{"version": 2, "channel": null, "assignments": {"mix": {"source": "cc 2", "ends": 3}}}',
        '{"version": 2, "channel": null, "assignments": [], "listen": [5]}',
        "[" * 9999,
        '{"channel": ' + "9" * 9999 + "}",
    ],
)
def test_damaged_file_is_reported_kept_and_defaults_are_active(tmp_path: Path, damage: str) -> None:
    (tmp_path / "midi.json").write_text(damage)
    kept = MidiMap(tmp_path)
    assert kept.complaint.startswith(str(tmp_path / "midi.json"))
    assert str(kept.assignments()["mix"].source) == "cc 91" and kept.channel is None
    kept.set_channel(3)
    assert MidiMap(tmp_path).channel == 3 and not MidiMap(tmp_path).complaint
    assert (tmp_path / "midi.damaged").read_text() == damage


def test_unreadable_file_is_not_overwritten(tmp_path: Path) -> None:
    """A file that cannot be read may be readable later: a folder in its place stands for it."""
    Midi("jack", tmp_path).answer({"assign": "mix", "cc": 20})
    saved = (tmp_path / "midi.json").rename(tmp_path / "aside")
    (tmp_path / "midi.json").mkdir()
    midi = Midi("jack", tmp_path)
    with pytest.raises(OSError, match="nothing is written"):
        midi.answer({"channel": 3})
    (tmp_path / "midi.json").rmdir()
    saved.rename(tmp_path / "midi.json")
    assert midi.answer({"channel": 3})["cc"]["mix"] == 20
    assert MidiMap(tmp_path).channel == 3


def test_unreadable_file_is_read_when_it_is_there_again(tmp_path: Path) -> None:
    Midi("jack", tmp_path).answer({"assign": "mix", "cc": 20})
    saved = (tmp_path / "midi.json").rename(tmp_path / "aside")
    (tmp_path / "midi.json").mkdir()
    midi = Midi("jack", tmp_path)
    with pytest.raises(OSError, match="none can be learnt"):
        midi.read_map()
    assert midi.answer({})["cc"]["mix"] == 91
    (tmp_path / "midi.json").rmdir()
    saved.rename(tmp_path / "midi.json")
    midi.read_map()
    assert midi.answer({})["cc"]["mix"] == 20


def test_file_of_version_1_is_read(tmp_path: Path) -> None:
    old = {"version": 1, "channel": 2, "cc": {"sparkle": 3, "mix": 4, "tap": 5, "gain": None}}
    (tmp_path / "midi.json").write_text(json.dumps(old))
    kept = MidiMap(tmp_path)
    sources = {name: str(its.source) for name, its in kept.assignments().items()}
    assert (kept.complaint, kept.channel, sources["mix"], sources["tap"]) == ("", 2, "cc 4", "cc 5")
    assert "gain" not in sources and "sparkle" not in sources


def test_assignments_survive_a_restart(midi: Midi, tmp_path: Path) -> None:
    assign(midi, "mix", "nrpn 133", minimum=20, maximum=80, law="log", inverted=True)
    assign(midi, "bypass", "note 60", mode="momentary")
    midi.answer({"listen": ["nano"]})
    midi.answer({"out": ["nano", "é"]})
    assert Midi("jack", tmp_path).answer({}) == midi.answer({})


def test_midi_map_is_synced_before_and_after_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (
            calls.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"),
            fsync(fd),
        ),
    )
    monkeypatch.setattr(
        os,
        "replace",
        lambda a, b, **at: (calls.append(os.path.basename(b)), replace(a, b, **at)),
    )
    MidiMap(tmp_path).set_channel(3)
    assert calls == ["file", "midi.json", "folder"]


def test_failed_save_leaves_what_was_active(
    midi: Midi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = midi.answer({})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("firmware_py.control.midi_map.write_atomically", fail)
    for request in ({"assign": "mix", "cc": 20}, {"channel": 3}, {"forget": None}):
        with pytest.raises(OSError):
            midi.answer(request)
        assert midi.answer({}) == before


def test_value_survives_the_way_out_and_back(midi: Midi) -> None:
    """What MIDI out tells a controller is what the controller would have sent."""
    for value in range(0, 128):
        [change] = midi.message(cc(74, value))
        assert isinstance(change, Change)
        its = midi._map.assignments()["lowpass_hz"]
        assert its.value_of("lowpass_hz", change.value) == value << 7
    assert to_value(find("lowpass_hz"), 1.0) == 20000
