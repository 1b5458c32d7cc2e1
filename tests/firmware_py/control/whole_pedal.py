"""A complete pedal without processes: the objects of the control process, in the order of its loop,
and an engine that plays noise. One thread, a clock that tests advance, a disk that fails on demand.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clock import ClockModule
from faulty_disk import FaultyDisk

from device.board import Board
from device.controls import find, to_position
from dsp import _engine
from dsp.errors import UserError
from dsp.synthesis import Synthesiser
from firmware_py.base.paths import Lock
from firmware_py.control import process
from firmware_py.control.bank_watch import BankWatch
from firmware_py.control.budget import Budget
from firmware_py.control.live_board import LiveBoard
from firmware_py.control.parts import LoopParts
from firmware_py.control.requests import Requests
from firmware_py.control.runtime_files import RuntimeFiles
from firmware_py.control.server import Server
from firmware_py.link import mailbox, params
from firmware_py.link.client import socket_path
from firmware_py.rooms.maker import RoomMaker

TURN_S = 0.005
FRAMES = 128
RATE_HZ = 48000
BLOCKS = 2
"""In a turn: 5.3 ms."""
LOUDEST = 64.0
"""Of the output, with the gain at 12 dB and no limiter."""
PATIENCE = 400
"""Turns until an answer."""


synthesiser = functools.cache(Synthesiser)
"""What all lives of the control process make again: some tens of MB, the same each time."""


class FakeMidiProcess:
    """In the place of control.midi_process.MidiProcess: tests write the lines of the ports."""

    def __init__(self, _api: str) -> None:
        self.lines: deque[str] = deque(["+ 0 keys"])

    def is_failing(self) -> bool:
        return False

    def order(self, _word: str, _text: str) -> None: ...

    def send(self, _message: bytes) -> bool:
        return True

    def poll(self) -> tuple[deque[str], str]:
        return self.lines, ""

    def close(self) -> None: ...


class AudioSide:
    """The engine on the mailbox, as in the audio process."""

    def __init__(self) -> None:
        self.port = mailbox.create(block_frames=FRAMES, rate_hz=RATE_HZ, max_taps=4800, inputs=2)
        self._buffers = [[np.zeros(FRAMES, np.float32) for _ in range(2)] for _ in range(5)]
        self._engine = _engine.Engine(self.port, *self._buffers)
        self._noise = np.random.default_rng(1)

    def play(self) -> None:
        """Play BLOCKS blocks of noise. The output must be within bounds."""
        inputs, wet, dry, mixed, out = self._buffers
        for _ in range(BLOCKS):
            for channel in inputs:
                channel[:] = 0.1 * self._noise.standard_normal(FRAMES)
            self._engine.begin()
            self._engine.process()
            for channel in range(2):
                mixed[channel][:] = wet[channel] + dry[channel]
            self._engine.finish()
            for channel in out:
                assert np.isfinite(channel).all() and np.abs(channel).max() < LOUDEST


class WholePedal:
    """`start` and `kill` are those of the control process; the audio side plays on."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.data, self.runtime = folder / "data", folder / "run"
        self.data.mkdir()
        patch.setenv("NVERB_DATA_DIR", str(self.data))
        patch.setenv("NVERB_RUNTIME_DIR", str(self.runtime))
        self.clock = ClockModule()
        _replace_clock(self.clock, patch)
        patch.setattr("firmware_py.control.midi.MidiProcess", FakeMidiProcess)
        patch.setattr("firmware_py.rooms.renderer.Synthesiser", synthesiser)
        self.disk = FaultyDisk(self.data, patch)
        self.osc_port = _free_port()
        self.makers: weakref.WeakSet[RoomMaker] = weakref.WeakSet()
        """Those of this life of the control process that are in memory."""
        use = RoomMaker._use
        patch.setattr(
            RoomMaker, "_use", lambda maker, *rest: (self.makers.add(maker), use(maker, *rest))[1]
        )
        self.runtime.mkdir(mode=0o700)
        self.audio = AudioSide()
        self.recent: deque[tuple[float, dict[str, float]]] = deque()
        """The values of the controls since each moment, over the last second at least."""
        self.start()

    def start(self) -> None:
        """Start the control process, and the audio process if its mailbox has gone."""
        if not mailbox.mailbox_path().exists():
            self.audio = AudioSide()
        self.makers.clear()
        self.lock = Lock("control", "a control process")
        self.pedal, resumed = process._open_pedal(None, "auto")
        self.requests = Requests(self.pedal)
        self.server = Server(self.requests.answer, self.requests.is_repeatable)
        self.files = RuntimeFiles(self.lock, self.server, self.pedal.save_session)
        self.live = LiveBoard("sim", self.data)
        self.pedal.open_inputs("jack", str(self.osc_port))
        process.attach_first(self.pedal, self.board, resumed)
        self.turns(0.2)

    def kill(self) -> None:
        """As by kill -9: nothing is saved, the socket's file stays."""
        path, aside = socket_path(), socket_path().with_suffix(".aside")
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        self.server.close()
        with contextlib.suppress(FileNotFoundError):
            aside.rename(path)
        self.live.close()
        self.pedal.close_inputs()
        self.server._selector.close()
        self.lock.close()
        del self.pedal, self.requests, self.server, self.files, self.live, self.lock

    def cut_power(self) -> None:
        """End both sides; the runtime folder, in memory, is lost."""
        self.kill()
        shutil.rmtree(self.runtime)
        self.runtime.mkdir(mode=0o700)

    @property
    def board(self) -> Board:
        return self.live.board

    @property
    def values(self) -> dict[str, float]:
        return self.pedal.values

    def turn(self) -> None:
        """One turn of the loop, see firmware_py.control.process, and the audio of that time."""
        self.clock.now += TURN_S
        parts = self.pedal.parts
        parts.run("board and inputs", self.pedal.scan)
        parts.run("rooms and parameters", self.pedal.work)
        parts.run("runtime folder", self.files.keep)
        parts.run("socket", lambda: self.server.serve(0))
        if parts.run("profile of the board", lambda: self.live.refresh(self.clock.now)):
            process.settle(self.board, self.values)
            self.pedal.attach(self.board)
        self.audio.play()
        if not self.recent or self.recent[-1][1] != self.values:
            self.recent.append((self.clock.now, dict(self.values)))
            while len(self.recent) > 1 and self.recent[1][0] < self.clock.now - 1:
                self.recent.popleft()

    def sleep(self, seconds: float) -> None:
        """The loop stands still for a time, as on a machine that sleeps, and then runs on."""
        self.clock.now += seconds
        self.turns(0.1)

    def turns(self, seconds: float) -> None:
        for _ in range(round(seconds / TURN_S)):
            self.turn()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask at the socket. Raises UserError if the pedal refuses."""
        answer: dict[str, Any] = json.loads(self.exchange(json.dumps(request).encode()))
        if not answer["ok"]:
            assert "internal error" not in answer["error"], answer
            raise UserError(answer["error"])
        return answer

    def exchange(self, line: bytes) -> bytes:
        """The answer to any line."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(socket_path()))
            client.sendall(line + b"\n")
            client.setblocking(False)
            data = b""
            for _ in range(PATIENCE):
                self.turn()
                with contextlib.suppress(BlockingIOError):
                    data += client.recv(1 << 20)
                if data.endswith(b"\n"):
                    break
        self.turn()  # the server notices that the client has gone
        assert data.endswith(b"\n"), f"no answer to {line[:80]!r}"
        return data

    def send_midi(self, message: str) -> None:
        """A message of three bytes, as hexadecimal digits."""
        assert self.pedal.midi is not None
        self.pedal.midi._process.lines.append(f"00{message}")  # type: ignore[attr-defined]

    def send_osc(self, address: str, text: str) -> None:
        """A message with one text."""

        def padded(data: bytes) -> bytes:
            return data + bytes(4 - len(data) % 4)

        packet = padded(address.encode()) + padded(b",s") + padded(text.encode())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(packet, ("127.0.0.1", self.osc_port))

    def is_heard(self) -> bool:
        """Whether the engine has the parameters and the room of the controls."""
        port = self.audio.port
        wanted = params.engine_params(self.values)
        found = port.params()
        if found is None or any(
            abs(found[n] - v) > 1e-4 * abs(v) + 1e-6 for n, v in wanted.items()
        ):
            return False
        feed = self.pedal.rooms
        if self.values["lock"] or feed.fault:
            return True
        return not feed.stale and self.playing_serial >= self.newest_serial

    def settle(self) -> None:
        """Wait until all is heard and nothing fades."""
        for _ in range(PATIENCE):
            self.turn()
            if self.is_heard() and not self.audio.port.meters().fading:
                return
        raise AssertionError(f"not heard after {PATIENCE} turns: {self.values}")

    def turn_knob(self, name: str, position: float) -> float:
        """Turn a pot to both ends, so that it takes over, then to a position. Returns the position
        of the control that this means."""
        simulation = self.board.simulation
        assert simulation is not None
        pot = simulation.pots[name]
        for goal in (0.0, 1.0, position):
            while abs(goal - pot.position) > 1e-9:
                step = min(max(goal - pot.position, -0.1), 0.1)
                simulation.turn(name, pot.position + step)
                self.turn()
        row = simulation._rows[name]
        volts = pot.ends[0] + (pot.ends[1] - pot.ends[0]) * position
        return min(max((volts - row.low) / (row.high - row.low), 0.0), 1.0)

    def played_travel(self, name: str) -> float:
        """The position of a control, 0 to 1, as the engine has it or the newest room was made."""
        feed, control = self.pedal.rooms, find(name)
        if control.target == "room":
            frozen = self.values["lock"]
            return to_position(control, (self.values if frozen else feed.sounding)[name])
        found = self.audio.port.params()
        assert found is not None
        return to_position(control, found[control.param])

    @property
    def newest_serial(self) -> int:
        """Of the room that the control process has made last."""
        return self.pedal.rooms._serial

    @property
    def playing_serial(self) -> int:
        return self.audio.port.meters().playing_serial


def _replace_clock(clock: ClockModule, patch: pytest.MonkeyPatch) -> None:
    for user in (
        *("pedal", "process", "leds", "midi", "osc", "report", "runtime_files"),
        "server",
        "data_folder",
    ):
        patch.setattr(f"firmware_py.control.{user}.time", clock)
    patch.setattr("firmware_py.rooms.feed.time", clock)
    for made in (BankWatch, LoopParts, Budget):
        patch.setattr(made.__init__, "__defaults__", (clock,))
    patch.setitem(Board.open.__func__.__kwdefaults__, "clock", clock)  # type: ignore[attr-defined]


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def open_files() -> list[str]:
    """What the descriptors of this process lead to."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(found)
