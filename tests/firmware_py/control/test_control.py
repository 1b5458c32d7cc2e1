"""The control process's state: who may move a control, presets, freeze, leds, boards that change. No audio runs: a mailbox is enough."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clock import Clock

from device.board import Board
from device.controls import CONTROLS, NOT_KEPT, defaults, find
from device.events import Action, Change
from device.profile import PACKAGED
from dsp._engine import Meters
from firmware_py.control import process, report
from firmware_py.control.board_slot import BoardSlot
from firmware_py.control.inputs import Event, PresetName, Program
from firmware_py.control.leds import Leds
from firmware_py.control.pedal import Pedal
from firmware_py.control.requests import Requests
from firmware_py.link import mailbox
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import BuiltInRooms
from firmware_py.state import session as settings
from firmware_py.state.presets import PresetError, Presets
from firmware_py.state.store import Store


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    runtime = Path(f"/dev/shm/nverb-control-{os.getpid()}")
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(runtime))
    yield tmp_path / "data"
    shutil.rmtree(runtime, ignore_errors=True)


class FakeInput:
    """Orders as MIDI and OSC bring them."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []

    def poll(self) -> list[Event]:
        events, self.waiting = self.waiting, []
        return events

    def describe(self) -> str:
        return "an input"

    def close(self) -> None: ...


class ClockModule(Clock):
    """The module `time` of those who wait: a pause is over at once, and the clock has gone on by it."""

    monotonic = perf_counter = Clock.__call__

    def monotonic_ns(self) -> int:
        return round(1e9 * self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ClockModule:
    clock = ClockModule()
    for user in ("control.pedal", "control.room_feed", "control.process", "control.leds"):
        monkeypatch.setattr(f"firmware_py.{user}.time", clock)
    return clock


class Rig:
    """A pedal with a simulated board and one more input."""

    def __init__(self, clock: ClockModule) -> None:
        self.clock = clock
        self.pedal = Pedal(defaults(), BuiltInRooms(), "")
        self.ask = Requests(self.pedal).answer
        self.board = Board.open("sim", clock=clock)
        process.settle(self.board, self.pedal.values)
        self.pedal.attach(self.board)
        self.input = FakeInput()
        self.pedal.inputs.append(self.input)

    @property
    def values(self) -> dict[str, float]:
        return self.pedal.values

    def orders(self, *events: Event) -> None:
        self.input.waiting += events
        self.pedal.scan()

    def scan_for(self, seconds: float) -> None:
        for _ in range(round(seconds / self.board.scan_s)):
            self.clock.sleep(self.board.scan_s)
            self.pedal.scan()


@pytest.fixture
def rig(clock: ClockModule) -> Iterator[Rig]:
    rig = Rig(clock)
    yield rig
    rig.board.close()


@pytest.mark.parametrize("name", [control.name for control in CONTROLS])
def test_every_control_is_moved_by_commands_presets_and_doors_alike(
    rig: Rig, folders: Path, name: str
) -> None:
    row = find(name)
    low, high = row.minimum, row.maximum
    rig.ask({"do": "set", "values": {name: high}})
    assert rig.values[name] == high
    rig.orders(Change(name, low))
    assert rig.values[name] == low
    if name not in NOT_KEPT:
        Presets(folders).save("high", rig.values | {name: high})
        assert rig.ask({"do": "preset", "load": "high"}) == {"preset": "high"}
        assert rig.values[name] == high
    if name in rig.board.knobs:
        rig.pedal.set({name: low if row.default > (low + high) / 2 else high})
        assert name in report.status(rig.pedal).board.apart  # the knob has to be turned there first


def test_presets_are_stepped_named_and_numbered(
    rig: Rig, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.orders(Action("preset next"))
    assert "nverb preset save" in capsys.readouterr().err
    presets = Presets(folders)
    for number, name in enumerate(("a", "b", "c")):
        presets.save(name, rig.values | {"mix": 10.0 * number})
    rig.orders(Program(2))
    assert (rig.values["mix"], rig.pedal.presets.describe()) == (20, "preset c")
    rig.orders(Action("preset next"))
    assert (rig.values["mix"], rig.pedal.presets.current) == (0, "a")
    rig.orders(Action("preset previous"))
    assert rig.pedal.presets.current == "c"
    rig.orders(PresetName("b"), Change("mix", 11.0))
    assert rig.pedal.presets.describe() == "preset b (changed)"
    rig.orders(Program(9))
    rig.orders(PresetName("bb"))
    errors = capsys.readouterr().err
    assert "program number 10" in errors and "did you mean b?" in errors
    assert rig.values["mix"] == 11


def test_who_scrolls_through_presets_hears_the_last_and_waits_for_none(
    rig: Rig, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with controls moved and steps taken between. Those passed over are not looked at: their bank is gone, and nobody is told."""
    presets = Presets(folders)
    presets.save("far", rig.values | {"mix": 99.0}, "/nowhere/rooms.nvbank")
    for number, name in enumerate(("a", "b", "c")):
        presets.save(name, rig.values | {"mix": 10.0 * number})
    rig.orders(
        Program(0),
        Change("gain", 5.0),
        PresetName("far"),
        Program(1),
        Action("preset next"),
        Change("decay", 2.0),
    )
    assert (rig.pedal.presets.current, rig.values["mix"], rig.values["decay"]) == (
        "b",
        10,
        2,
    )
    assert not capsys.readouterr().err


def test_a_footswitch_steps_through_presets(rig: Rig, folders: Path) -> None:
    Presets(folders).save("a", rig.values | {"mix": 77.0})
    assert rig.board.simulation is not None
    rig.board.simulation.press("preset next")
    rig.scan_for(0.2)
    assert rig.values["mix"] == 77


def test_a_preset_whose_bank_is_gone_changes_nothing(rig: Rig, folders: Path, capsys) -> None:
    Presets(folders).save("far", rig.values | {"mix": 99.0}, "/nowhere/rooms.nvbank")
    rig.orders(PresetName("far"))
    assert rig.values["mix"] == find("mix").default
    assert rig.pedal.presets.current is None
    assert "rooms.nvbank" in capsys.readouterr().err
    assert not rig.pedal.play_startup()


def test_the_startup_preset_plays_when_there_was_no_session(rig: Rig, folders: Path) -> None:
    presets = Presets(folders)
    presets.save("first", rig.values | {"mix": 12.0})
    assert not rig.pedal.play_startup()
    presets.set_startup("first")
    assert rig.pedal.play_startup()
    assert rig.values["mix"] == 12


def test_a_converter_that_comes_late_after_power_on_still_sets_its_controls(
    folders: Path, clock: ClockModule
) -> None:
    pedal = Pedal(defaults(), BuiltInRooms(), "")
    with Board.open("sim", clock=clock) as board:
        assert board.simulation is not None
        board.simulation.turn("x", 1.0)
        board.simulation.chips[0].present = False
        board.scan()
        pedal.attach(board, knobs_rule=True)
        board.simulation.chips[0].present = True
        for _ in range(600):
            clock.sleep(0.005)
            pedal.scan()
    assert pedal.values["x"] == 9


def test_the_bypass_switch_reaches_the_engine(rig: Rig) -> None:
    port = port_of(rig.pedal)
    assert port.params()["bypass"] == 0
    rig.board.simulation.press("bypass")
    rig.scan_for(0.1)
    rig.pedal.work()
    assert port.params()["bypass"] == 1
    rig.scan_for(0.05)
    assert not rig.board.simulation.leds["on"].lit


def test_taps_from_any_door_set_the_predelay(rig: Rig) -> None:
    for _ in range(3):
        rig.orders(Action("tap"))
        rig.clock.sleep(0.06)
    assert rig.values["predelay"] == pytest.approx(60)


def port_of(pedal: Pedal, block_frames: int = 128) -> object:
    port = mailbox.create(block_frames=block_frames, rate_hz=48000, max_taps=24000, inputs=2)
    pedal._next_housekeeping = 0
    pedal.work()
    return port


def fingerprint(**values: float) -> int:
    return RoomMaker(BuiltInRooms(), 48000, 24000).fingerprint(defaults() | values)


def test_frozen_the_room_holds_whatever_moves_the_knobs_and_whatever_dies(
    rig: Rig, folders: Path
) -> None:
    pedal = rig.pedal
    port = port_of(pedal)
    assert port.newest_room() == fingerprint()
    Presets(folders).save("other", rig.values | {"x": 9.0, "mix": 5.0})
    rig.orders(Change("freeze", 1.0), Change("y", 2.0), PresetName("other"))
    pedal.work()
    assert port.newest_room() == fingerprint()
    assert (rig.values["x"], rig.values["mix"]) == (9, 5)  # all but the room follows
    port = port_of(pedal, block_frames=64)  # another audio process, another mailbox
    assert port.newest_room() == fingerprint()
    pedal.save_session()
    session = settings.load_session(Store(folders).number())
    successor = Pedal(session.values, BuiltInRooms(), "")
    successor.resume(session)
    assert successor.presets.current == "other"
    port = port_of(successor, block_frames=256)
    assert port.newest_room() == fingerprint()
    successor.set({"freeze": 0.0})
    successor.rooms.published_at = 0  # no crossfade is waited for: nothing plays here
    successor.work()
    assert port.newest_room() == fingerprint(x=9.0, y=4.5)


class FakePort:
    def __init__(self, clock: ClockModule) -> None:
        self.now = Meters(*[0] * len(Meters._fields))._replace(
            input_peak=(0.1, 0.1),
            output_peak=(0.2, 0.3),
            worst_ns=5,
            heartbeat_ns=clock.monotonic_ns(),
        )

    def meters(self, take: bool = False) -> Meters:
        meters = self.now
        if take:
            self.now = meters._replace(input_peak=(0.0, 0.0), output_peak=(0.0, 0.0), worst_ns=0)
        return meters


@pytest.mark.parametrize(
    ("meters", "clip"),
    [
        ({}, False),
        ({"limited_samples": 3}, True),
        ({"input_peak": (1.0, 0.0)}, True),
        ({"output_peak": (0.0, 1.2)}, True),
    ],
)
def test_the_clip_light_and_the_peaks_of_status_see_the_same_samples(
    rig: Rig, meters, clip: bool
) -> None:
    port, leds = FakePort(rig.clock), Leds()
    port.now = port.now._replace(**meters)
    leds.update(rig.board, port, rig.clock.now, room_fault=False)
    rig.scan_for(0.05)
    assert rig.board.simulation.leds["clip"].lit is clip
    seen = leds.peaks(port.meters(take=True))
    assert seen.output_peak == meters.get("output_peak", (0.2, 0.3))
    assert leds.peaks(port.meters(take=True)).output_peak == (0.0, 0.0)
    rig.scan_for(0.4)
    assert not rig.board.simulation.leds["clip"].lit


def test_faults_of_others_reach_the_board(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    leds, port = Leds(), FakePort(rig.clock)
    told: dict[str, bool] = {}
    monkeypatch.setattr(rig.board, "set_fault", lambda kind, present: told.update({kind: present}))
    later = rig.clock.now + 60
    leds.update(rig.board, port, later, room_fault=True)
    assert told == {"room": True, "storage": False, "audio": False}
    port.now = port.now._replace(heartbeat_ns=port.now.heartbeat_ns - 10**9)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a card that has gone read-only
    leds.update(rig.board, port, later + 10, room_fault=False)
    assert told == {"room": False, "storage": True, "audio": True}
    leds.update(rig.board, None, later + 11, room_fault=False)
    assert told["audio"]


def test_status_reports_board_faults_as_sentences_by_part(rig: Rig) -> None:
    rig.scan_for(1)
    rig.board.simulation.pots["y"].wire = "ground"
    rig.scan_for(1)
    faults = json.loads(json.dumps(report.status(rig.pedal).json()))["board"]["faults"]
    assert list(faults) == ["knob y"]
    assert faults["knob y"].startswith("sim.toml, knob 3 (y), channel 2: ")


def test_a_profile_that_makes_no_sense_is_told_and_taken_once_it_is_mended(
    folders: Path, capsys
) -> None:
    good = (PACKAGED / "sim.toml").read_text()
    path = folders / "mine.toml"
    path.write_text(good.replace('"width"', '"wide"'))
    slot = BoardSlot(str(path), folders)
    assert "mine.toml, knob 5 (wide)" in capsys.readouterr().err
    assert not slot.board.knobs
    slot.board.scan()
    assert not slot.refresh(0)
    path.write_text(good)
    assert slot.refresh(10)
    assert set(slot.board.knobs) == {"gain", "x", "y", "z", "width"}
    board = slot.board
    path.write_text(good.replace("channel = 4", "channel = 3"))
    assert not slot.refresh(20)
    assert slot.board is board  # it plays on with the last one that made sense
    assert "taken by knob 4" in capsys.readouterr().err
    path.unlink()
    assert not slot.refresh(30)
    slot.close()


def test_a_request_about_presets_that_makes_no_sense_is_refused(rig: Rig) -> None:
    for request in ({}, {"step": 7}, {"step": float("inf")}, {"load": None}):
        with pytest.raises(PresetError):
            rig.ask({"do": "preset"} | request)
    with pytest.raises(ValueError, match="--midi"):
        rig.ask({"do": "midi"})
