"""`nverb panel`: the running pedal live in a terminal, and keys to turn it. A client of the control socket, ten times a second.

`draw` makes the screen as lines of text from a status; `run` shows them by curses and turns keys into requests.
"""

from __future__ import annotations

import time
from typing import Any

from device.controls import CONTROLS, Control, find, format, to_position, to_value
from dsp.errors import UserError
from firmware_py.desk.screen import machine_line, meter, rooms_title
from firmware_py.link.client import ask

REFRESH_S = 0.1
STEP, FINE_STEP = 0.02, 0.002
"""Of a control's travel, for a press of an arrow key."""
COLUMNS, ROWS = 76, 22
"""The smallest terminal that shows something worth looking at."""
CUBE_COLUMNS, CUBE_ROWS = 25, 9
HELP = (
    "arrows choose and turn   < > finer   Enter switch   0 default   b bypass   h freeze   q leave"
)


def draw(status: dict[str, Any], chosen: str, columns: int = 80, rows: int = 24) -> list[str]:
    """The screen, at most `rows` lines of at most `columns` characters; the line of the `chosen` control begins with `>`."""
    lines = [*_head(status), *_meters(status), ""]
    table = _controls(
        status["controls"], chosen, max(10, columns - CUBE_COLUMNS - 38), rows - len(lines) - 2
    )
    cube = _cube(status["controls"])
    for number, line in enumerate(table):
        picture = cube[number] if number < len(cube) else ""
        lines.append(f"{line.ljust(columns - CUBE_COLUMNS - 4)}  {picture}")
    lines += ["", status["room"]["fault"] or HELP]
    return [line[: columns - 1] for line in lines[:rows]]


def _head(status: dict[str, Any]) -> list[str]:
    audio, room = status["audio"], status["room"]
    about = f"room {rooms_title(room)}   {machine_line(status)}".rstrip()
    if audio is None:
        return [f"nverb {status['version']}   NO AUDIO PROCESS", about]
    state = "playing" if audio["alive"] else "NOT PLAYING"
    return [
        f"nverb {status['version']}   {state} {audio['block_frames']}/{audio['rate_hz']}   load {100 * audio['load']:.1f} %"
        f" (worst {100 * audio['worst_load']:.0f} %)   late {audio['late_blocks']} of {audio['blocks']}",
        about,
    ]


def _meters(status: dict[str, Any]) -> list[str]:
    audio = status["audio"] or {"input_db": (-120, -120), "output_db": (-120, -120)}
    return [
        f"{short:3} {side} {meter(db, 48)} {db:6.1f} dBFS{' CLIP' if db >= 0 else ''}"
        for short, name in (("in", "input_db"), ("out", "output_db"))
        for side, db in zip("LR", audio[name], strict=True)
    ]


def _controls(values: dict[str, float], chosen: str, width: int, rows: int) -> list[str]:
    """A line for each control; where they do not all fit, those around the chosen one."""
    names = [control.name for control in CONTROLS]
    first = min(max(0, names.index(chosen) - rows // 2), max(0, len(names) - rows))
    return [
        _control(find(name), values[name], name == chosen, width)
        for name in names[first : first + max(rows, 1)]
    ]


def _control(control: Control, value: float, chosen: bool, width: int) -> str:
    if control.is_switch:
        picture = ("●" if value >= 0.5 else "○").ljust(width)
    else:
        at = min(int(to_position(control, value) * width), width - 1)
        picture = "─" * at + "●" + "─" * (width - 1 - at)
    return (
        f"{'>' if chosen else ' '} {control.title[:14]:14} {picture} {format(control, value):>10}"
    )


def _cube(values: dict[str, float]) -> list[str]:
    """Where the room lies: x to the right, y upwards, and z as the height of a bar beside them."""
    where = {axis: to_position(find(axis), values[axis]) for axis in "xyz"}
    column = min(int(where["x"] * (CUBE_COLUMNS - 4)), CUBE_COLUMNS - 5)
    row = CUBE_ROWS - 1 - min(int(where["y"] * CUBE_ROWS), CUBE_ROWS - 1)
    lines = ["┌" + "─" * (CUBE_COLUMNS - 4) + "┐ z"]
    for number in range(CUBE_ROWS):
        inside = (
            " " * column + "●" + " " * (CUBE_COLUMNS - 5 - column)
            if number == row
            else " " * (CUBE_COLUMNS - 4)
        )
        lines.append(
            f"│{inside}│ {'█' if CUBE_ROWS - number - 0.5 <= where['z'] * CUBE_ROWS else '░'}"
        )
    return [*lines, "└" + "─" * (CUBE_COLUMNS - 4) + "┘", "x →  y ↑"]


def press(key: str, chosen: str, values: dict[str, float]) -> tuple[str, dict[str, float]]:
    """What a key does: the control that is chosen then, and the values to set. Keys: curses' names, or the character."""
    names = [control.name for control in CONTROLS]
    control = find(chosen)
    steps = {
        "KEY_LEFT": -STEP,
        "KEY_RIGHT": STEP,
        "<": -FINE_STEP,
        ">": FINE_STEP,
        ",": -FINE_STEP,
        ".": FINE_STEP,
    }
    if key in ("KEY_UP", "KEY_DOWN"):
        return names[(names.index(chosen) + (1 if key == "KEY_DOWN" else -1)) % len(names)], {}
    if key in steps:
        if control.is_switch:
            return chosen, {chosen: float(steps[key] > 0)}
        return chosen, {
            chosen: to_value(control, to_position(control, values[chosen]) + steps[key])
        }
    if key in ("\n", "\r", "KEY_ENTER", " ") and control.is_switch:
        return chosen, {chosen: 1.0 - values[chosen]}
    if key == "0":
        return chosen, {chosen: control.default}
    if key in ("b", "h"):
        name = "bypass" if key == "b" else "freeze"
        return chosen, {name: 1.0 - values[name]}
    return chosen, {}


def run() -> None:
    """Shows the panel until `q`, Esc or Ctrl-C. Raises UserError: no pedal (also when it leaves meanwhile), no terminal."""
    import curses
    import os
    import sys

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the panel needs a terminal; `nverb status --json` is for programs")
    ask({"do": "status"})  # no pedal: told before the screen is taken
    for name in (
        "LINES",
        "COLUMNS",
    ):  # a size that a parent exported; curses would believe it, not the terminal
        os.environ.pop(name, None)
    os.environ.setdefault("ESCDELAY", "25")  # ms: Esc leaves at once, over ssh too
    curses.wrapper(_loop)


def _loop(screen: Any) -> None:
    import curses
    import locale

    locale.setlocale(locale.LC_ALL, "")
    curses.curs_set(0)
    screen.timeout(int(1000 * REFRESH_S))
    chosen, failed_since = "x", None
    status = ask({"do": "status"})["status"]
    while True:
        rows, columns = screen.getmaxyx()
        screen.erase()
        if rows < ROWS or columns < COLUMNS:
            screen.insstr(
                0,
                0,
                f"make the terminal at least {COLUMNS} x {ROWS}; it is {columns} x {rows}"[
                    : columns - 1
                ],
            )
        else:
            for number, line in enumerate(draw(status, chosen, columns, rows)):
                screen.addstr(
                    number, 0, line, curses.A_BOLD if line.startswith(">") else curses.A_NORMAL
                )
        screen.refresh()
        try:
            key = screen.getkey()
        except curses.error:
            key = ""  # none within the time of a picture
        if key in ("q", "\x1b"):
            return
        try:
            chosen, values = press(key, chosen, status["controls"])
            if values:
                ask({"do": "set", "values": values})
            status = ask({"do": "status"})["status"]
            failed_since = None
        except UserError:
            # The control process may be on its way back: give it time before the panel gives up.
            failed_since = failed_since or time.monotonic()
            if time.monotonic() - failed_since > 5:
                raise
