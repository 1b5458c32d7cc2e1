"""The control process: board and socket in, parameters and rooms out to the mailbox. One thread, one loop.

Sound never depends on it: it may be killed at any instruction, and its successor takes over where it was, from the session file
and the mailbox. Every change that it makes is smoothed by the audio side.
"""

from __future__ import annotations

import os
import time
from typing import Any

from device import health
from device.board import Board
from device.controls import check, defaults, find, parse
from device.events import Action, Change, Notice
from dsp._engine import simd
from dsp.errors import UserError, reason
from firmware_py.base import boot, crashguard, log
from firmware_py.base.paths import data_dir
from firmware_py.control.inputs import Door, Event, Named, Program, Shut
from firmware_py.control.leds import Lights
from firmware_py.control.midi import Midi
from firmware_py.control.preset_player import PresetPlayer
from firmware_py.control.report import Load, decibels
from firmware_py.control.server import HandOver
from firmware_py.control.store_keepers import StoreKeepers
from firmware_py.link import params
from firmware_py.link.mailbox import Mailbox
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import ROOM_CONTROLS, BuiltInRooms, RoomSource, rooms_named
from firmware_py.state import session as settings
from firmware_py.state.presets import Presets
from firmware_py.state.store import Store

HOUSEKEEPING_S = 0.05
SESSION_S = 0.5


def say(text: str) -> None:
    log.say("control", text)


class Control:
    """The state of the pedal as its user sees it, and its way to the audio process."""

    def __init__(self, values: dict[str, float], source: RoomSource, bank: str) -> None:
        self.values, self.bank = values, bank
        self._generation = Store(data_dir()).number()
        self._storekeepers = StoreKeepers()
        self._source = source
        self._maker: RoomMaker | None = None
        self._mailbox = Mailbox()
        self._load = Load()
        self._parameters_stale = self._room_stale = self._session_stale = True
        self._published = self._next_housekeeping = self._next_session = 0.0
        self._serial = 0
        self._room_fault = ""
        self._room_noted = False
        self._board: Board | None = None
        self.doors: list[Door] = []
        """What else gives orders: MIDI, OSC."""
        self.midi: Midi | None = None
        self.presets = PresetPlayer(Presets(data_dir()), self)
        self._lights = Lights()
        self._sounding = dict(values)
        """The values of the room that sounds: with `freeze`, those of before."""
        self._room_lost = True
        self.room_ms = 0.0
        self.started = time.monotonic()

    def resume(self, session: settings.Session) -> None:
        """Goes on where the control process before us was; `values` are its already."""
        self._sounding = session.sounding
        self.presets.resume(session.preset)

    def attach(self, board: Board, *, knobs_rule: bool = False) -> None:
        """Takes its orders from this board, too. The board learns where the controls are: its knobs take over from there. With
        `knobs_rule` a knob that could not be read yet sets its control as soon as it can: buses come late after power-on."""
        self._board = board
        for name, value in self.values.items():
            if not (knobs_rule and board.is_unread(name)):
                board.control_moved(name, value)

    def open_doors(self, midi: str, osc: str) -> None:
        """MIDI by "alsa", "jack" or "off"; OSC at a port, if any. A door that cannot be opened is told; the pedal goes on."""
        if midi != "off":
            self.midi = Midi(midi, data_dir())
            self.doors.append(self.midi)
        if osc != "off":
            from firmware_py.control.osc import Osc

            try:
                self.doors.append(Osc(osc))
            except UserError as error:
                self.doors.append(Shut("OSC", reason(error)))
                say(reason(error))

    def close_doors(self) -> None:
        for door in self.doors:
            door.close()

    def play_startup(self) -> bool:
        """Plays the startup preset; False if there is none, or it cannot be played (and that is told)."""
        try:
            return self.presets.play_startup()
        except (UserError, ValueError, OSError) as error:
            say(reason(error))
            return False

    def scan(self) -> None:
        """One look at the board, and at the other doors."""
        assert self._board is not None
        moved = {}
        for event in self._board.scan():
            if isinstance(event, Change):
                moved[event.control] = event.value
            else:
                self._take(event)
        self.change(moved)
        for door in self.doors:
            for other in _without_passed_over(door.poll()):
                self._take(other)

    def _take(self, event: Event) -> None:
        """An order from anywhere, or a line for the log. What is wrong with it is told, and nothing changes."""
        try:
            match event:
                case Change(name, value):
                    self.set({name: value})
                case Action("tap"):
                    assert self._board is not None
                    change = self._board.tap()
                    if change is not None:
                        self.set({change.control: change.value})
                case Action(name):
                    self.presets.step(1 if name == "preset next" else -1)
                case Program(number):
                    self.presets.play_number(number)
                case Named(name):
                    self.presets.play_name(name)
                case Notice(text):
                    say(text)
        except (UserError, ValueError, OSError) as error:
            say(reason(error))

    def change(self, values: dict[str, float]) -> None:
        """Takes new values, already checked."""
        for name, value in values.items():
            if self.values[name] == value:
                continue
            self.values[name] = value
            self._session_stale = True
            if self._board is not None:
                self._board.light("activity")
            if name in ROOM_CONTROLS:
                self._room_stale = True
            else:
                self._parameters_stale = True

    def set(self, values: dict[str, float]) -> None:
        """Takes checked values that do not come from the board, whose knobs learn of them."""
        self.change(values)
        if self._board is not None:
            for name, value in values.items():
                self._board.control_moved(name, value)

    def use_bank(self, reference: str) -> None:
        """Plays from another bank or model, as `rooms_named` has it. Raises ValueError or OSError; the old one then stays."""
        self._take_rooms(rooms_named(reference), reference)

    def reload(self) -> None:
        """Plays what the store has in force now, if a room of it can be made. Raises ValueError or OSError; the old one then stays."""
        store = Store(data_dir())
        generation, slot = store.number(), store.current().playing
        reference = slot.reference if slot else ""
        source = rooms_named(reference)
        maker = self._maker.of(source) if self._maker else None
        (maker or RoomMaker(source, 48000, 48000)).ir(self.values)
        self._take_rooms(source, reference)
        self._maker, self._generation = maker, generation

    def _take_rooms(self, source: RoomSource, reference: str) -> None:
        self._source, self.bank = source, reference
        crashguard.end_safe_start()
        self._maker = None
        self._room_stale = self._session_stale = True

    def start_safe(self) -> None:
        """Plays the built-in rooms with the default controls; see firmware_py.base.crashguard."""
        self._source, self.bank, self._maker = BuiltInRooms(), "", None
        self.set(defaults())
        self._room_stale = self._session_stale = True

    def work(self) -> None:
        """Writes to the mailbox whatever is stale. A few ms when a room is made, else some microseconds."""
        now = time.monotonic()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_S
            self._housekeep(now)
        port = self._mailbox.port
        if port is None:
            return
        if self._parameters_stale:
            port.set_params(params.engine_params(self.values))
            self._parameters_stale = False
        # A room that waits for a crossfade to end is not replaced by each turn of a knob: the next one is made when it has begun to
        # sound, from where the knobs are then. The latest wins, and no work is done that nobody hears.
        if (
            self._room_stale
            and (self._room_lost or not self.values["freeze"])
            and (port.meters().playing_serial >= self._serial or self._waited_too_long(now))
        ):
            self._make_room(now)

    def _waited_too_long(self, now: float) -> bool:
        return now - self._published > 2 * self.values["fade"] / 1000 + 0.5

    def _housekeep(self, now: float) -> None:
        if self._mailbox.refresh():
            self._maker = None
            self._serial = 0
            self._parameters_stale = self._room_stale = self._room_lost = True
            if crashguard.safe_start_reason():  # the audio process has just come back safe
                self.start_safe()
        port = self._mailbox.port
        if port is not None:
            self._load.look(port, now)
            if not self._room_noted and port.meters().playing_serial:
                self._room_noted = True
                boot.note("control")
            elif self._room_noted and self._maker is not None and not self._room_stale:
                self._maker.prepare()
        if self._board is not None:
            self._lights.look(self._board, port, now, room_fault=bool(self._room_fault))
        if self._session_stale and now >= self._next_session:
            self._next_session = now + SESSION_S
            self.save_session()

    def save_session(self) -> None:
        try:
            session = settings.Session(
                self.values, self._sounding, self.bank, self._generation, self.presets.current
            )
            settings.save_session(session)
            self._session_stale = False
        except OSError as error:
            say(f"cannot keep the session: {reason(error)}")

    def _make_room(self, now: float) -> None:
        port = self._mailbox.port
        assert port is not None
        begun = time.perf_counter()
        frozen = bool(self.values["freeze"])  # a new audio process gets the frozen room again
        values = self._sounding if frozen else self.values
        try:
            if self._maker is None:
                self._maker = RoomMaker(self._source, port.rate_hz, port.max_taps, port.inputs)
                begun = time.perf_counter()
            room = self._maker.fingerprint(values)
            if (
                room != port.newest_room()
            ):  # else a predecessor of ours has handed it over: it plays
                self._serial = port.load_ir(self._maker.ir(values), room)
            self._sounding = dict(values)
            self._room_fault = ""
        except (ValueError, OSError, MemoryError) as error:  # the room that plays goes on
            if str(error) != self._room_fault:
                self._room_fault = str(error)
                say(f"cannot make this room, the last one plays on: {reason(error)}")
        self._room_stale, self._room_lost = (
            frozen,
            False,
        )  # once thawed, the room of the knobs is due
        self._published = now
        self.room_ms = 1000 * (time.perf_counter() - begun)

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | HandOver:
        """One request of the control socket; see firmware_py.link.client for the table."""
        match request.get("do"):
            case "set":
                asked = request.get("values")
                if not isinstance(asked, dict) or not asked:
                    raise ValueError('"values" is an object of names and values')
                values = {}
                for name, value in asked.items():
                    control = find(name)
                    values[control.name] = (
                        parse(control, value)
                        if isinstance(value, str)
                        else check(control, float(value))
                    )
                self.set(values)
                return {"values": values}
            case "get":
                names = request.get("names") or list(self.values)
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise ValueError('"names" is a list of names')
                return {"values": {name: self.values[find(name).name] for name in names}}
            case "bank":
                self.use_bank(str(request["path"]))
                return {"bank": self._source.name}
            case "store":
                return HandOver(self._storekeepers.start)
            case "reload":
                self.reload()
                return {"bank": self._source.name, "path": self.bank}
            case "preset":
                return {"preset": self.presets.answer(request)}
            case "midi" if self.midi is not None:
                return {"midi": self.midi.answer(request)}
            case "midi":
                raise ValueError("MIDI is off: start the pedal with --midi alsa or --midi jack")
            case "status":
                return {"status": self.status()}
        known = "set, get, bank, store, reload, preset, midi, status"
        raise ValueError(f"unknown request {request.get('do')!r}: one of {known}")

    def status(self) -> dict[str, Any]:
        """Everything that `nverb status` shows; peaks are taken, so that each look sees its own."""
        from firmware_py.base.version import version

        status: dict[str, Any] = {
            "version": version(),
            "simd": simd(),
            "machine": health.read(),
            "controls": dict(self.values),
            "room": {
                "bank": self._source.name,
                "path": self.bank,
                "made_in_ms": round(self.room_ms, 2),
                "fault": self._room_fault,
            },
            "safe_start": crashguard.safe_start_reason(),
            "control": {"pid": os.getpid(), "up_s": round(time.monotonic() - self.started, 1)},
            "preset": self.presets.describe(),
            "board": None,
            "doors": [door.describe() for door in self.doors],
            "audio": None,
        }
        if self._board is not None:
            status["board"] = {
                "profile": self._board.profile.name,
                "faults": {part: fault.text for part, fault in self._board.faults().items()},
                "apart": self._board.distances(),
            }
        port = self._mailbox.port
        if port is not None:
            meters = self._lights.peaks(port.meters(take=True))
            age_ms = (time.monotonic_ns() - meters.heartbeat_ns) / 1e6
            status["audio"] = {
                "pid": meters.pid,
                "alive": age_ms < 500,
                "rate_hz": port.rate_hz,
                "block_frames": port.block_frames,
                "inputs": port.inputs,
                "blocks": meters.blocks,
                "late_blocks": meters.late_blocks,
                "load": self._load.mean,
                "worst_load": meters.worst_ns * 1e-9 * port.rate_hz / port.block_frames,
                "input_db": [decibels(p) for p in meters.input_peak],
                "output_db": [decibels(p) for p in meters.output_peak],
                "limited_samples": meters.limited_samples,
                "nonfinite_samples": meters.nonfinite_samples,
                "offset_blocks": meters.offset_blocks,
                "playing_serial": meters.playing_serial,
                "playing_since_ns": meters.playing_since_ns,
                "fading": meters.fading,
            }
        return status


def _without_passed_over(events: list[Event]) -> list[Event]:
    """Of several presets that were asked for since the last look only the last is played: one may take a tenth of a second on a small
    board, and who scrolls through them on a MIDI controller asks for more than that."""
    asked = [place for place, event in enumerate(events) if isinstance(event, Program | Named)]
    passed_over = set(asked[:-1])
    return [event for place, event in enumerate(events) if place not in passed_over]
