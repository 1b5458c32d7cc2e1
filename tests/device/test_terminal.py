"""Keys, front and restoring of the terminal of a simulated board."""

import os
import pty
import sys
import termios

import pytest
from board_wire import last, scan_for
from clock import Clock

from device.board import Board
from device.controls import defaults
from device.events import Action
from device.terminal import STEP, WIDTH, Front, Hands, Keyboard


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo terminal on stdin. Yields its other end, for typing."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def test_keyboard_reads_single_keys_and_restores_terminal(terminal) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())
    with Keyboard() as keyboard:
        assert keyboard.read() == ""
        os.write(terminal, b"qW ")
        assert keyboard.read() == "qW "
        assert not termios.tcgetattr(sys.stdin.fileno())[3] & (termios.ICANON | termios.ECHO)
    assert termios.tcgetattr(sys.stdin.fileno()) == before
    keyboard.restore()


def test_keyboard_without_terminal_reads_nothing(monkeypatch) -> None:
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Keyboard() as keyboard:
            assert keyboard.read() == ""


@pytest.fixture
def board(clock: Clock):
    with Board.open("sim", clock=clock) as board:
        scan_for(board, clock, 1)
        yield board


def test_keys_turn_knobs_and_press_switches(board: Board, clock: Clock) -> None:
    hands = Hands(board)
    hands.press("www")
    assert last(scan_for(board, clock, 1))["x"] == pytest.approx(
        4.5 + 3 * STEP * 9 * 0.992 / 0.97, abs=0.02
    )
    hands.press("W")
    hands.press("s")
    assert last(scan_for(board, clock, 3))["x"] == pytest.approx(
        4.5 + 2.1 * STEP * 9 * 0.992 / 0.97, abs=0.02
    )
    hands.press("b")
    assert last(scan_for(board, clock, 0.3)) == {"bypass": 1.0}
    hands.press("n")
    assert Action("preset next") in scan_for(board, clock, 0.3)
    hands.press("\x1b[A?0")
    assert not hands.done
    hands.press("\x1b")
    assert hands.done


def test_keys_disconnect_wires_and_unplug_chip(board: Board, clock: Clock) -> None:
    hands = Hands(board)
    values = defaults()
    front = Front(board, hands)
    hands.press("2")
    scan_for(board, clock, 2)
    assert set(board.faults()) == {"knob x"}
    assert "WIRE OFF" in front.lines(values)[1]
    hands.press("2")
    hands.press("0")
    scan_for(board, clock, 2)
    assert "adc 1" in board.faults()
    hands.press("09")
    scan_for(board, clock, 3)
    assert not board.faults()
    front.close()


def test_front_shows_keys_values_leds_and_takeover_distance(board: Board, clock: Clock) -> None:
    values = defaults() | {"x": 9.0}
    front = Front(board, Hands(board))
    text = "\n".join(front.lines(values))
    for word in ("q/a", "gain", "0.0 dB", "n: preset next", "space: tap", "● on", "○ fault"):
        assert word in text
    assert "turn" not in text
    board.control_moved("x", 9.0)
    row = next(row for row in front.lines(values) if "w/s" in row)
    assert "turn right 50%" in row and row.index("┃") < row.index("o")
    assert all(len(row) <= WIDTH for row in front.lines(values))
    front.close()


def test_front_scrolls_log_below_it(board: Board, monkeypatch) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    values = defaults()
    with os.fdopen(theirs, "w") as screen:
        front = Front(board, Hands(board), screen)
        height = len(front.lines(values))
        front.draw(values)
        first = os.read(ours, 65536).decode()
        assert f"\x1b[{height + 1};24r" in first and "gain" in first
        termios.tcsetwinsize(theirs, (8, 40))  # too small now
        front.draw(values)
        assert "┃" not in os.read(ours, 65536).decode()
        front.close()
        assert "\x1b[r" in os.read(ours, 65536).decode()  # the log scrolls the whole screen
    os.close(ours)
