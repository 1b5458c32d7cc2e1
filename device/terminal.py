"""The simulated board's hands in a terminal: keys turn pots and step on switches.

with Keyboard() as keyboard:                      # single keys, without echo; the terminal is as before when it ends
    hands = Hands(board.simulation)
    print(hands.help())
    while not hands.done:
        hands.press(keyboard.read())              # takes what was typed; never waits
        ...
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import sys
import termios
import tty
from typing import Any

from device.simulated import SimulatedBoard

TURNS = {"gain": ("q", "a"), "x": ("w", "s"), "y": ("e", "d"), "z": ("r", "f"), "width": ("t", "g")}
"""The key that turns the pot up, the key that turns it down. With Shift: a tenth of the step."""
STEPS_ON = {"b": "bypass", "h": "freeze", "n": "preset next", " ": "tap"}
LEAVE = "\x03\x04\x1b"  # Ctrl-C, Ctrl-D, Esc
STEP = 0.02


class Keyboard:
    """The terminal's keys one by one. With no terminal on stdin it gives none, and changes nothing."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._before: list[Any] | None = None

    def __enter__(self) -> Keyboard:
        if self._file is not None:
            self._before = termios.tcgetattr(self._file)
            atexit.register(self.restore)
            tty.setcbreak(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Gives the terminal back as it was. May be called twice."""
        if self._file is not None and self._before is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
            self._before = None
            atexit.unregister(self.restore)

    def read(self) -> str:
        """What was typed since the last call, "" if nothing; Ctrl-D when the terminal has gone."""
        if self._file is None or not select.select([self._file], [], [], 0)[0]:
            return ""
        try:
            return os.read(self._file, 64).decode("ascii", "ignore") or "\x04"
        except OSError:
            return "\x04"


class Hands:
    """Turns keys into movements of the simulated board."""

    def __init__(self, board: SimulatedBoard) -> None:
        self._board = board
        self.done = False
        """True once a key to leave was pressed."""
        self._turns = {}
        for control, (up, down) in TURNS.items():
            if control in board.pots:
                self._turns[up] = (control, STEP)
                self._turns[down] = (control, -STEP)

    def press(self, keys: str) -> None:
        if keys.startswith("\x1b["):  # an arrow or function key: not Esc
            return
        for key in keys:
            if key in LEAVE:
                self.done = True
            elif key.lower() in self._turns:
                control, step = self._turns[key.lower()]
                step *= 0.1 if key.isupper() else 1
                self._board.turn(control, self._board.pots[control].position + step)
            elif key in STEPS_ON and STEPS_ON[key] in self._board.switches:
                self._board.press(STEPS_ON[key])

    def help(self) -> str:
        """The keys, for the screen."""
        turns = "   ".join(f"{up}/{down} {control}" for control, (up, down) in TURNS.items() if up in self._turns)
        steps = "   ".join(
            f"{'space' if key == ' ' else key} {action}"
            for key, action in STEPS_ON.items()
            if action in self._board.switches
        )
        return f"{turns}   (Shift: finer)\n{steps}   Esc leave"

    def picture(self) -> str:
        """The pots and LEDs in one line."""
        pots = "  ".join(f"{name} {_dial(pot.position)}" for name, pot in self._board.pots.items())
        leds = " ".join(f"{'●' if led.lit else '○'}{shows}" for shows, led in self._board.leds.items())
        return f"{pots}   {leds}"


def _dial(position: float, width: int = 8) -> str:
    at = min(int(position * width), width - 1)
    return "╶" * at + "┃" + "╶" * (width - 1 - at)
