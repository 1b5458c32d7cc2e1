"""The control process: opens board, rooms and inputs, and runs its one loop."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from device.board import Board
from device.controls import defaults, find
from device.events import Change, Notice
from device.terminal import Front, Hands, Keyboard
from dsp.errors import UserError, reason
from firmware_py.base import crashguard
from firmware_py.base.memory import hold_freed_memory
from firmware_py.base.notify import Notifier
from firmware_py.base.paths import data_dir
from firmware_py.base.signals import stop_signals
from firmware_py.control.board_slot import BoardSlot
from firmware_py.control.pedal import Control, say
from firmware_py.control.server import Server
from firmware_py.rooms.source import (
    BuiltInRooms,
    RoomSource,
    find_source,
    installed_rooms,
    rooms_named,
)
from firmware_py.state import session as settings
from firmware_py.state.store import Store

PICTURE_S = 0.1


SETTLE_S = 0.15
"""In which the filters of the knobs find their positions."""


def run(
    *,
    profile: str,
    bank: Path | None,
    keys: bool,
    script: Path | None,
    midi: str = "off",
    osc: str = "off",
) -> int:
    """Steers the pedal until SIGTERM, SIGINT or SIGHUP, or until its user quits at the keyboard; returns the exit status."""
    hold_freed_memory()
    guard, notifier = crashguard.CrashGuard("control"), Notifier()
    if guard.crash_loop:
        why = f"the control process died {guard.deaths} times in a row"
        say(f"{why}: starting safe")
        crashguard.declare_safe_start(why)
        if guard.deaths >= 2 * crashguard.CRASH_LOOP:
            say("the board is left alone: steer by commands")
            profile = "none"
    if crashguard.safe_start_reason():
        session = settings.Session(defaults(), defaults())
        control = Control(session.values, BuiltInRooms(), "")
    else:
        session = settings.load_session(Store(data_dir()).number())
        control = Control(session.values, *_open_rooms(bank, session.bank))
        control.resume(session)
    moves = read_script(script) if script else None
    stop = False

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal stop
        stop = True

    for number in stop_signals():
        signal.signal(number, on_signal)
    server = Server(control.answer)
    slot = BoardSlot(profile, data_dir())
    try:
        control.open_doors(midi, osc)
        with Keyboard() as keyboard:
            settled = _settle(slot.board, control.values)
            knobs_rule = not session.resumed and not control.play_startup()
            if knobs_rule:
                control.change(settled)
            control.attach(slot.board, knobs_rule=knobs_rule)
            if moves and slot.board.simulation is not None:
                slot.board.simulation.play(moves)
            hands, front = _hands(slot.board) if keys else (None, None)
            next_picture = 0.0
            notifier.ready()
            while not stop and not (hands and hands.done):
                control.scan()
                control.work()
                notifier.ping()
                guard.look()
                server.serve(slot.board.scan_s)
                now = time.monotonic()
                if slot.refresh(now):
                    _settle(slot.board, control.values)
                    control.attach(slot.board)
                    if front is not None:
                        front.close()
                        hands, front = _hands(slot.board)
                if hands is not None and front is not None:
                    hands.press(keyboard.read())
                    if now > next_picture:
                        next_picture = now + PICTURE_S
                        front.draw(control.values, control.presets.describe())
            if front is not None:
                front.close()
    finally:
        slot.close()
        control.close_doors()
        server.close()
        control.save_session()
    notifier.stopping()
    guard.stable()
    return 0


def _hands(board: Board) -> tuple[Hands, Front] | tuple[None, None]:
    """Keys and picture of a simulated board."""
    if board.simulation is None:
        return None, None
    hands = Hands(board)
    return hands, Front(board, hands)


def _settle(board: Board, values: dict[str, float]) -> dict[str, float]:
    """Waits until the knobs' filters have found where they stand: the values there. No knob has been turned by that."""
    if board.simulation is not None:
        for name in board.knobs:  # the simulated pots stand where the controls are
            board.simulation.stand_at(name, values[name])
    found = {}
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        for event in board.scan():
            if isinstance(event, Change) and event.control not in board.pedals:
                found[event.control] = event.value
            elif isinstance(event, Notice):
                say(event.text)
        time.sleep(board.scan_s)
    return found


def read_script(path: Path) -> list[tuple[float, str, float]]:
    """Moves of the simulated board's pots: lines of SECONDS CONTROL POSITION. Raises UserError naming the line."""
    moves = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
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


def _open_rooms(bank: Path | None, session_bank: str | None) -> tuple[RoomSource, str]:
    """The bank asked for, else the session's, else the installed one. Only a bank that was asked for may fail."""
    if bank is not None:
        return find_source(bank), os.path.abspath(bank)
    if session_bank is not None:
        try:
            return rooms_named(session_bank), session_bank
        except (ValueError, OSError) as error:
            say(f"{reason(error)}; playing the rooms that are installed")
    return installed_rooms(say)
