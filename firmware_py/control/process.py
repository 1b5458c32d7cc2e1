"""The control process: opens board, rooms and inputs, and runs its loop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device.board import Board
from device.controls import at_rest, defaults, find
from device.events import Change, Notice
from device.terminal import Front, Hands, Keyboard
from dsp.errors import UserError, reason
from dsp.noise import keep_in
from firmware_py.base import crashguard
from firmware_py.base.log import logger
from firmware_py.base.memory import keep_freed_memory
from firmware_py.base.notify import Notifier
from firmware_py.base.paths import Lock, data_path
from firmware_py.base.signals import stop_signals
from firmware_py.control.live_board import LiveBoard
from firmware_py.control.pedal import Pedal, log_notice
from firmware_py.control.requests import Requests
from firmware_py.control.runtime_files import RuntimeFiles
from firmware_py.control.server import Server
from firmware_py.rooms.noise_files import NoiseFiles
from firmware_py.rooms.source import (
    BuiltInRooms,
    RoomSource,
    installed_rooms,
    rooms_named,
)
from firmware_py.state import session as settings
from firmware_py.state.store import Store
from models.reading import read_file

log = logger("control")
REDRAW_S = 0.1
MAX_SCRIPT_BYTES = 1 << 20
SETTLE_S = 0.15
"""The filters of the knobs reach the positions of the knobs within this time."""


def run(
    *,
    lock: Lock,
    profile: str,
    bank: Path | None,
    keys: bool,
    script: Path | None,
    midi: str = "off",
    osc: str = "off",
    true_stereo: str = "auto",
) -> int:
    """Run the pedal until SIGTERM, SIGINT or SIGHUP, or until the user quits at the keyboard.

    lock: of the control process. profile: of the board, see device.profile. bank: overrides the
    session and the store. keys: show a simulated board and take keys. script: moves of a simulated
    board's pots, see `read_script`. midi, osc: see `Pedal.open_inputs`. true_stereo: see
    `RoomFeed`. Returns the exit status.
    """
    keep_freed_memory()
    keep_in(NoiseFiles(data_path() / "noise"))
    with _counted_start() as guard:
        return _run(guard, lock, profile, bank, keys, script, midi, osc, true_stereo)


@contextmanager
def _counted_start() -> Iterator[crashguard.CrashGuard]:
    """The crash guard of this process. Asked to stop while it starts, it has not died.

    Stop signals wait until the guard can be told, so that none comes between.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(stop_signals()))
    guard = crashguard.CrashGuard("control")
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield guard
    except KeyboardInterrupt:
        guard.blameless()
        raise


def _run(
    guard: crashguard.CrashGuard,
    lock: Lock,
    profile: str,
    bank: Path | None,
    keys: bool,
    script: Path | None,
    midi: str,
    osc: str,
    true_stereo: str,
) -> int:
    notifier = Notifier()
    if guard.crash_loop:
        profile = _start_safe(guard, profile)
    pedal, session = _open_pedal(bank, true_stereo)
    moves = read_script(script) if script else None
    stop = StopFlag()
    requests = Requests(pedal)
    server = Server(requests.answer, requests.is_repeatable)
    files = RuntimeFiles(lock, server, pedal.save_session)
    live, parts = LiveBoard(profile, data_path()), pedal.parts
    try:
        pedal.open_inputs(midi, osc)
        with Keyboard() as keyboard:
            attach_first(pedal, live.board, session, startup=bank is None)
            if moves and live.board.simulation is not None:
                live.board.simulation.play(moves)
            view = BoardView(live.board, keyboard) if keys else None
            notifier.ready()
            while not stop.is_set and not (view and view.quit):
                parts.run("board and inputs", pedal.scan)
                parts.run("rooms and parameters", pedal.work)
                notifier.ping()
                parts.run("crash guard", guard.look)
                parts.run("runtime folder", files.keep)
                if not parts.run("socket", lambda: server.serve(live.board.scan_s)):
                    time.sleep(live.board.scan_s)
                if parts.run("profile of the board", lambda: live.refresh(time.monotonic())):
                    settle(live.board, pedal.values)
                    pedal.attach(live.board)
                    if view is not None:
                        view.attach(live.board)
                if view is not None:
                    view.update(pedal)
            if view is not None:
                view.close()
    finally:
        live.close()
        pedal.close_inputs()
        server.close()
        pedal.save_session()
    pedal.save_session(ended=True)
    notifier.stopping()
    guard.stable()
    return 0


def _start_safe(guard: crashguard.CrashGuard, profile: str) -> str:
    """Declare a safe start. Returns the profile to use: "none" if safe starts did not help."""
    why = f"the control process died {guard.deaths} times in a row"
    log.warning(f"{why}: starting with the built-in rooms and the default controls")
    crashguard.declare_safe_start(why)
    if guard.deaths < 2 * crashguard.CRASH_LOOP:
        return profile
    log.warning(
        "starting without the board: use `nverb set` and `nverb preset` instead of its knobs"
    )
    return "none"


def _open_pedal(bank: Path | None, true_stereo: str) -> tuple[Pedal, settings.Session]:
    """The pedal, and the session that it continues."""
    if crashguard.safe_start_reason():
        session = settings.Session(defaults(), defaults())
        return Pedal(session.values, BuiltInRooms(), "", true_stereo), session
    session = settings.load_session(Store(data_path()).number())
    wanted = os.path.abspath(bank) if bank is not None else session.bank
    pedal = Pedal(session.values, *_open_rooms(wanted), true_stereo)
    pedal.resume(session)
    if wanted is not None:
        pedal.bank_watch.watch(wanted)
    return pedal, session


def attach_first(
    pedal: Pedal, board: Board, session: settings.Session, *, startup: bool = True
) -> None:
    """Attach the board when the process starts; at a start of the pedal, play the startup preset.

    Without one (or without `startup`), the knobs set their controls after power-on, and the pedal
    continues as it was left, but not in bypass, after an orderly stop.
    """
    if session.is_start:
        pedal.change(at_rest())
    settled = settle(board, pedal.values)
    played = session.is_start and startup and pedal.play_startup()
    knobs_rule = not session.resumed and not played
    if knobs_rule:
        pedal.change(settled)
    elif session.ended and not played:
        log.info("the controls are as they were left: `nverb reset` sets their defaults")
    pedal.attach(board, knobs_rule=knobs_rule)


class StopFlag:
    """`is_set` becomes true at the first stop signal."""

    def __init__(self) -> None:
        self.is_set = False
        for number in stop_signals():
            signal.signal(number, self._set)

    def _set(self, _number: int, _frame: object) -> None:
        self.is_set = True


class BoardView:
    """Keys and picture of a simulated board on the terminal; nothing for a real board."""

    def __init__(self, board: Board, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self._next_redraw = 0.0
        self._open(board)

    def _open(self, board: Board) -> None:
        self._hands = Hands(board) if board.simulation is not None else None
        self._front = Front(board, self._hands) if self._hands is not None else None

    @property
    def quit(self) -> bool:
        """Whether the user has quit."""
        return self._hands is not None and self._hands.done

    def attach(self, board: Board) -> None:
        """Show another board."""
        if self._front is not None:
            self._front.close()
            self._open(board)

    def update(self, pedal: Pedal) -> None:
        """Apply the keys pressed since the last call, and redraw every REDRAW_S."""
        if self._hands is None or self._front is None:
            return
        self._hands.press(self._keyboard.read())
        now = time.monotonic()
        if now > self._next_redraw:
            self._next_redraw = now + REDRAW_S
            self._front.draw(pedal.values, pedal.presets.describe())

    def close(self) -> None:
        if self._front is not None:
            self._front.close()


def settle(board: Board, values: dict[str, float]) -> dict[str, float]:
    """Wait until the knobs' filters have settled, and return the values at their positions.

    It does not count as a movement of a knob. Pots of a simulated board are set to `values` first.
    """
    if board.simulation is not None:
        for name in board.knobs:
            board.simulation.stand_at(name, values[name])
    found = {}
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        for event in board.scan():
            if isinstance(event, Change) and event.control in board.knobs.keys() - board.pedals:
                found[event.control] = event.value
            elif isinstance(event, Notice):
                log_notice(event)
        time.sleep(board.scan_s)
    return found


def read_script(path: Path) -> list[tuple[float, str, float]]:
    """Moves of a simulated board's pots: lines of SECONDS CONTROL POSITION (0..1).

    Raises UserError with the line.
    """
    moves = []
    text = read_file(path, MAX_SCRIPT_BYTES).decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            seconds, name, position = words
            moves.append((float(seconds), find(name).name, float(position)))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {error}; write SECONDS CONTROL POSITION"
            ) from None
    return moves


def _open_rooms(wanted: str | None) -> tuple[RoomSource, str]:
    """The rooms of the reference `wanted`, else of the store, and their reference."""
    if wanted is not None:
        try:
            return rooms_named(wanted), wanted
        except (ValueError, OSError) as error:
            log.warning(f"{reason(error)}; playing the installed rooms instead")
    return installed_rooms(log.warning)
