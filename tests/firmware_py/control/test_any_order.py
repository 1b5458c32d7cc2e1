"""A complete pedal under anything in any order: hypothesis chooses what happens, a model says what
must hold then. `make test` does 300 steps, `make acceptance-soak` 10 000.

After each step:

- the sound is within bounds (checked block by block, see AudioSide)
- a knob is heard within 100 ms, a room within that and the fades before it
- what was acknowledged is there: presets, the active bank, what a rollback returns to, settings,
  MIDI assignments; also after kills, power cuts and errors of the disk
- what was refused has changed nothing
- memory is bounded: the rooms of at most two banks, no descriptor is left open
"""

from __future__ import annotations

import collections
import functools
import gc
import hashlib
import itertools
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import KILLED, FaultyDisk
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from whole_pedal import TURN_S, WholePedal, open_files

from bank.build import build
from device.controls import CONTROLS, NOT_KEPT, defaults, find, to_position
from dsp.energymap import EnergyMap
from dsp.errors import UserError
from dsp.names import name_key
from firmware_py.base.progress import Report
from firmware_py.control.parts import LONGEST_PAUSE_S
from firmware_py.control.pedal import SESSION_S
from firmware_py.install import installer, trial
from firmware_py.install.receive import Offer
from firmware_py.state import settings as settings_file
from firmware_py.state.factory_presets import factory_presets
from firmware_py.state.presets import Presets
from firmware_py.state.store import Store
from models.generator import room_at

STEPS = int(os.environ.get("NVERB_ANY_ORDER_STEPS", "300"))
SEED = os.environ.get("NVERB_ANY_ORDER_SEED")
"""A number: other steps than those of every run."""
STEPS_EACH = 50
HEARD_S = 0.1
TRAVEL = 0.02
"""Of a knob's travel: its filter, noise and ends."""
REFUSED = (UserError, ValueError, OSError)
BANKS = ("one", "two", "three")
NAMES = ("Mine", "mine", "Bright", "Ébène", "x" * 40)
"""None is that of a factory preset."""
BAD_NAMES = ("", "a\x07b", "y" * 41)
CCS = range(102, 106)
"""Assigned to nothing in the table of controls."""
LEARNERS = ("mix", "x", "bypass", "tap")

FACTORY = [(row.name, row.bank, tuple(row.values.items())) for row in factory_presets()]

names = st.sampled_from(NAMES)
banks = st.sampled_from(BANKS)
faults = st.sampled_from(["full", "read-only", "failing", "locked"])
moments = st.integers(0, 25)
"""After how many changes of the disk a fault begins."""


def room(part: float, x: float, y: float, z: float) -> EnergyMap:
    return room_at(x / part, y / part, z / part)


@functools.cache
def bank_bytes(name: str) -> bytes:
    """A bank; "damaged": one with a changed byte; "junk": none."""
    if name == "junk":
        return b"no bank" * 100
    if name == "damaged":
        content = bytearray(bank_bytes("one"))
        content[len(content) // 2] ^= 255
        return bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.nvbank"
        build(path, functools.partial(room, 1.2 + BANKS.index(name)), steps=2, name=name)
        return path.read_bytes()


@dataclass
class State:
    """What the pedal has acknowledged."""

    presets: list[tuple[str, str, tuple[tuple[str, float], ...]]] = field(default_factory=list)
    """Name, bank and values."""
    startup: str | None = None
    history: list[tuple[str, str]] = field(default_factory=lambda: [("", "")])
    """The active bank and the one that plays, after each switch."""
    installed: set[str] = field(default_factory=set)
    settings: settings_file.Settings = field(default_factory=settings_file.Settings)
    learnt: dict[str, str] = field(default_factory=dict)

    def copy(self) -> State:
        return State(
            list(self.presets),
            self.startup,
            list(self.history),
            set(self.installed),
            self.settings,
            dict(self.learnt),
        )

    @property
    def seen(self) -> tuple[object, ...]:
        """What a user sees of it, but for the installed banks."""
        return (
            *(self.presets, self.startup, self.active, self.before()),
            *(self.settings, self.learnt),
        )

    def place(self, name: str) -> int | None:
        keys = [name_key(preset[0]) for preset in self.presets]
        return keys.index(name_key(name)) if name_key(name) in keys else None

    @property
    def active(self) -> tuple[str, str]:
        return self.history[-1]

    def switch(self, bank: str, plays: str) -> None:
        if (bank, plays) != self.active:
            self.history.append((bank, plays))

    def before(self) -> tuple[str, str] | None:
        """What a rollback switches to."""
        now = self.active[0]
        for bank, _ in reversed(self.history):
            if bank != now and (not bank or bank in self.installed):
                return (bank, bank) if bank else ("", "")
        return None


def bank_of(link: Path) -> str:
    """The bank that a link of a generation leads to."""
    return os.path.basename(os.readlink(link)).split(".")[0] if link.is_symlink() else ""


def reference(bank: str) -> str:
    """As presets and sessions name an installed bank."""
    return f"{bank}@{hashlib.sha256(bank_bytes(bank)).hexdigest()[:12]}" if bank else ""


Live = Callable[[], str]
Act = Callable[[Live], object]
"""Does something that is acknowledged, or raises one of REFUSED. Live: see installer.install."""
Apply = Callable[[State], bool]
"""Changes the model in the same way. False: it must be refused."""


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="nverb-any-", dir="/dev/shm"))
        self.patch = pytest.MonkeyPatch()
        check = trial.check
        self.patch.setattr(
            trial, "check", lambda path, **more: check(path, **(more | {"rooms": (trial.MIDDLE,)}))
        )
        self.stick = self.folder / "stick.nvbank"
        self.stick_holds = "junk"
        self.stick.write_bytes(bank_bytes("junk"))
        self.open_files = open_files()
        self.pedal = WholePedal(self.folder, self.patch)
        self.state = State()
        self.left: set[str] = set()
        """Banks of installs that ended half-way. They never played, so the next install may remove
        them."""
        self.reference = ""

    def teardown(self) -> None:
        self.disk.state = ""
        self.pedal.turns(0.1)
        self.pedal.settle()
        self.pedal.kill()
        del self.pedal.audio
        gc.collect()
        left = collections.Counter(open_files()) - collections.Counter(self.open_files)
        assert not left
        self.patch.undo()
        shutil.rmtree(self.folder)

    @property
    def disk(self) -> FaultyDisk:
        return self.pedal.disk

    # What happens to the disk's content.

    def change(self, how: str, moment: int, fault: str, act: Act, apply: Apply) -> None:
        """Do something that the disk keeps, perhaps with a fault or a kill in the middle of it."""
        new = self.state.copy()
        possible = apply(new)
        if self.disk.state:
            how = "broken"
        done = False
        if how == "killed":
            done = self._killed(moment, act)
        else:
            if how == "fault":
                self.disk.state, self.disk.fail_after = fault, moment
            try:
                act(self._reload)
                done = True
            except REFUSED as error:
                assert how != "plain" or not possible, error
            if how == "fault":
                self.disk.state, self.disk.fail_after = "", 0
        assert possible or not done
        if how in ("plain", "broken"):
            self.state = new if done else self.state
            if how == "plain":
                self.check_disk()
        else:
            found, sets = self.read(), (self.state.installed, new.installed)
            assert found.seen == new.seen or (found.seen == self.state.seen and not done)
            assert set.intersection(*sets) <= found.installed <= set.union(*sets)
            if not done:
                self.left |= found.installed - self.state.installed
            self.state = found
        self.pedal.turn()

    def _killed(self, moment: int, act: Act) -> bool:
        """Do it in another process that is killed at this moment. True if it was done before."""
        child = os.fork()
        if child == 0:
            status = 70
            try:
                self.disk.kill_after = moment
                act(lambda: "is active")
                status = 0
            except REFUSED:
                status = 1
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 1, KILLED)
        return status == 0

    def _reload(self) -> str:
        self.pedal.ask({"do": "reload"})
        return "plays"

    def read(self) -> State:
        """What is on the disk."""
        presets, store = Presets(self.pedal.data), Store(self.pedal.data)
        startup = presets.startup
        history = [("", "")]
        if (current := store.root / "current").is_symlink():
            last = os.path.basename(os.readlink(current))
            history += [
                (
                    bank_of(folder / "bank"),
                    bank_of(folder / "bank") if (folder / "plays").is_symlink() else "",
                )
                for folder in sorted((store.root / "generations").glob("0*"))
                if folder.name <= last
            ]
        midi = self.pedal.ask({"do": "midi"})["midi"]["assignments"]
        return State(
            [(p.name, p.bank, tuple(sorted(p.values.items()))) for p in presets.all()],
            startup.name if startup else None,
            history,
            {slot.name for slot in store.slots()},
            settings_file.load(),
            {
                name: its["source"]
                for name, its in midi.items()
                if its["source"].startswith("cc 10") and name in LEARNERS
            },
        )

    def check_disk(self) -> None:
        """What was acknowledged is there, and nothing else."""
        found = self.read()
        self.left -= {bank for bank, _ in self.state.history}
        gone = (self.state.installed - found.installed) & self.left
        self.state.installed -= gone
        self.left -= gone
        assert (found.seen, found.installed) == (self.state.seen, self.state.installed)

    hows = st.sampled_from(["plain", "plain", "plain", "fault", "killed"])

    @rule(
        how=hows,
        moment=moments,
        fault=faults,
        name=names,
        bank=st.sampled_from(["", "stick", *BANKS]),
    )
    def save_preset(self, how: str, moment: int, fault: str, name: str, bank: str) -> None:
        values = {n: v for n, v in self.pedal.values.items() if n not in NOT_KEPT}
        refers = os.fspath(self.stick) if bank == "stick" else reference(bank)

        def apply(state: State) -> bool:
            place = state.place(name)
            kept = (
                state.presets[place][0] if place is not None else unicodedata.normalize("NFC", name)
            )
            row = (kept, refers, tuple(sorted(values.items())))
            if place is None:
                state.presets.append(row)
            else:
                state.presets[place] = row
            return True

        self.change(
            how, moment, fault, lambda _: Presets(self.pedal.data).save(name, values, refers), apply
        )

    @rule(how=hows, moment=moments, fault=faults, name=names)
    def remove_preset(self, how: str, moment: int, fault: str, name: str) -> None:
        def apply(state: State) -> bool:
            place = state.place(name)
            if place is None:
                return False
            gone = state.presets.pop(place)
            if state.startup == gone[0]:
                state.startup = None
            return True

        self.change(how, moment, fault, lambda _: Presets(self.pedal.data).remove(name), apply)

    @rule(how=hows, moment=moments, fault=faults, name=names, to=names | st.sampled_from(BAD_NAMES))
    def rename_preset(self, how: str, moment: int, fault: str, name: str, to: str) -> None:
        def apply(state: State) -> bool:
            place, other = state.place(name), state.place(to)
            if place is None or to in BAD_NAMES or other not in (None, place):
                return False
            old = state.presets[place]
            state.presets[place] = (to, *old[1:])
            if state.startup == old[0]:
                state.startup = to
            return True

        self.change(how, moment, fault, lambda _: Presets(self.pedal.data).rename(name, to), apply)

    @rule(how=hows, moment=moments, fault=faults, name=names | st.none())
    def choose_startup(self, how: str, moment: int, fault: str, name: str | None) -> None:
        def apply(state: State) -> bool:
            place = state.place(name) if name is not None else None
            if name is not None and place is None:
                return False
            state.startup = None if place is None else state.presets[place][0]
            return True

        self.change(how, moment, fault, lambda _: Presets(self.pedal.data).set_startup(name), apply)

    @rule(
        how=hows,
        moment=moments,
        fault=faults,
        bank=st.sampled_from(["damaged", "junk", *BANKS, *BANKS]),
    )
    def push_bank(self, how: str, moment: int, fault: str, bank: str) -> None:
        content = bank_bytes(bank)

        def receive(at: int) -> Iterator[bytes]:
            step = len(content) // 4 + 1
            yield from (content[begin : begin + step] for begin in range(at, len(content), step))

        def apply(state: State) -> bool:
            if bank not in BANKS:
                return False
            state.installed.add(bank)
            state.switch(bank, bank)
            return True

        digest = hashlib.sha256(content).hexdigest()
        offer = Offer(f"{bank}.nvbank", "bank", len(content), digest)
        self.change_rooms(
            how,
            moment,
            fault,
            lambda live: installer.install(
                offer, receive, data=self.pedal.data, report=Report(), live=live
            ),
            apply,
        )

    @rule(how=hows, moment=moments, fault=faults, bank=st.sampled_from(["built-in", *BANKS]))
    def use_bank(self, how: str, moment: int, fault: str, bank: str) -> None:
        def apply(state: State) -> bool:
            if bank == "built-in":
                state.switch(state.active[0], "")
            elif bank in state.installed:
                state.switch(bank, bank)
            return bank == "built-in" or bank in state.installed

        self.change_rooms(
            how,
            moment,
            fault,
            lambda live: installer.use(
                bank, None, data=self.pedal.data, report=Report(), live=live
            ),
            apply,
        )

    @rule(how=hows, moment=moments, fault=faults)
    def roll_back(self, how: str, moment: int, fault: str) -> None:
        def apply(state: State) -> bool:
            before = state.before()
            if before is not None:
                state.switch(*before)
            return before is not None

        self.change_rooms(
            how,
            moment,
            fault,
            lambda live: installer.roll_back(
                "bank", data=self.pedal.data, report=Report(), live=live
            ),
            apply,
        )

    @rule(how=hows, moment=moments, fault=faults, bank=banks)
    def remove_bank(self, how: str, moment: int, fault: str, bank: str) -> None:
        def apply(state: State) -> bool:
            if bank not in state.installed or state.active[0] == bank:
                return False
            state.installed.discard(bank)
            state.history = [each for each in state.history if each[0] != bank]
            return True

        self.change(
            how, moment, fault, lambda _: installer.remove(bank, None, data=self.pedal.data), apply
        )

    def change_rooms(self, how: str, moment: int, fault: str, act: Act, apply: Apply) -> None:
        """`change`, after which the pedal plays what the store says, or what it played before."""
        before = self.state
        self.change(how, moment, fault, act, apply)
        bank = self.pedal.pedal.bank
        if how == "plain" and not self.disk.state and self.state is not before:
            assert bank == reference(self.state.active[1])
        else:
            active = {reference(before.active[1]), reference(self.state.active[1])}
            assert bank == self.reference or (how == "fault" and bank in active)
        self.reference = bank

    @rule(
        how=hows,
        moment=moments,
        fault=faults,
        seconds=st.floats(0.1, 10),
        level=st.sampled_from(["info", "debug"]),
    )
    def write_settings(self, how: str, moment: int, fault: str, seconds: float, level: str) -> None:
        wanted = settings_file.Settings(max_ir_s=round(seconds, 3), log_level=level)

        def apply(state: State) -> bool:
            state.settings = wanted
            return True

        self.change(how, moment, fault, lambda _: settings_file.write(wanted), apply)

    @rule(name=st.sampled_from(LEARNERS), cc=st.sampled_from(CCS))
    def assign_controller(self, name: str, cc: int) -> None:
        def apply(state: State) -> bool:
            state.learnt = {n: its for n, its in state.learnt.items() if its != f"cc {cc}"}
            state.learnt[name] = f"cc {cc}"
            return True

        request = {"do": "midi", "assign": name, "source": f"cc {cc}"}
        self.change("plain", 0, "", lambda _: self.pedal.ask(request), apply)

    @rule(fault=faults)
    def disk_breaks(self, fault: str) -> None:
        self.disk.state = fault

    @precondition(lambda self: self.disk.state)
    @rule()
    def disk_is_mended(self) -> None:
        self.disk.state = ""
        self.pedal.sleep(LONGEST_PAUSE_S)
        self.check_disk()
        assert self.pedal.board.knobs  # its profile was not readable at a start
        assert not self.pedal.pedal.parts.failed
        assert self.pedal.pedal.bank in {self.reference, reference(self.state.active[1])}
        self.reference = self.pedal.pedal.bank

    # Playing.

    @rule(name=st.sampled_from(["gain", "x", "y", "z", "width"]), position=st.floats(0, 1))
    def turn_knob(self, name: str, position: float) -> None:
        if name not in self.pedal.board.knobs:
            return
        self.pedal.settle()
        wanted = self.pedal.turn_knob(name, position)
        serial = None
        within_s = HEARD_S + 2 * self.pedal.values["fade"] / 1000  # of the rooms before
        for _ in range(round(within_s / TURN_S)):
            if abs(self.pedal.played_travel(name) - wanted) < TRAVEL:
                serial = serial or self.pedal.newest_serial
                if name == "gain" or self.pedal.playing_serial >= serial:
                    return
            self.pedal.turn()
        raise AssertionError(f"{name} is not heard after {within_s} s")

    @rule(data=st.data(), row=st.sampled_from(CONTROLS))
    def set_control(self, data: st.DataObject, row: Any) -> None:
        if row.law in ("switch", "steps"):
            value = float(data.draw(st.integers(int(row.minimum), int(row.maximum))))
        else:
            value = data.draw(st.floats(row.minimum, row.maximum))
        self.pedal.ask({"do": "set", "values": {row.name: value}})
        assert self.is_at(row.name, value)
        self.pedal.settle()

    def are_at(self, values: Iterable[tuple[str, float]]) -> bool:
        return all(self.is_at(name, value) for name, value in values)

    def is_at(self, name: str, value: float) -> bool:
        """Whether a control has a value: a knob may fine-tune it."""
        if name not in self.pedal.board.knobs:
            return self.pedal.values[name] == value
        control = find(name)
        found = to_position(control, self.pedal.values[name])
        return abs(found - to_position(control, value)) < TRAVEL

    @rule(
        row=st.sampled_from([row for row in CONTROLS if row.cc is not None]),
        value=st.integers(0, 127),
    )
    def send_controller(self, row: Any, value: int) -> None:
        if row.name in self.state.learnt:
            return
        self.pedal.send_midi(f"b0{row.cc:02x}{value:02x}")
        self.pedal.turns(0.1)
        found = to_position(row, self.pedal.values[row.name])
        is_stepped = row.law in ("switch", "steps")
        tolerance = 0.5 / (row.maximum - row.minimum) if is_stepped else TRAVEL
        assert abs(found - value / 127) <= tolerance + 1e-9

    @rule(
        number=st.integers(0, 8), way=st.sampled_from(["midi", "footswitch", "load", "step", "osc"])
    )
    def choose_preset(self, number: int, way: str) -> None:
        before, current_before = dict(self.pedal.values), self.pedal.pedal.presets.current
        name = NAMES[number % len(NAMES)]
        refused = False
        if way == "midi":
            self.pedal.send_midi(f"c0{number:02x}00")
        elif way == "footswitch":
            if self.pedal.board.simulation is not None:
                self.pedal.board.simulation.press("preset next")
        elif way == "osc":
            self.pedal.send_osc("/nverb/preset", name)
        else:
            request = {"load": name} if way == "load" else {"step": 1}
            try:
                self.pedal.ask({"do": "preset"} | request)
            except UserError:
                refused = True
        self.pedal.turns(0.2)
        rows = {row[0]: row for row in self.state.presets or FACTORY}
        current = self.pedal.pedal.presets.current
        if refused:
            assert self.are_at(before.items()) and current == current_before
            place = self.state.place(name)
            if way == "load" and not self.disk.state and place is not None:
                assert not self.can_open(self.state.presets[place][1])
        elif way in ("load", "step"):
            assert current in rows and not self.disk.state.startswith(("failing", "locked"))
            assert self.are_at(rows[current][2])
            assert self.pedal.pedal.bank == rows[current][1]
        self.reference = self.pedal.pedal.bank
        assert self.reference in {row[1] for row in rows.values()} | self.references()

    def references(self) -> set[str]:
        return {"", os.fspath(self.stick), *map(reference, BANKS)}

    def can_open(self, wanted: str) -> bool:
        if wanted == os.fspath(self.stick):
            return self.stick_holds in BANKS
        return wanted in {"", *map(reference, self.state.installed)}

    @rule(holds=st.sampled_from(["damaged", "junk", *BANKS]))
    def overwrite_stick(self, holds: str) -> None:
        """A file that presets name, outside of the store, is overwritten in place."""
        self.stick.write_bytes(bank_bytes(holds))
        self.stick_holds = holds
        self.pedal.sleep(1.1)
        self.pedal.sleep(1.1)
        assert self.pedal.pedal.bank in {self.reference, os.fspath(self.stick)}
        self.reference = self.pedal.pedal.bank

    @rule(wanted=st.sampled_from(["", "stick", *BANKS]))
    def play_file(self, wanted: str) -> None:
        path = os.fspath(self.stick) if wanted == "stick" else reference(wanted)
        try:
            self.pedal.ask({"do": "bank", "path": path})
            assert self.can_open(path) or self.stick_holds == "damaged"
            self.reference = path
        except UserError as error:
            assert self.disk.state or not self.can_open(path), error
        assert self.pedal.pedal.bank == self.reference

    # Trouble.

    @rule(line=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
    def send_garbage(self, line: bytes) -> None:
        before = dict(self.pedal.values)
        assert b'"ok": false' in self.pedal.exchange(line.replace(b"\n", b""))
        assert self.are_at(before.items())

    @rule(seconds=st.sampled_from([0.05, 0.6]))
    def board_goes_and_comes(self, seconds: float) -> None:
        if self.pedal.board.simulation is None:
            return
        self.pedal.turns(0.1)
        before = dict(self.pedal.values)
        for present in (False, True):
            self.pedal.board.simulation.chips[0].present = present
            self.pedal.turns(seconds)
        self.pedal.sleep(1.1)
        self.pedal.turns(0.2)
        assert self.are_at(before.items())

    @rule(hours=st.floats(0, 100))
    def machine_sleeps(self, hours: float) -> None:
        self.pedal.sleep(3600 * hours)

    @rule()
    def somebody_empties_the_runtime_folder(self) -> None:
        shutil.rmtree(self.pedal.runtime)
        self.pedal.sleep(1.1)
        assert self.pedal.ask({"do": "get"})["values"] == self.pedal.values

    @rule(calm=st.booleans())
    def control_is_killed(self, calm: bool) -> None:
        if calm:
            self.pedal.turns(2 * SESSION_S)
        at = self.pedal.clock.now
        values = [
            values
            for (_, values), (until, _) in itertools.pairwise(
                [*self.pedal.recent, (at, dict[str, float]())]
            )
            if until >= at - SESSION_S - 0.1
        ]
        before = self.reference
        self.pedal.kill()
        self.pedal.start()
        assert self.pedal.values in values
        assert not calm or self.are_at(values[-1].items())
        self.reference = self.pedal.pedal.bank
        if calm and self.disk.state not in ("failing", "locked"):
            assert self.reference in (before, reference(self.state.active[1]))
        self.check_restart()

    @rule()
    def power_is_cut(self) -> None:
        self.pedal.cut_power()
        self.pedal.start()
        self.reference = self.pedal.pedal.bank
        rows = {row[0]: row for row in self.state.presets}
        is_readable = self.disk.state not in ("failing", "locked")
        startup = self.state.startup if is_readable else None
        if startup is not None and self.can_open(rows[startup][1]):
            assert self.are_at(rows[startup][2])
            assert self.reference == rows[startup][1]
        elif self.stick_holds != "damaged":
            assert self.are_at(defaults().items())
            assert self.reference == (reference(self.state.active[1]) if is_readable else "")
        self.check_restart()

    def check_restart(self) -> None:
        """What the disk keeps is there again."""
        if self.disk.state not in ("failing", "locked"):
            self.check_disk()
        self.pedal.settle()


AnyOrder.TestCase.settings = settings(
    max_examples=max(STEPS // STEPS_EACH, 1),
    stateful_step_count=STEPS_EACH,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking takes minutes; the steps of a failure are printed
)
if SEED:
    seed(int(SEED))(AnyOrder)
TestAnyOrder = AnyOrder.TestCase
