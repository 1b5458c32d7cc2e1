"""Keys turn simulated pots; the terminal is given back as it was."""

import os
import pty
import sys
import termios

import pytest
from board_wire import Clock, last, scan_for

from device.board import Action, Board
from device.terminal import STEP, Hands, Keyboard


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo terminal on stdin; yields the end where keys are typed."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def test_keys_come_one_by_one_and_the_terminal_is_restored(terminal) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())
    with Keyboard() as keyboard:
        assert keyboard.read() == ""
        os.write(terminal, b"qW ")
        assert keyboard.read() == "qW "
        assert not termios.tcgetattr(sys.stdin.fileno())[3] & (termios.ICANON | termios.ECHO)
    assert termios.tcgetattr(sys.stdin.fileno()) == before
    keyboard.restore()


def test_without_a_terminal_nothing_is_read_or_changed(monkeypatch) -> None:
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Keyboard() as keyboard:
            assert keyboard.read() == ""


def test_keys_turn_knobs_and_press_switches() -> None:
    clock = Clock()
    with Board.open("sim", clock=clock) as board:
        scan_for(board, clock, 1)
        hands = Hands(board.simulation)
        for key in "qwertasdfgb n":
            assert key in hands.help() or key == " "
        hands.press("www")
        assert last(scan_for(board, clock, 1))["x"] == pytest.approx(4.5 + 3 * STEP * 9 * 0.992 / 0.97, abs=0.02)
        hands.press("W")
        hands.press("s")
        assert last(scan_for(board, clock, 3))["x"] == pytest.approx(4.5 + 2.1 * STEP * 9 * 0.992 / 0.97, abs=0.02)
        hands.press("b")
        assert last(scan_for(board, clock, 0.3)) == {"bypass": 1.0}
        hands.press("n")
        assert Action("preset next") in scan_for(board, clock, 0.3)
        hands.press("\x1b[A?0")
        assert not hands.done
        assert "x" in hands.picture()
        hands.press("\x1b")
        assert hands.done
