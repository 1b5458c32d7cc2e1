"""The pedal as its player sees it: values of the controls, presets, lock, rooms.

The control process runs it in one thread and one loop. Sound does not depend on it: the process may
die at any instruction, and the next one continues from the session file and the mailbox. The audio
process smooths every change.
"""

from __future__ import annotations

import contextlib
import logging
import time

from bank.format import Bank
from device.board import Board
from device.controls import at_rest, defaults, find
from device.events import Action, Change, Notice
from dsp.errors import UserError, reason
from firmware_py.base import boot, crashguard
from firmware_py.base.log import logger
from firmware_py.base.paths import data_path
from firmware_py.control.bank_watch import BankWatch
from firmware_py.control.data_folder import DataFolder
from firmware_py.control.inputs import (
    ClockTempo,
    Event,
    Flip,
    Input,
    PresetName,
    PresetSteps,
    Program,
    Turn,
    UnavailableInput,
    Waiting,
)
from firmware_py.control.leds import Leds
from firmware_py.control.load import Load
from firmware_py.control.measuring import Measuring
from firmware_py.control.midi import Midi
from firmware_py.control.parts import LoopParts
from firmware_py.control.preset_player import PresetPlayer
from firmware_py.link.connections import ConnectionsReader
from firmware_py.link.mailbox import Mailbox
from firmware_py.rooms.feed import RoomFeed, play
from firmware_py.rooms.modulators import PEAKS_S, Modulators
from firmware_py.rooms.scenes import NO_SCENE_B, Scenes
from firmware_py.rooms.source import (
    ROOM_CONTROLS,
    BuiltInRooms,
    RoomSource,
    installed_rooms,
    rooms_named,
)
from firmware_py.state import session as settings
from firmware_py.state.factory_presets import factory_presets
from firmware_py.state.preset_file import Preset
from firmware_py.state.presets import Presets
from firmware_py.state.store import Store
from models.residual import ResidualError

log = logger("control")
HOUSEKEEPING_S = PEAKS_S
SESSION_S = 0.5
CLOCK_STEP_BPM = 0.2
"""The tempo follows a MIDI clock in steps of at least this."""


class Pedal:
    """The state of the pedal. `work` writes it to the mailbox of the audio process."""

    def __init__(
        self, values: dict[str, float], source: RoomSource, bank: str, true_stereo: str = "auto"
    ) -> None:
        """`values`: of every control. `bank`: the reference of `source`, see `rooms_named`.
        `true_stereo`: see `RoomFeed`."""
        self.values = values
        self.scenes = Scenes()
        self.modulators = Modulators()
        self.rooms = RoomFeed(source, bank, values, true_stereo)
        self.bank_watch = BankWatch(bank)
        presets = Presets(data_path(), warn=log.warning, factory=factory_presets())
        self.presets = PresetPlayer(presets, self)
        self.board: Board | None = None
        self.inputs: list[Input] = []
        """MIDI and OSC."""
        self._waiting: dict[Input, Waiting] = {}
        self.midi: Midi | None = None
        self.mailbox = Mailbox()
        self.connections = ConnectionsReader()
        self.load = Load()
        self.measuring = Measuring()
        self.parts = LoopParts()
        self.data_folder = DataFolder(self._follow_store)
        self.leds = Leds()
        self.started = time.monotonic()
        self._generation = Store(data_path()).number()
        self._parameters_stale = self._session_stale = True
        self._next_housekeeping = self._next_session = 0.0
        self._first_room_noted = False
        self._complaint = ""  # about the last action that failed

    @property
    def bank(self) -> str:
        """The reference of the rooms that play, see `rooms_named`."""
        return self.rooms.reference

    def resume(self, session: settings.Session) -> None:
        """Continue where the previous control process ended. The caller has restored `values`."""
        self.rooms.sounding = session.sounding
        with contextlib.suppress(ResidualError):
            self.rooms.use_residual(session.residual)
        self.presets.resume(session.preset)
        self.scenes.resume(session.scenes)

    def attach(self, board: Board, *, knobs_rule: bool = False) -> None:
        """Take changes from this board. Its knobs take over at the present values.

        With `knobs_rule` a knob that could not be read yet sets its control at its first reading:
        after power-on a bus may come up late.
        """
        self.board = board
        for name, value in self.values.items():
            if not (knobs_rule and board.is_unread(name)):
                board.control_moved(name, value)

    def open_inputs(self, midi: str, osc: str) -> None:
        """Open MIDI ("alsa", "jack" or "off") and OSC (a port or "off").

        An input that cannot be opened is logged, and the pedal runs without it.
        """
        if midi != "off":
            self.midi = Midi(midi, data_path())
            self.inputs.append(self.midi)
        if osc != "off":
            from firmware_py.control.osc import Osc

            try:
                self.inputs.append(Osc(osc))
            except UserError as error:
                self.inputs.append(UnavailableInput("OSC", reason(error)))
                log.warning(reason(error))

    def close_inputs(self) -> None:
        for each in self.inputs:
            each.close()
        self.measuring.close()

    def play_startup(self) -> bool:
        """Play the startup preset. False if there is none, or if it cannot be played (logged)."""
        try:
            return self.presets.play_startup()
        except (UserError, ValueError, OSError) as error:
            log.warning(reason(error))
            return False

    def scan(self) -> None:
        """Read the board and the other inputs once, and apply what they report.

        After an input that took long the knobs are read and heard again: they never wait for two.
        """
        self._scan_board()
        for each in self.inputs:
            if self._take(each):
                self._scan_board()
                self.work()
        if (morph := self.scenes.glide(time.monotonic())) is not None:
            self.set({"morph": morph}, drifts=True)

    def _scan_board(self) -> None:
        assert self.board is not None
        moved = {}
        for event in self.board.scan():
            if isinstance(event, Change):
                moved[event.control] = event.value
            else:
                self._apply(event)
        self.change(moved)

    @property
    def is_behind(self) -> bool:
        """Whether events of an input wait for their turn."""
        return any(waiting.events for waiting in self._waiting.values())

    def _take(self, source: Input) -> bool:
        """Apply the events of an input, within its budget; the rest in the next turns. True if it
        took longer than its budget."""
        if (waiting := self._waiting.get(source)) is None:
            waiting = self._waiting[source] = Waiting()
        if waiting.budget.rest_s:
            return False
        waiting.budget.begin()
        if not waiting.events:
            waiting.events += self.parts.run(type(source).__name__, source.poll) or []
            waiting.skip_presets()
        while waiting.events and not waiting.budget.is_spent:
            self._apply(waiting.events.popleft())
        return waiting.budget.end()

    def _apply(self, event: Event) -> None:
        """Apply an event of any input. An invalid one changes nothing and is logged: once, if it
        is repeated."""
        try:
            match event:
                case Change(name, value):
                    self.set({name: value})
                case Flip(control) | Turn(control):
                    self.set({control.name: event.value_after(self.values[control.name])})
                case Action("tap"):
                    self.tap()
                case Action("measure"):
                    self.measuring.toggle(self.connections.now)
                case Action("scene toggle"):
                    self.toggle_scene()
                case Action("recording next" | "recording previous" as name):
                    self._step_recording(1 if name == "recording next" else -1)
                case Action(name):
                    self.presets.step(1 if name == "preset next" else -1)
                case ClockTempo(bpm):
                    self.follow_clock(bpm)
                case PresetSteps(by):
                    self.presets.skip(by)
                case Program(number):
                    self.presets.play_number(number)
                case PresetName(name):
                    self.presets.play_name(name)
                case Notice():
                    log_notice(event)
        except (UserError, ValueError, OSError) as error:
            self._complain(reason(error))
        else:
            if not isinstance(event, Change | Notice):
                self._complaint = ""

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            log.warning(text)

    def _step_recording(self, by: int) -> None:
        """Play the next or previous recording of the bank, after the last one the first."""
        source = self.rooms.source
        count = len(source.waveforms) if isinstance(source, Bank) else 0
        if not count:
            raise UserError(f"{source.name} has no recordings to step through")
        count = min(count, round(find("recording").maximum))
        number = round(self.values["recording"])
        after = (number - 1 + by) % count + 1 if number else 1 if by > 0 else count
        self.set({"recording": float(after)})

    def tap(self) -> None:
        """Take a tap of the tempo."""
        assert self.board is not None
        if change := self.board.tap():
            self.set({change.control: change.value})

    def follow_clock(self, bpm: float) -> None:
        """Take the tempo of a MIDI clock; a difference that is only its jitter changes nothing."""
        tempo = find("tempo")
        bpm = min(max(bpm, tempo.minimum), tempo.maximum)
        if self.values["midi_clock"] and abs(bpm - self.values["tempo"]) > CLOCK_STEP_BPM:
            self.set({"tempo": round(bpm, 1)})

    def change(self, values: dict[str, float], *, drifts: bool = False) -> None:
        """Set checked values that come from the board, and what follows `morph`.

        drifts: no hand moves them, so rooms follow at leisure, see `RoomFeed`.
        """
        moved = {name: value for name, value in values.items() if self.values[name] != value}
        if not moved:
            return
        following = self.scenes.follow(moved)
        if moved.get("morph") and not self.scenes.ends():
            self._complain(NO_SCENE_B)
        self.values |= moved | following
        self._session_stale = True
        if self.board is not None:
            self.board.light("activity")
        self._parameters_stale = True
        if not (moved.keys() | following.keys()).isdisjoint(ROOM_CONTROLS):
            self.rooms.drifts |= drifts
            self.rooms.stale |= not drifts
        self._report(following)

    def set(self, values: dict[str, float], *, drifts: bool = False) -> None:
        """Set checked values that do not come from the board, and report them to its knobs."""
        self.change(values, drifts=drifts)
        self._report(values)

    def _report(self, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.control_moved(name, value)

    def play_scenes(self, preset: Preset) -> None:
        """Play the values of a preset, at its `morph` between its scenes."""
        self.use_scenes(preset)  # else its `morph` would be reported as without effect
        self.set(preset.playing())
        self.use_scenes(preset)

    def use_scenes(self, preset: Preset) -> None:
        """Morph between the scenes of a preset, whose values play already."""
        self.scenes.use(self.values | preset.complete(), preset.scene_b)
        self._session_stale = True

    def kept(self) -> tuple[dict[str, float], dict[str, float]]:
        """The values that a preset keeps: of scene A, and where it differs, of B."""
        return self.scenes.kept(self.values)

    def store_scene(self, scene: str) -> None:
        """Make what plays scene "a" or "b". Raises SceneError."""
        self.set({"morph": self.scenes.store(scene, self.values)})
        self._session_stale = True

    def forget_scene(self) -> None:
        """There is no scene B. What plays stays."""
        self.scenes.forget()
        self.set({"morph": find("morph").minimum})
        self._session_stale = True

    def toggle_scene(self) -> None:
        """Glide to the other scene. Raises SceneError."""
        self.scenes.toggle(self.values["morph"], self.values["morph_glide_s"], time.monotonic())

    def use_bank(self, reference: str) -> None:
        """Play another bank or model, see `rooms_named`.

        Raises ValueError or OSError; the old rooms then stay.
        """
        self.rooms.use(rooms_named(reference), reference)
        self._rooms_chosen()

    @property
    def residual(self) -> str:
        """The residual of the encoded room that plays, as text; "" if it is none."""
        return self.rooms.residual

    def use_residual(self, residual: str) -> None:
        """Play an encoded room; "": none. Raises ResidualError; nothing changes then."""
        self.rooms.use_residual(residual)
        self._session_stale = True

    def reload(self) -> None:
        """Play the active rooms of the store after a test that a room of them can be made.

        Raises ValueError or OSError; the old rooms then stay.
        """
        store = Store(data_path())
        generation, slot = store.number(), store.current().playing
        reference = slot.reference if slot else ""
        log.debug("reload: generation %d of the store", generation)
        self.rooms.use_tested(rooms_named(reference), reference, self.values)
        self._generation = generation
        self._rooms_chosen()

    def _follow_store(self) -> None:
        """Play the active rooms of the store if they are others than at the last look, as after a
        start without the data folder. Raises OSError."""
        if Store(data_path()).number() == self._generation:
            return
        try:
            self.reload()
            log.info(f"the store can be read again: playing {self.rooms.source.name}")
        except ValueError as error:
            log.warning(f"{reason(error)}; the rooms stay as they are")

    def _try_changed_bank(self) -> None:
        """Play the file of the chosen rooms as it is now, if a room of it can be made."""
        reference, residual = self.bank_watch.reference, self.residual
        try:
            self.rooms.use_tested(rooms_named(reference), reference, self.values)
            self.rooms.use_residual(residual)
        except (ValueError, OSError) as error:
            log.warning(f"{reason(error)}; trying it again when it changes")
            return
        log.info(f"{reference} has changed: playing it as it is now")
        self._rooms_chosen()

    def _rooms_chosen(self) -> None:
        if self.bank_watch.reference != self.bank:
            self.bank_watch.watch(self.bank)
        crashguard.end_safe_start()
        self._session_stale = True

    def reset(self) -> None:
        """Go back to what plays after power-on: the startup preset, else the defaults.

        The knobs take over at the new values.
        """
        self.set(at_rest())
        self.scenes.clear()
        if self.play_startup():
            return
        self.set(defaults())
        self.use_residual("")
        self.presets.current = None
        source, reference = installed_rooms(log.warning)
        if reference != self.bank:
            self.rooms.use(source, reference)
            self._generation = Store(data_path()).number()
            self._rooms_chosen()

    def start_safe(self) -> None:
        """Play the built-in rooms at the default controls, see firmware_py.base.crashguard."""
        self.rooms.use(BuiltInRooms(), "")
        self.bank_watch.watch("")
        self.scenes.clear()
        self.set(defaults())
        self._session_stale = True

    def work(self) -> None:
        """Write what is stale to the mailbox: some ms if a room is made, else some microseconds."""
        now = time.monotonic()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_S
            self.parts.run("data folder", self.data_folder.look)
            if self.midi is not None:
                self.parts.run("MIDI map", self.midi.read_map)
            self.parts.run("housekeeping", lambda: self._housekeep(now))
            if self.parts.failed and self.board is not None:
                self.board.set_fault("storage", True)
        port = self.mailbox.port
        if port is None:
            return
        play(
            port,
            self.values,
            now,
            scenes=self.scenes,
            modulators=self.modulators,
            rooms=self.rooms,
            is_stale=self._parameters_stale,
        )
        self._parameters_stale = False

    def _housekeep(self, now: float) -> None:
        if self.bank_watch.has_changed():
            self._try_changed_bank()
        if self.mailbox.refresh():
            self.rooms.audio_restarted()
            self._parameters_stale = True
            if crashguard.safe_start_reason():  # the audio process has just started safe
                self.start_safe()
        port = self.mailbox.port
        if port is not None:
            self.load.update(port, now)
            self.rooms.follow_inputs(port)
            if self._first_room_noted:
                self.rooms.prepare()
            elif port.meters().playing_serial:
                self._first_room_noted = True
                boot.note("control")
        self.connections.refresh()
        self.measuring.look()
        if self.board is not None:
            self.leds.update(
                self.board,
                port,
                now,
                room_fault=bool(self.rooms.fault),
                port_fault=bool(self.connections.now.faults),
            )
            self.board.set_fault("midi", self.midi is not None and self.midi.is_failing)
        if self.midi is not None:
            self.midi.tell(self.values)
        if self._session_stale and now >= self._next_session:
            self._next_session = now + SESSION_S
            self.save_session()

    def save_session(self, *, ended: bool = False) -> None:
        """Write the session. A failure is logged once and tried again."""
        self.parts.run("session", lambda: self._save_session(ended))

    def _save_session(self, ended: bool) -> None:
        session = settings.Session(
            self.values,
            self.rooms.sounding,
            self.bank,
            self._generation,
            self.presets.current,
            ended=ended,
            residual=self.residual,
            scenes=self.scenes.keep(),
        )
        settings.save_session(session)
        self._session_stale = False


def log_notice(notice: Notice) -> None:
    log.log(logging.WARNING if notice.fault else logging.INFO, notice.text)
