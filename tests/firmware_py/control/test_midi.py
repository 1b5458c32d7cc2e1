"""MIDI: messages, learning, devices that appear and disappear, the path through a JACK server."""

from __future__ import annotations

import json
import os
import subprocess
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import send_midi
from waiting import HANG_S, wait_until

from device.controls import CONTROLS, check, find, to_value
from device.events import Action, Change, Notice
from firmware_py.control.inputs import Event, Program
from firmware_py.control.midi import Midi
from firmware_py.control.midi_map import MidiMap, target
from firmware_py.control.midi_ports import Ports, is_plug
from firmware_py.jack import server as jack

pytestmark = pytest.mark.live

rtmidi = pytest.importorskip("rtmidi", reason="python-rtmidi has no wheel here")


@pytest.fixture
def midi(tmp_path: Path) -> Midi:
    return Midi("jack", tmp_path)


def cc(number: int, value: int, channel: int = 1) -> bytes:
    return bytes((0xB0 | channel - 1, number, value))


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


def test_controller_pair_gives_14_bits(midi: Midi) -> None:
    assert midi.message(cc(16 + 32, 5)) == []  # no upper half yet
    midi.message(cc(16, 64))
    assert midi.message(cc(16 + 32, 3)) == [Change("x", pytest.approx(9 * (64 * 128 + 3) / 16383))]


def test_program_changes_and_channels_are_filtered(midi: Midi) -> None:
    assert midi.message(bytes((0xC0, 5))) == [Program(5)]
    midi.answer({"channel": 3})
    assert midi.message(bytes((0xC0, 5))) == []
    assert midi.message(bytes((0xC2, 5))) == [Program(5)]
    assert midi.message(cc(91, 0, channel=3)) == [Change("mix", 0.0)]
    assert midi.message(cc(91, 0, channel=4)) == []
    for other in (bytes((0x92, 60, 100)), bytes((0xE2, 0, 64)), cc(120, 0, 3), cc(3, 1, 3)):
        assert midi.message(other) == []


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=40))
def test_any_message_gives_values_in_range(tmp_path_factory, messages: list[bytes]) -> None:
    midi = Midi("alsa", tmp_path_factory.getbasetemp())
    for message in messages:
        seven_bits = bytes((message[0] | 0x80, *(byte & 0x7F for byte in message[1:])))
        for event in midi.message(seven_bits):
            if isinstance(event, Change):
                check(find(event.control), event.value)


def test_learning_assigns_the_next_controller_and_saves_it(midi: Midi, tmp_path: Path) -> None:
    assert midi.answer({"learn": "Early-Late"})["learning"] == "early_late"
    assert midi.message(cc(91, 100)) == []  # the CC of mix: learnt, not applied
    state = midi.answer({})
    assert state["learnt"] == {"name": "early_late", "cc": 91, "from": ["mix"]}
    assert "mix" not in state["cc"]
    again = Midi("jack", tmp_path)  # the next control process
    assert again.message(cc(91, 127)) == [Change("early_late", 12.0)]
    assert again.message(cc(78, 127)) == []  # its previous CC
    again.answer({"forget": "mix"})  # its default CC is in use: mix has none
    assert "mix" not in again.answer({})["cc"]
    again.answer({"forget": None})
    assert again.message(cc(91, 0)) == [Change("mix", 0.0)]


def test_controller_presses_act_as_footswitches(midi: Midi) -> None:
    midi.answer({"assign": "Preset Next", "cc": 20})
    midi.answer({"assign": "tap", "cc": 21})
    assert midi.message(cc(20, 127)) == [Action("preset next")]
    assert midi.message(cc(20, 0)) == []
    assert midi.message(cc(21, 64)) == [Action("tap")]


@pytest.mark.parametrize(
    "request_",
    [
        {"learn": "mux"},
        {"assign": "mix", "cc": 120},
        {"assign": "mix", "cc": 1.5},
        {"assign": "mix", "cc": float("inf")},
        {"assign": "preset nxt", "cc": 3},
        {"forget": "mux"},
        {"channel": 0},
        {"channel": "x"},
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
        '{"channel": 17, "cc": {}}',
        '{"channel": null, "cc": {"mix": 128}}',
        '{"cc": {}}',
        "[" * 9999,
    ],
)
def test_damaged_file_is_reported_once_and_defaults_are_active(tmp_path: Path, damage: str) -> None:
    (tmp_path / "midi.json").write_text(damage)
    kept = MidiMap(tmp_path)
    assert kept.complaint.startswith(str(tmp_path / "midi.json"))
    assert kept.ccs()["mix"] == 91 and kept.channel is None
    kept.assign("mix", 20)
    assert not MidiMap(tmp_path).complaint


def test_control_of_another_version_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "midi.json").write_text(
        json.dumps({"version": 1, "channel": 2, "cc": {"sparkle": 3, "mix": 4}})
    )
    kept = MidiMap(tmp_path)
    assert (kept.complaint, kept.channel, kept.ccs()["mix"]) == ("", 2, 4)


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
        os, "replace", lambda a, b, **at: (calls.append(os.path.basename(b)), replace(a, b, **at))
    )
    MidiMap(tmp_path).assign("mix", 20)
    assert calls == ["file", "midi.json", "folder"]


@pytest.mark.parametrize(
    ("api", "name", "plug"),
    [
        ("alsa", "nanoKONTROL2:nanoKONTROL2 MIDI 1 20:0", True),
        ("alsa", "Midi Through:Midi Through Port-0 14:0", False),
        ("alsa", "System:Timer 0:0", False),
        ("alsa", "nverb-midi:in 128:0", False),
        ("alsa", "Ardour:MIDI out 129:1", False),
        ("jack", "system:midi_capture_1", True),
        ("jack", "a2j:nanoKONTROL2 [20] (capture): MIDI 1", True),
        ("jack", "a2j:Midi Through [14] (capture): Midi Through Port-0", False),
        ("jack", "ardour:MIDI out 1", False),
    ],
)
def test_only_hardware_ports_are_connected_automatically(api: str, name: str, plug: bool) -> None:
    assert is_plug(api, name) is plug


class FakeRtMidi(types.ModuleType):
    """The used part of rtmidi, with a variable list of devices."""

    API_LINUX_ALSA, API_UNIX_JACK = 2, 3
    RtMidiError = rtmidi.RtMidiError

    def __init__(self) -> None:
        super().__init__("rtmidi")
        self.plugs: list[str] = []
        self.open: dict[str, list[list[int]]] = {}
        module = self

        class MidiIn:
            def __init__(self, api: int, client: str, queue: int) -> None:
                self._queue: list[list[int]] = []

            def ignore_types(self, **_: bool) -> None: ...

            def open_virtual_port(self, name: str) -> None: ...

            def get_ports(self) -> list[str]:
                return list(module.plugs)

            def open_port(self, number: int, name: str) -> None:
                module.open[module.plugs[number]] = self._queue

            def close_port(self) -> None:
                module.open = {
                    name: queue for name, queue in module.open.items() if queue is not self._queue
                }

            def get_message(self) -> tuple[list[int], float] | None:
                return (self._queue.pop(0), 0.0) if self._queue else None

        self.MidiIn = MidiIn


def test_device_is_connected_and_closed_while_running() -> None:
    fake = FakeRtMidi()
    ports = Ports(fake, "alsa")
    assert ports.rescan() == []
    fake.plugs = ["Midi Through:Midi Through Port-0 14:0", "Pedal:Pedal MIDI 1 24:0"]
    assert ports.rescan() == ["+ Pedal:Pedal MIDI 1 24:0"]
    fake.open["Pedal:Pedal MIDI 1 24:0"] += [[0xB0, 7, 100], [0xF0, 1, 2, 3, 0xF7], [0xC0, 1]]
    assert ports.messages() == ["B0 07 64", "C0 01"]
    fake.plugs.pop()
    assert ports.rescan() == ["- Pedal:Pedal MIDI 1 24:0"]
    assert not fake.open


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], jack.JackServer]]:
    """Starts JACK servers under a name of this process, and stops them at the end."""
    name = f"nverb-midi-{os.getpid()}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    started: list[jack.JackServer] = []

    def start() -> jack.JackServer:
        started.append(jack.dummy(name, synchronous=True))
        return started[-1]

    yield start
    for each in started:
        each.close()
    # A killed server stays among the eight that JACK allows on a machine, until a server of the
    # same name ends normally.
    jack.dummy(name).close()


def poll_until(midi: Midi, wanted: Callable[[list[Event]], bool]) -> list[Event]:
    events: list[Event] = []

    def come() -> bool:
        events.extend(midi.poll())
        return wanted(events)

    wait_until(come, told=lambda: f"only {events} arrived")
    return events


def test_midi_through_jack_recovers_when_jack_restarts(server, midi: Midi) -> None:
    events = poll_until(midi, lambda events: any(isinstance(event, Notice) for event in events))
    assert events == [Notice("MIDI: no JACK server answers; trying again")]
    first = server()
    poll_until(midi, lambda _: jack.is_running() and "nverb-midi:in" in jack_ports())
    send_midi("b05b00", "b05b7f", "c007")
    assert poll_until(midi, lambda events: len(events) >= 3) == [
        Change("mix", 0.0),
        Change("mix", to_value(find("mix"), 1.0)),
        Program(7),
    ]
    first.close()
    notices = poll_until(midi, bool)
    assert "JACK" in notices[0].text
    server()
    poll_until(midi, lambda _: "nverb-midi:in" in jack_ports())
    send_midi("b04000")
    assert poll_until(midi, bool) == [Change("freeze", 0.0)]
    midi.close()


def jack_ports() -> list[str]:
    done = subprocess.run(["jack_lsp"], capture_output=True, text=True, timeout=HANG_S, check=False)
    return done.stdout.splitlines()
