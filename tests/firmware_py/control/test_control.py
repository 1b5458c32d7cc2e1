"""The pedal's state: controls, presets, lock, LEDs, changes of the board. No audio runs: the
tests read the mailbox."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clock import ClockModule
from rig import FakeInput, Rig

from bank.build import build
from bank.format import Waveform, write
from device.board import Board
from device.controls import ADDED_LATER, CONTROLS, NOT_KEPT, defaults, find
from device.events import Action, Change
from device.profile import PACKAGED
from dsp._engine import Meters
from firmware_py.control import process, report
from firmware_py.control.budget import Budget
from firmware_py.control.inputs import ClockTempo, PresetName, Program
from firmware_py.control.leds import Leds
from firmware_py.control.live_board import LiveBoard
from firmware_py.control.pedal import Pedal
from firmware_py.link import mailbox
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import BuiltInRooms, rooms_fault
from firmware_py.state import session as settings
from firmware_py.state.factory_presets import factory_presets
from firmware_py.state.preset_file import PresetError
from firmware_py.state.presets import Presets
from firmware_py.state.store import Store
from models.generator import room_at
from models.residual import OCTAVES, STEPS, Residual

pytestmark = pytest.mark.usefixtures("folders")

POWER_ON = settings.Session(defaults(), defaults(), resumed=False)
AFTER_CRASH = settings.Session(defaults(), defaults())
AFTER_STOP = settings.Session(defaults(), defaults(), ended=True)


@pytest.mark.parametrize("name", [control.name for control in CONTROLS])
def test_commands_presets_and_inputs_set_every_control(rig: Rig, folders: Path, name: str) -> None:
    row = find(name)
    low, high = row.minimum, row.maximum
    rig.ask({"do": "set", "values": {name: high}})
    assert rig.values[name] == high
    rig.send(Change(name, low))
    assert rig.values[name] == low
    if name not in NOT_KEPT:
        Presets(folders).save("high", rig.values | {name: high})
        assert rig.ask({"do": "preset", "load": "high"}) == {"preset": "high"}
        assert rig.values[name] == high
    if name in rig.board.knobs:
        rig.pedal.set({name: low if row.default > (low + high) / 2 else high})
        assert (
            name in report.status(rig.pedal)["board"]["apart"]
        )  # the knob must first be turned to the value


def test_footswitch_steps_through_the_recordings_of_a_bank(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.send(Action("recording next"))
    assert "has no recordings" in capsys.readouterr().err
    click = np.eye(1, 100, dtype=np.float32)
    path = tmp_path / "three.nvbank"
    write(
        path,
        name="three",
        waveforms=[Waveform(n, 48000, (0, 0, 0), click) for n in ("a", "b", "c")],
    )
    rig.pedal.use_bank(str(path))
    played = []
    for name in ("next", "next", "next", "next", "previous"):
        rig.send(Action(f"recording {name}"))
        played.append(rig.values["recording"])
    assert played == [1, 2, 3, 1, 3]


def test_presets_play_by_step_name_and_number(
    rig: Rig, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.send(Action("preset next"))
    assert rig.pedal.presets.describe() == "preset Room"  # of nverb, while there are no others
    rig.send(Action("preset previous"))
    assert rig.pedal.presets.describe() == f"preset {factory_presets()[-1].name}"
    presets = Presets(folders)
    for number, name in enumerate(("a", "b", "c")):
        presets.save(name, rig.values | {"mix": 10.0 * number})
    rig.send(Program(2))
    assert (rig.values["mix"], rig.pedal.presets.describe()) == (20, "preset c")
    rig.send(Action("preset next"))
    assert (rig.values["mix"], rig.pedal.presets.current) == (0, "a")
    rig.send(Action("preset previous"))
    assert rig.pedal.presets.current == "c"
    rig.send(PresetName("b"), Change("mix", 11.0))
    assert rig.pedal.presets.describe() == "preset b (changed)"
    rig.send(Program(9))
    rig.send(PresetName("bb"))
    errors = capsys.readouterr().err
    assert "program number 10" in errors and "did you mean b?" in errors
    assert rig.values["mix"] == 11


def test_only_the_last_preset_of_one_poll_is_loaded(
    rig: Rig, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with changes and steps between. A skipped preset is not read, so its missing bank is not
    reported."""
    presets = Presets(folders)
    presets.save("far", rig.values | {"mix": 99.0}, "/nowhere/rooms.nvbank")
    for number, name in enumerate(("a", "b", "c")):
        presets.save(name, rig.values | {"mix": 10.0 * number})
    rig.send(
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


def test_footswitch_plays_next_preset(rig: Rig, folders: Path) -> None:
    Presets(folders).save("a", rig.values | {"mix": 77.0})
    assert rig.board.simulation is not None
    rig.board.simulation.press("preset next")
    rig.scan_for(0.2)
    assert rig.values["mix"] == 77


def test_preset_without_its_bank_changes_nothing(rig: Rig, folders: Path, capsys) -> None:
    Presets(folders).save("far", rig.values | {"mix": 99.0}, "/nowhere/rooms.nvbank")
    rig.send(PresetName("far"))
    assert rig.values["mix"] == find("mix").default
    assert rig.pedal.presets.current is None
    assert "rooms.nvbank" in capsys.readouterr().err
    assert not rig.pedal.play_startup()


def test_steps_pass_over_presets_without_their_bank_and_say_so_once(
    rig: Rig, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stick, gone = folders / "stick", folders / "gone"
    stick.mkdir()
    build(stick / "church.nvbank", room_at, steps=2, name="church")
    presets = Presets(folders)
    for name, bank in (("one", ""), ("two", "church"), ("three", "church"), ("four", "")):
        presets.save(name, rig.values, bank and f"{stick}/church.nvbank")

    def names(action: str) -> list[str | None]:
        played = []
        for _ in range(4):
            rig.send(Action(action))
            played.append(rig.pedal.presets.current)
        return played

    rig.ask({"do": "preset", "load": "one"})
    assert names("preset next") == ["two", "three", "four", "one"]
    stick.rename(gone)
    rig.ask({"do": "preset", "load": "one"})
    assert names("preset next") == ["four", "one"] * 2
    assert names("preset previous") == ["four", "one"] * 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("is passed over") for line in lines] == [1, 1]
    assert "'two'" in lines[0] and "church.nvbank" in lines[0]
    assert "church.nvbank" in rooms_fault(presets.load("two").bank)
    gone.rename(stick)
    assert not rooms_fault(presets.load("two").bank)
    assert names("preset next") == ["two", "three", "four", "one"]
    for name in ("one", "four"):
        presets.remove(name)
    stick.rename(gone)
    rig.send(Action("preset next"))
    assert "the bank of no preset can be opened" in capsys.readouterr().err


def test_unreadable_presets_stop_no_knob_and_are_left_alone(
    rig: Rig, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Presets(folders).save("a", rig.values | {"mix": 12.0})
    path = folders / "presets.json"
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    for _ in range(10):
        rig.send(Action("preset next"), Program(0), PresetName("a"), Change("x", 1.0))
    assert rig.values["x"] == 1.0
    assert capsys.readouterr().err.count("cannot be read") == 1
    assert not rig.pedal.play_startup()
    with pytest.raises(PresetError, match="stay as they are"):
        rig.ask({"do": "preset", "step": 1})
    path.unlink()
    path.write_bytes(content)
    rig.send(Action("preset next"))
    assert rig.values["mix"] == 12.0


@pytest.mark.parametrize("action", ["bypass", "hold", "preset next", "tap"])
def test_switch_closed_at_power_on_changes_nothing(
    folders: Path, clock: ClockModule, action: str
) -> None:
    Presets(folders).save("a", defaults() | {"mix": 12.0})
    pedal = Pedal(defaults(), BuiltInRooms(), "")
    board = Board.open("sim", clock=clock)
    board.simulation.switches[action].set(True)
    process.attach_first(pedal, board, POWER_ON)
    rig = Rig.of(clock, pedal, board)
    rig.scan_for(2)
    assert (rig.values["bypass"], rig.values["hold"]) == (0, 0)
    assert rig.pedal.presets.current is None
    board.close()


def test_preset_of_an_older_version_plays_later_effects_off(rig: Rig, folders: Path) -> None:
    """Other controls that it does not have stay."""
    old = {name: value for name, value in defaults().items() if name not in (*ADDED_LATER, "level")}
    Presets(folders).save("old", old)
    rig.ask({"do": "preset", "load": "Ducked Plate"})
    rig.ask({"do": "set", "values": {"gate": "on", "level": -6, "mix": 70}})
    assert all(rig.values[name] != find(name).default for name in ("duck", "gate", "tone_low"))
    rig.ask({"do": "preset", "load": "old"})
    assert rig.values == defaults() | {"level": -6.0}
    assert rig.pedal.presets.describe() == "preset old"


def test_preset_stays_unchanged_over_a_restart(folders: Path, clock: ClockModule) -> None:
    """With knobs anywhere, near the values of the preset or far: nobody touches them."""
    Presets(folders).save("a", defaults() | {"x": 4.53, "y": 4.5, "width": -1.0})
    rig = Rig(clock)
    rig.ask({"do": "preset", "load": "a"})
    for _ in range(3):
        session = rig.pedal.values, rig.pedal.presets.current
        rig.board.close()
        pedal = Pedal(dict(session[0]), BuiltInRooms(), "")
        pedal.presets.resume(session[1])
        board = Board.open("sim", clock=clock)
        process.attach_first(pedal, board, AFTER_CRASH)
        rig = Rig.of(clock, pedal, board)
        rig.scan_for(5)
        assert rig.pedal.presets.describe() == "preset a"
        assert rig.values == session[0]
    rig.board.close()


def test_residual_of_a_preset_plays_until_another_preset_or_bank(rig: Rig, folders: Path) -> None:
    """It survives the control process; `nverb preset save` keeps it."""
    residual = Residual(
        np.zeros(8), np.ones(OCTAVES), np.zeros((OCTAVES, STEPS)), np.zeros(OCTAVES)
    ).to_text()
    presets = Presets(folders)
    presets.save("plain", defaults())
    presets.save("crypt", defaults(), "", residual)
    rig.ask({"do": "preset", "load": "crypt"})
    rig.pedal.change({"x": 5.0})
    answer = rig.ask({"do": "status"})
    assert isinstance(answer, dict) and answer["status"]["room"]["residual"] == residual
    rig.pedal.save_session()
    session = settings.load_session(None)
    assert session.residual == residual
    pedal = Pedal(session.values, BuiltInRooms(), "")
    pedal.resume(session)
    assert pedal.residual == residual and pedal.presets.describe() == "preset crypt (changed)"
    rig.ask({"do": "preset", "load": "plain"})
    assert rig.pedal.residual == ""
    rig.ask({"do": "preset", "load": "crypt"})
    rig.ask({"do": "bank", "path": ""})
    assert rig.pedal.residual == ""
    pedal.resume(session._replace(residual="of a newer version"))
    assert pedal.residual == residual  # a session that cannot be read changes nothing


def test_startup_preset_plays_once_it_is_chosen(rig: Rig, folders: Path) -> None:
    presets = Presets(folders)
    presets.save("first", rig.values | {"mix": 12.0})
    assert not rig.pedal.play_startup()
    presets.set_startup("first")
    assert rig.pedal.play_startup()
    assert rig.values["mix"] == 12


@pytest.mark.parametrize(
    ("session", "startup", "expected"),
    [
        # mix, bypass and lock after the start: the knob of mix is at 35, the preset has 12.
        (POWER_ON, True, (12, 0, 0)),
        (POWER_ON, False, (35, 0, 0)),
        (AFTER_STOP, True, (12, 0, 0)),
        (AFTER_STOP, False, (70, 0, 0)),
        (AFTER_CRASH, True, (70, 1, 1)),
        (AFTER_CRASH, False, (70, 1, 1)),
    ],
)
def test_what_survives_a_start(
    folders: Path,
    clock: ClockModule,
    session: settings.Session,
    startup: bool,
    expected: tuple[float, float, float],
) -> None:
    """The table in docs/hands.md: as left are mix = 70, bypass and lock."""
    presets = Presets(folders)
    presets.save("first", defaults() | {"mix": 12.0})
    presets.set_startup("first" if startup else None)
    left = {"mix": 70.0, "bypass": 1.0, "lock": 1.0} if session.resumed else {}
    pedal = Pedal(defaults() | left, BuiltInRooms(), "")
    with Board.open("sim", clock=clock) as board:
        process.attach_first(pedal, board, session)
        pedal.scan()
    assert tuple(pedal.values[name] for name in ("mix", "bypass", "lock")) == expected


def test_reset_plays_as_after_power_on(rig: Rig, folders: Path) -> None:
    rig.ask({"do": "set", "values": {"mix": 70, "bypass": 1, "lock": 1, "x": 2}})
    assert rig.ask({"do": "reset"}) == {"preset": ""}
    assert rig.values == defaults()
    presets = Presets(folders)
    presets.save("first", defaults() | {"mix": 12.0})
    presets.set_startup("first")
    rig.ask({"do": "set", "values": {"bypass": 1}})
    assert rig.ask({"do": "reset"}) == {"preset": "first"}
    assert rig.values == defaults() | {"mix": 12.0}


def test_late_converter_sets_its_controls_after_power_on(folders: Path, clock: ClockModule) -> None:
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


def test_bypass_switch_sets_engine_parameter_and_led(rig: Rig) -> None:
    port = port_of(rig.pedal)
    assert port.params()["bypass"] == 0
    rig.board.simulation.press("bypass")
    rig.scan_for(0.1)
    rig.pedal.work()
    assert port.params()["bypass"] == 1
    rig.scan_for(0.05)
    assert not rig.board.simulation.leds["on"].lit


def test_taps_set_the_tempo_and_the_predelay_follows_it(rig: Rig) -> None:
    """From an input and from `nverb tap`; a free pre-delay stays."""
    port = port_of(rig.pedal)
    for note, predelay_ms in (("free", 33.0), ("1/8", 300.0)):
        rig.ask({"do": "set", "values": {"predelay": 33, "predelay_sync": note}})
        for _ in range(2):
            rig.send(Action("tap"))
            rig.clock.sleep(0.6)
            answer = rig.ask({"do": "tap"})
            rig.clock.sleep(0.6)
        assert answer == {"values": {"tempo": pytest.approx(100, rel=0.01)}}
        rig.pedal.work()
        assert port.params()["predelay_ms"] == pytest.approx(predelay_ms, rel=0.01)
        rig.clock.sleep(10)


def test_the_tempo_follows_midi_clock_in_steps_unless_it_is_off(rig: Rig) -> None:
    rig.send(ClockTempo(93.04))
    assert rig.values["tempo"] == 93
    rig.send(ClockTempo(93.15))  # jitter
    assert rig.values["tempo"] == 93
    rig.send(ClockTempo(9999))
    assert rig.values["tempo"] == 300
    rig.ask({"do": "set", "values": {"midi_clock": "off", "tempo": 80}})
    rig.send(ClockTempo(93.0))
    assert rig.values["tempo"] == 80


def port_of(pedal: Pedal, block_frames: int = 128) -> object:
    port = mailbox.create(block_frames=block_frames, rate_hz=48000, max_taps=24000, inputs=2)
    pedal._next_housekeeping = 0
    pedal.work()
    return port


def fingerprint(**values: float) -> int:
    return RoomMaker(BuiltInRooms(), 48000, 24000).fingerprint(defaults() | values)


def test_locked_room_survives_presets_and_restarts(rig: Rig, folders: Path) -> None:
    pedal = rig.pedal
    port = port_of(pedal)
    assert port.newest_room() == fingerprint()
    Presets(folders).save("other", rig.values | {"x": 9.0, "mix": 5.0})
    rig.send(Change("lock", 1.0), Change("y", 2.0), PresetName("other"))
    pedal.work()
    assert port.newest_room() == fingerprint()
    assert (rig.values["x"], rig.values["mix"]) == (9, 5)  # everything except the room follows
    port = port_of(pedal, block_frames=64)  # a new audio process has a new mailbox
    assert port.newest_room() == fingerprint()
    pedal.save_session()
    session = settings.load_session(Store(folders).number())
    successor = Pedal(session.values, BuiltInRooms(), "")
    successor.resume(session)
    assert successor.presets.current == "other"
    port = port_of(successor, block_frames=256)
    assert port.newest_room() == fingerprint()
    successor.set({"lock": 0.0})
    successor.rooms.published_at = 0  # do not wait for a crossfade: nothing plays here
    successor.work()
    assert port.newest_room() == fingerprint(x=9.0, y=4.5)


def test_knobs_are_heard_between_two_inputs_that_take_long(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preset of each of three inputs in one turn, 0.08 s each: no gap is longer than one."""
    monkeypatch.setattr(Budget.__init__, "__defaults__", (rig.clock.monotonic,))
    port = port_of(rig.pedal)
    rig.pedal.inputs += [FakeInput(), FakeInput()]
    for each in rig.pedal.inputs:
        each.waiting += [Program(0)]
    heard: list[tuple[float, float]] = []

    def play(_: int) -> None:
        heard.append((rig.clock.now, port.params()["gain_db"]))
        rig.clock.sleep(0.08)
        rig.board.simulation.turn("gain", rig.board.simulation.pots["gain"].position + 0.1)

    monkeypatch.setattr(rig.pedal.presets, "play_number", play)
    rig.scan_for(0.1)
    assert len(heard) == 3
    assert heard[0][1] < heard[1][1] < heard[2][1]


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
def test_clip_led_and_status_see_the_same_peaks(rig: Rig, meters, clip: bool) -> None:
    port, leds = FakePort(rig.clock), Leds()
    port.now = port.now._replace(**meters)
    leds.update(rig.board, port, rig.clock.now, room_fault=False, port_fault=False)
    rig.scan_for(0.05)
    assert rig.board.simulation.leds["clip"].lit is clip
    seen = leds.peaks(port.meters(take=True))
    assert seen.output_peak == meters.get("output_peak", (0.2, 0.3))
    assert leds.peaks(port.meters(take=True)).output_peak == (0.0, 0.0)
    rig.scan_for(0.4)
    assert not rig.board.simulation.leds["clip"].lit


def test_faults_outside_the_board_are_set_on_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    leds, port = Leds(), FakePort(rig.clock)
    faults: dict[str, bool] = {}
    monkeypatch.setattr(
        rig.board, "set_fault", lambda kind, present: faults.update({kind: present})
    )
    later = rig.clock.now + 60
    leds.update(rig.board, port, later, room_fault=True, port_fault=False)
    assert faults == {"room": True, "storage": False, "audio": False}
    leds.update(rig.board, port, later, room_fault=False, port_fault=True)
    assert faults["audio"]
    port.now = port.now._replace(heartbeat_ns=port.now.heartbeat_ns - 10**9)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a card that became read-only
    leds.update(rig.board, port, later + 10, room_fault=False, port_fault=False)
    assert faults == {"room": False, "storage": True, "audio": True}
    leds.update(rig.board, None, later + 11, room_fault=False, port_fault=False)
    assert faults["audio"]


def test_status_lists_board_faults_by_part(rig: Rig) -> None:
    rig.scan_for(1)
    rig.board.simulation.pots["y"].wire = "ground"
    rig.scan_for(1)
    faults = json.loads(json.dumps(report.status(rig.pedal)))["board"]["faults"]
    assert list(faults) == ["knob y"]
    assert faults["knob y"].startswith("sim.toml, knob 3 (y), channel 2: ")


def test_invalid_profile_is_reported_and_opened_once_corrected(folders: Path, capsys) -> None:
    good = (PACKAGED / "sim.toml").read_text()
    path = folders / "mine.toml"
    path.write_text(good.replace('"width"', '"wide"'))
    slot = LiveBoard(str(path), folders)
    assert "mine.toml, knob 5 (wide)" in capsys.readouterr().err
    assert not slot.board.knobs
    assert "knob 5 (wide)" in slot.board.faults()["profile mine"].text
    slot.board.scan()
    assert not slot.refresh(0)
    path.write_text(good)
    assert slot.refresh(10)
    assert not slot.board.faults()
    assert set(slot.board.knobs) == {"gain", "x", "y", "z", "width"}
    board = slot.board
    path.write_text(good.replace("channel = 4", "channel = 3"))
    assert not slot.refresh(20)
    assert slot.board is board  # the last valid profile stays
    assert "taken by knob 4" in board.faults()["profile mine"].text
    assert "taken by knob 4" in capsys.readouterr().err
    path.unlink()
    assert not slot.refresh(30)
    slot.close()


def failing(call: Callable[..., object], path: Path, number: int) -> Callable[..., object]:
    """A call of the system that fails for one path."""

    def fail(at: object, *rest: object, **more: object) -> object:
        if str(at) == str(path):
            raise OSError(number, os.strerror(number), at)
        return call(at, *rest, **more)

    return fail


@pytest.mark.parametrize("what", ["profiles", "profiles/sim.toml", "calibration.json"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_board_stays_while_its_files_cannot_be_read(
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    number: int,
) -> None:
    """A board of one's own is not replaced by the package's of the same name."""
    (folders / "profiles").mkdir()
    text = (PACKAGED / "sim.toml").read_text().replace('"width"', '"mix"')
    (folders / "profiles/sim.toml").write_text(text)
    (folders / "calibration.json").write_text(json.dumps({"sim": {"x": [0.1, 0.9]}}))
    slot = LiveBoard("sim", folders)
    board = slot.board
    with (folders / "profiles/sim.toml").open("a") as file:
        file.write("# changed\n")
    for call in ("stat", "listdir", "open"):
        monkeypatch.setattr(os, call, failing(getattr(os, call), folders / what, number))
    capsys.readouterr()
    for now in range(10, 100, 10):
        assert not slot.refresh(now)
    assert slot.board is board and "mix" in board.knobs
    assert capsys.readouterr().err.count("\n") <= 1
    monkeypatch.undo()
    assert slot.refresh(100)  # the change is read once it can be
    assert "mix" in slot.board.knobs
    slot.close()


def test_pipe_in_the_place_of_a_bank_is_refused_at_once(rig: Rig, folders: Path) -> None:
    for name in ("pipe.nvbank", "pipe"):
        os.mkfifo(folders / name)
        with pytest.raises(OSError, match="is a pipe"):
            rig.ask({"do": "bank", "path": str(folders / name)})
    Presets(folders).save("a", rig.values | {"mix": 12.0}, str(folders / "pipe.nvbank"))
    rig.send(PresetName("a"), Change("x", 1.0))
    assert (rig.values["mix"], rig.values["x"]) == (find("mix").default, 1.0)


def test_requests_reject_invalid_preset_and_midi_requests(rig: Rig) -> None:
    for request in ({}, {"step": 7}, {"step": float("inf")}, {"load": None}):
        with pytest.raises(PresetError):
            rig.ask({"do": "preset"} | request)
    with pytest.raises(ValueError, match="--midi"):
        rig.ask({"do": "midi"})
