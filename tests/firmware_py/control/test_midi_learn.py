"""Learning, with a clock of the test: streams of real controllers, and what is learnt of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.events import Change
from firmware_py.control import midi as midi_module
from firmware_py.control.inputs import Event
from firmware_py.control.midi import Midi

STEP_S = 0.03


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(midi_module, "time", made)
    yield made


@pytest.fixture
def midi(tmp_path: Path, clock: Clock) -> Midi:
    made = Midi("jack", tmp_path)
    made._process.poll = lambda: ([], "")  # type: ignore[method-assign,assignment,return-value]
    return made


def send(midi: Midi, clock: Clock, *messages: str) -> list[Event]:
    events = []
    for message in messages:
        data = bytes.fromhex(message)
        events += midi.message(data + bytes(3 - len(data)))
        clock.now += STEP_S
        events += midi.poll()
    return events


def rest(midi: Midi, clock: Clock, seconds: float) -> list[Event]:
    events = []
    for _ in range(round(seconds / STEP_S)):
        clock.now += STEP_S
        events += midi.poll()
    return events


SWEEP = [f"B014{value:02X}" for value in (0, 0x20, 0x40, 0x60, 0x7F)]
TREMBLING = ["B00B40", "B00B41", "B00B40", "B00B41"]


@pytest.mark.parametrize(
    ("name", "messages", "source", "mode"),
    [
        ("mix", ["B06301", "B06205", "B00640", "B02600"], "nrpn 133", "absolute"),
        ("mix", ["B06205", "B06301", "B00640"], "nrpn 133", "absolute"),
        ("mix", ["B06500", "B06402", "B00640", "B00650"], "rpn 2", "absolute"),
        ("preset next", ["B00000", "B02000", "C005"], "program 6", "toggle"),
        ("mix", ["B03411", "B01440"], "cc 20", "absolute"),
        ("mix", ["B01440", "B03411"], "cc 20", "absolute"),
        ("mix", ["B00B40", *SWEEP], "cc 11", None),
        ("mix", [*TREMBLING, *SWEEP, *TREMBLING], "cc 20", "absolute"),
        ("bypass", ["903C7F", "803C00"], "note 60", "toggle"),
        ("bypass", ["B0537F", "B05300"], "cc 83", "toggle"),
        ("bypass", ["B0537F"], "cc 83", "absolute"),
        ("mix", ["B01401"] * 4, "cc 20", "twos"),
        ("mix", ["B01401", "B0147F", "B0147F", "B01401", "B01401"], "cc 20", "twos"),
        ("mix", ["B01441", "B01441", "B0143F"], "cc 20", "offset"),
        ("mix", ["B01401", "B01401", "B01441", "B01441"], "cc 20", "sign"),
        ("mix", SWEEP, "cc 20", "absolute"),
        ("mix", ["B01440", "B01440"], "cc 20", "absolute"),
        ("preset next", ["B0157F", "B01500"], "cc 21", "toggle"),
    ],
)
def test_what_moved_most_is_learnt_with_its_meaning(
    midi: Midi, clock: Clock, name: str, messages: list[str], source: str, mode: str | None
) -> None:
    if mode is None:  # another pedal trembles once
        source, mode = "cc 20", "absolute"
    midi.answer({"learn": name})
    assert send(midi, clock, *messages) == []  # nothing moves meanwhile
    assert midi.answer({})["learnt"] is None
    rest(midi, clock, 2)
    learnt = midi.answer({})["learnt"]
    assert learnt is not None
    assert (learnt["name"], learnt["source"], learnt["mode"]) == (name, source, mode)


def test_trembling_alone_is_not_learnt(midi: Midi, clock: Clock) -> None:
    send(midi, clock, *TREMBLING)
    midi.answer({"learn": "mix"})
    send(midi, clock, *TREMBLING)
    rest(midi, clock, 5)
    assert midi.answer({})["learnt"] is None
    send(midi, clock, *SWEEP)
    rest(midi, clock, 1)
    assert midi.answer({})["learnt"]["source"] == "cc 20"


def test_not_this_one_restores_and_listens_again(midi: Midi, clock: Clock) -> None:
    before = midi.answer({})["assignments"]
    midi.answer({"learn": "mix"})
    send(midi, clock, *TREMBLING, *(f"B053{value:02X}" for value in range(0, 128, 8)))
    rest(midi, clock, 2)
    assert midi.answer({})["learnt"]["from"] == ["bypass"]
    midi.answer({"learn": "mix", "not": ["cc 83"]})
    assert midi.answer({})["assignments"] == before
    send(midi, clock, "B05300", "B0537F", "B05300", *SWEEP)
    rest(midi, clock, 2)
    assert midi.answer({})["learnt"]["source"] == "cc 20"
    assert "bypass" in midi.answer({})["assignments"]


def test_learnt_controller_is_saved_and_taken_from_others(
    midi: Midi, clock: Clock, tmp_path: Path
) -> None:
    assert midi.answer({"learn": "Early-Late"})["learning"] == "early_late"
    send(midi, clock, "B05B20", "B05B40", "B05B60")
    rest(midi, clock, 1)
    learnt = midi.answer({})["learnt"]
    assert (learnt["name"], learnt["cc"], learnt["from"]) == ("early_late", 91, ["mix"])
    again = Midi("jack", tmp_path)  # the next control process
    assert again.message(b"\xb0\x5b\x7f") == [Change("early_late", 12.0)]
    assert again.message(b"\xb0\x4e\x7f") == []  # its previous CC
    again.answer({"forget": "mix"})  # its default CC is in use: mix has none
    assert "mix" not in again.answer({})["cc"]
    again.answer({"forget": None})
    assert again.message(b"\xb0\x5b\x00") == [Change("mix", 0.0)]


def test_learning_ends_by_itself(midi: Midi, clock: Clock) -> None:
    midi.answer({"learn": "mix"})
    rest(midi, clock, 31)
    assert midi.answer({})["learning"] is None
    assert send(midi, clock, "B05B00") == [Change("mix", 0.0)]
