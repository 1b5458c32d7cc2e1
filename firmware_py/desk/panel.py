"""`nverb panel`: the running pedal live in a terminal, with keys to turn its controls.

A client of the control socket that polls ten times per second. `draw` turns a status into lines of
text; `run` shows them with curses and turns keys into requests.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from device.controls import CONTROLS, FREE, Control, find, format, to_position, to_value
from device.modulation import MODULATORS, OFF, WAVES
from device.terminal import HOLDS, LEAVE, PRESSES, TURNS
from dsp.errors import UserError
from dsp.names import shown
from firmware_py.desk.screen import has_card, machine_line, measuring_lines, meter, rooms_title
from firmware_py.link.client import NoPedal, ask
from firmware_py.link.status import PedalStatus

if TYPE_CHECKING:
    import curses

REFRESH_S = 0.1
STEP, FINE_STEP = 0.02, 0.002
"""Per key press, as a share of the control's travel."""
COLUMNS, ROWS = 76, 22
"""The smallest terminal that is supported."""
METER = 20
MEASURING_ROWS = 4
CUBE_COLUMNS, CUBE_ROWS = 25, 9
HELP = (
    "  ".join(f"{up}/{down} {name}" for name, (up, down) in TURNS.items()) + "  Shift: finer",
    "b bypass  h hold  n, N preset next, back  space tap  m measure  Esc leave",
    "arrows choose and turn  < > finer  Enter switches  Backspace default",
)
"""The first two lines are the keys of a simulated board's front (device.terminal)."""
MEASURE = "m"
_BACK = ("KEY_BACKSPACE", "\x7f", "\b")
_TURNS = {key: (name, STEP) for name, (key, _) in TURNS.items()}
_TURNS |= {key: (name, -STEP) for name, (_, key) in TURNS.items()}
_TURNS |= {key.upper(): (name, step / 10) for key, (name, step) in _TURNS.items()}
_ACTIONS: dict[str, dict[str, object]] = {
    "preset next": {"do": "preset", "step": 1},
    "tap": {"do": "tap"},
}


def draw(
    status: PedalStatus, chosen: str, columns: int = 80, rows: int = 24, note: str = ""
) -> list[str]:
    """The screen: at most `rows` lines, each shorter than `columns` characters.

    The line of the `chosen` control begins with `>`. note: a line in place of the last help.
    """
    lines = [*_head(status), *_meters(status), _scenes(status), *_modulators(status)]
    lines += measuring_lines(status)[:MEASURING_ROWS]
    help_lines = [*HELP[:-1], note or status["room"]["fault"] or HELP[-1]]
    table = _controls(
        status["controls"],
        status.get("modulated", {}),
        chosen,
        max(10, columns - CUBE_COLUMNS - 38),
        rows - len(lines) - len(help_lines),
    )
    cube = _cube(status["controls"])
    for number, line in enumerate(table):
        picture = cube[number] if number < len(cube) else ""
        lines.append(f"{line.ljust(columns - CUBE_COLUMNS - 4)}  {picture}")
    lines += help_lines
    return [line[: columns - 1] for line in lines[:rows]]


def _head(status: PedalStatus) -> list[str]:
    audio, room = status["audio"], status["room"]
    about = [
        f"room {rooms_title(room)}   {machine_line(status)}".rstrip(),
        status["preset"] or "no preset",
    ]
    if audio is None:
        return [f"nverb {status['version']}   NO AUDIO PROCESS", *about]
    state = "playing" if audio["alive"] else "NOT PLAYING"
    late = f"   late {audio['late_blocks']} of {audio['blocks']}" if has_card(status) else ""
    return [
        f"nverb {status['version']}   {state} {audio['block_frames']}/{audio['rate_hz']}   "
        f"load {100 * audio['load']:.1f} % (worst {100 * audio['worst_load']:.0f} %){late}",
        *about,
    ]


def _meters(status: PedalStatus) -> list[str]:
    audio = status["audio"]
    silent = (-120.0, -120.0)
    levels = (
        ("in", audio["input_db"] if audio else silent),
        ("out", audio["output_db"] if audio else silent),
    )
    return [
        f"{short:3} "
        + "  ".join(
            f"{side} {meter(db, METER)} {db:6.1f} {'CLIP' if db >= 0 else 'dBFS'}"
            for side, db in zip("LR", level, strict=True)
        )
        for short, level in levels
    ]


def _scenes(status: PedalStatus) -> str:
    """Where `morph` is between the scenes; "" without a scene B."""
    scenes = status.get("scenes")
    if scenes is None:
        return ""
    morph = status["controls"]["morph"]
    at = round(METER * morph / 100)
    return f"A {'─' * at}●{'─' * (METER - at)} B   {', '.join(scenes['b'])}"


def _modulators(status: PedalStatus) -> list[str]:
    """What the modulators do; no line while both are off."""
    texts = []
    for number in MODULATORS:
        source, target, depth, rate_hz, sync = (
            format(find(name), status["controls"][name])
            for name in (
                f"mod{number}_{what}" for what in ("source", "target", "depth", "rate_hz", "sync")
            )
        )
        if source == OFF:
            continue
        period = (rate_hz if sync == FREE else sync) if source in WAVES else ""
        texts.append(f"{number}: {source} {period}".rstrip() + f" → {target} {depth}")
    return ["~ " + "   ".join(texts)] if texts else []


def _controls(
    values: dict[str, float], modulated: dict[str, float], chosen: str, width: int, rows: int
) -> list[str]:
    """One line per control; if they do not all fit, those around the chosen one, and how many are
    above and below."""
    names = [control.name for control in CONTROLS]
    fits = len(names) <= rows
    rows = len(names) if fits else max(rows - 1, 1)
    first = min(max(0, names.index(chosen) - rows // 2), len(names) - rows)
    lines = [
        _control(find(name), values[name], modulated.get(name), name == chosen, width)
        for name in names[first : first + rows]
    ]
    return lines if fits else [*lines, f"  ↑ {first} more   ↓ {len(names) - rows - first} more"]


def _control(
    control: Control, value: float, modulated: float | None, chosen: bool, width: int
) -> str:
    """A line: `●` is where the control is set to, `~` where a modulator has moved it."""
    if control.is_switch:
        picture = ("●" if value >= 0.5 else "○").ljust(width)
    else:
        marks = ["─"] * width
        for place, mark in ((modulated, "~"), (value, "●")):
            if place is not None:
                marks[min(int(to_position(control, place) * width), width - 1)] = mark
        picture = "".join(marks)
    return (
        f"{'>' if chosen else ' '} {control.title[:14]:14} {picture} {format(control, value):>10}"
    )


def _cube(values: dict[str, float]) -> list[str]:
    """The room's position: x to the right, y upwards, z as the height of a bar."""
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
        full = CUBE_ROWS - number - 0.5 <= where["z"] * CUBE_ROWS
        lines.append(f"│{inside}│ {'█' if full else '░'}")
    return [*lines, "└" + "─" * (CUBE_COLUMNS - 4) + "┘", "x →  y ↑"]


def press(
    key: str, chosen: str, values: dict[str, float], *, is_measuring: bool = False
) -> tuple[str, dict[str, object] | None]:
    """Handle a key. Returns the control chosen now, and the request to send, if any.

    `key`: a character, or a name from curses such as KEY_UP.
    """
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
        by = 1 if key == "KEY_DOWN" else -1
        return names[(names.index(chosen) + by) % len(names)], None
    if key in steps:
        return chosen, _turn(chosen, steps[key], values)
    if key in _TURNS:
        return chosen, _turn(*_TURNS[key], values)
    if key in HOLDS:
        return chosen, {"do": "preset", "step": -1}
    if key == MEASURE:
        return chosen, {"do": "measure", "act": "stop" if is_measuring else "start"}
    if action := PRESSES.get(key):
        return chosen, _ACTIONS.get(action) or _set(action, 1.0 - values[action])
    if key in ("\n", "\r", "KEY_ENTER") and control.is_switch:
        return chosen, _set(chosen, 1.0 - values[chosen])
    if key in _BACK:
        return chosen, _set(chosen, control.default)
    return chosen, None


def _set(name: str, value: float) -> dict[str, object]:
    return {"do": "set", "values": {name: value}}


def _turn(name: str, step: float, values: dict[str, float]) -> dict[str, object]:
    control = find(name)
    if control.is_switch:
        return _set(name, float(step > 0))
    return _set(name, to_value(control, to_position(control, values[name]) + step))


def run() -> None:
    """Show the panel until Esc, Ctrl-D or Ctrl-C.

    Raises UserError without a terminal or a pedal, also if the pedal stops while the panel runs.
    """
    import curses
    import os
    import sys

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the panel needs a terminal; programs can use `nverb status --json`")
    ask({"do": "status"})  # raises before curses takes the screen
    # An exported size would override the terminal's.
    for name in ("LINES", "COLUMNS"):
        os.environ.pop(name, None)
    os.environ.setdefault("ESCDELAY", "25")  # ms: Esc quits without delay, also over ssh
    curses.wrapper(_loop)


def _refusal(request: dict[str, object]) -> str:
    """Send a request; why the pedal refused it, or "". Raises NoPedal."""
    try:
        ask(request)
    except NoPedal:
        raise
    except UserError as error:
        return str(error)
    return ""


def _loop(screen: curses.window) -> None:
    import curses
    import locale

    locale.setlocale(locale.LC_ALL, "")
    curses.curs_set(0)
    screen.timeout(int(1000 * REFRESH_S))
    chosen = "x"
    note = ""  # why the pedal refused the last key
    failed_since: float | None = None
    status: PedalStatus = ask({"do": "status"})["status"]
    while True:
        rows, columns = screen.getmaxyx()
        screen.erase()
        if rows < ROWS or columns < COLUMNS:
            text = f"make the terminal at least {COLUMNS} x {ROWS}; it is {columns} x {rows}"
            screen.insstr(0, 0, text[: columns - 1])
        else:
            for number, line in enumerate(draw(status, chosen, columns, rows, note)):
                screen.addstr(
                    number,
                    0,
                    shown(line),
                    curses.A_BOLD if line.startswith(">") else curses.A_NORMAL,
                )
        screen.refresh()
        try:
            key = screen.getkey()
        except curses.error:
            key = ""  # no key within REFRESH_S
        if key and key in LEAVE:
            return
        chosen, request = press(
            key,
            chosen,
            status["controls"],
            is_measuring=status.get("measuring", {}).get("state") == "running",
        )
        try:
            note = _refusal(request) if request else note
            status = ask({"do": "status"})["status"]
            failed_since = None
        except UserError:
            # The control process may be restarting: allow it 5 s.
            failed_since = failed_since or time.monotonic()
            if time.monotonic() - failed_since > 5:
                raise
