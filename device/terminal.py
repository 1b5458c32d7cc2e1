"""Keys of a terminal turn the pots and press the switches of a simulated board.

with Keyboard() as keyboard:            # single keys, no echo; restores the terminal at its end
    hands = Hands(board)
    front = Front(board, hands)
    while not hands.done:
        hands.press(keyboard.read())    # does not wait
        front.draw(values)
        ...
    front.close()
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Mapping
from typing import Any, TextIO

from device.board import Board
from device.controls import defaults, find, format
from device.parts import LONG_S

TURNS = {"gain": ("q", "a"), "x": ("w", "s"), "y": ("e", "d"), "z": ("r", "f"), "width": ("t", "g")}
"""Keys that turn the pot up and down. With Shift a tenth of the step."""
PRESSES = {"b": "bypass", "h": "hold", "n": "preset next", " ": "tap"}
HOLDS = {"N": "preset next"}
"""Keys that hold a switch."""
HOLD_S = LONG_S + 0.2
CHIP = "0"
"""Unplugs the converters, or plugs them in; 1, 2, ... disconnect and connect the pots' wires."""
LEAVE = "\x03\x04\x1b"  # Ctrl-C, Ctrl-D, Esc
STEP = 0.02
TROUBLE = "  N: hold n  1 2 ..: pot's wire off, on  0: chip off, on"
TRACK, WIDTH = 28, 79


class Keyboard:
    """The terminal's keys. Without a terminal on stdin there are none, and nothing is changed."""

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
        """Restore the terminal. May be called twice."""
        if self._file is not None and self._before is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
            self._before = None
            atexit.unregister(self.restore)

    def read(self) -> str:
        """The keys since the last call, "" if none; Ctrl-D once the terminal is closed."""
        if self._file is None or not select.select([self._file], [], [], 0)[0]:
            return ""
        try:
            return os.read(self._file, 64).decode("ascii", "ignore") or "\x04"
        except OSError:
            return "\x04"


class Hands:
    """Applies keys to a simulated board."""

    def __init__(self, board: Board) -> None:
        """Raises ValueError if the board is not simulated."""
        if board.simulation is None:
            raise ValueError("keys need a simulated board")
        self._board = board.simulation
        self.done = False
        """True after a key of LEAVE."""
        self.turns = {name: keys for name, keys in TURNS.items() if name in self._board.pots}
        """The keys of each pot: up, down."""
        self.presses = {
            key: action for key, action in PRESSES.items() if action in self._board.switches
        }
        self._turns = {}
        for name, (up, down) in self.turns.items():
            self._turns[up] = (name, STEP)
            self._turns[down] = (name, -STEP)

    def press(self, keys: str) -> None:
        if keys.startswith("\x1b["):  # an arrow or function key, not Esc
            return
        for key in keys:
            if key in LEAVE:
                self.done = True
            elif key.lower() in self._turns:
                control, step = self._turns[key.lower()]
                step *= 0.1 if key.isupper() else 1
                self._board.turn(control, self._board.pots[control].position + step)
            elif key in self.presses:
                self._board.press(self.presses[key])
            elif HOLDS.get(key) in self._board.switches:
                self._board.press(HOLDS[key], HOLD_S)
            elif key == CHIP:
                for chip in self._board.chips:
                    chip.present = not chip.present
            elif key.isdecimal() and int(key) <= len(self._board.pots):
                pot = list(self._board.pots.values())[int(key) - 1]
                pot.wire = "loose" if pot.wire == "good" else "good"


class Front:
    """The front of a simulated board, at the top of the terminal. The log scrolls below it.

    Without a terminal, or on one that is too small, only the keys are printed, once.
    """

    def __init__(self, board: Board, hands: Hands, file: TextIO = sys.stdout) -> None:
        self._board, self._hands, self._file = board, hands, file
        self._size = (0, 0)  # of the terminal, at the last layout
        atexit.register(self.close)

    def draw(self, values: Mapping[str, float], note: str = "") -> None:
        """values: of all controls. note: further text, such as the preset's name."""
        rows = self.lines(values, note)
        size = self._terminal_size()
        if size != self._size:
            self._lay_out(size, len(rows))
        if not self._fits(size, len(rows)):
            return
        # One write: save the cursor, write the rows, restore the cursor to the log.
        parts = [f"\x1b[{n};1H{row[: size[0]]}\x1b[K" for n, row in enumerate(rows, 1)]
        self._file.write("\x1b7" + "".join(parts) + "\x1b8")
        self._file.flush()

    def lines(self, values: Mapping[str, float], note: str = "") -> list[str]:
        """The rows that `draw` shows. Before a knob has taken over: ┃ the knob, o the control."""
        simulation = self._board.simulation
        assert simulation is not None
        apart, faults = self._board.distances(), self._board.faults()
        rows = []
        for name, pot in simulation.pots.items():
            up, down = self._hands.turns.get(name, (" ", " "))
            distance = apart.get(name, 0.0)
            track = list("╶" * TRACK)
            at = min(int(pot.position * TRACK), TRACK - 1)
            if distance:
                track[min(max(int((pot.position + distance) * TRACK), 0), TRACK - 1)] = "o"
            track[at] = "┃"
            value = format(find(name), values[name])
            turn = (
                f"turn {'right' if distance > 0 else 'left'} {abs(distance):.0%}"
                if distance
                else ""
            )
            if f"knob {name}" in faults:
                turn = "WIRE OFF"
            rows.append(f"  {up}/{down}  {name:10} {''.join(track)}  {value:>10}  {turn}")
        leds = "   ".join(
            f"{'●' if led.lit else '○'} {shows}" for shows, led in simulation.leds.items()
        )
        steps = "  ".join(
            f"{'space' if key == ' ' else key}: {action}"
            for key, action in self._hands.presses.items()
        )
        return [
            *rows,
            f"  {leds}   {note}".rstrip(),
            f"  {steps}  Shift: finer  Esc: leave",
            TROUBLE,
            "",
        ]

    def close(self) -> None:
        """Let the log scroll the whole terminal again. May be called twice."""
        if self._size != (0, 0):
            columns_rows, self._size = self._size, (0, 0)
            with contextlib.suppress(OSError, ValueError):
                self._file.write(f"\x1b7\x1b[r\x1b8\x1b[{columns_rows[1]};1H\n")
                self._file.flush()
        atexit.unregister(self.close)

    def _lay_out(self, size: tuple[int, int], height: int) -> None:
        """Let the log scroll the rows below the front only (VT100's DECSTBM)."""
        self._size = size
        if self._fits(size, height):
            self._file.write(f"\x1b[r\x1b[2J\x1b[{height + 1};{size[1]}r\x1b[{height + 1};1H")
        else:
            self._file.write("\x1b[r" + "\n".join(self.lines(defaults())[-2:]) + "\n")

    @staticmethod
    def _fits(size: tuple[int, int], height: int) -> bool:
        return size[0] >= WIDTH and size[1] >= height + 4

    def _terminal_size(self) -> tuple[int, int]:
        try:
            return tuple(os.get_terminal_size(self._file.fileno()))  # type: ignore[return-value]
        except (OSError, ValueError):
            return (1, 1)
