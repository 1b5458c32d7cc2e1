"""`nverb panel`: screen of a status, keys, and a run in a terminal with a control process."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from clock import Clock
from waiting import HANG_S, wait_until

from device.board import Board
from device.controls import CONTROLS, defaults, find, to_value
from device.terminal import HOLDS, LEAVE, PRESSES, STEP, TURNS, Hands
from firmware_py.desk import panel
from firmware_py.desk.screen import CompleteStatus, screen
from firmware_py.jack import report

pytestmark = pytest.mark.live

STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "simd": "avx2",
    "machine": {"temperature_c": 54.2, "warnings": ["under-voltage now"], "governors": []},
    "controls": defaults(),
    "scenes": None,
    "modulated": {},
    "room": {"bank": "starter", "path": "", "made_in_ms": 3.0, "true_stereo": False, "fault": ""},
    "preset": "preset Hall (changed)",
    "control": {"pid": 1, "up_s": 1.0},
    "audio": {
        "pid": 2, "alive": True, "rate_hz": 48000, "block_frames": 128, "inputs": 2,
        "blocks": 100, "late_blocks": 3,
        "load": 0.031, "worst_load": 0.2, "input_db": [-12.0, -120.0], "output_db": [0.0, -30.0],
        "limited_samples": 0, "nonfinite_samples": 0, "playing_serial": 1,
        "playing_since_ns": 0, "fading": False,
    },
}  # fmt: skip


TALL = len(CONTROLS) + 20
"""Rows of a terminal that shows all controls."""


def drawn(chosen: str = "x", columns: int = 120, rows: int = TALL, **values: float) -> list[str]:
    return panel.draw(STATUS | {"controls": defaults() | values}, chosen, columns, rows)


@pytest.mark.parametrize(
    ("measuring", "lines"),
    [
        (("none", "", []), []),
        (("running", "level -20 dB: range 9 dB", []), ["measuring: level -20 dB: range 9 dB"]),
        (("done", "2 ch", ["hum: lift it"]), ["measured: 2 ch", "! hum: lift it"]),
        (("failed", "no sound: turn up", []), ["not measured: no sound: turn up"]),
    ],
)
def test_draw_shows_the_measurement(
    measuring: tuple[str, str, list[str]], lines: list[str]
) -> None:
    state = dict(zip(("state", "text", "remarks"), measuring, strict=True)) | {"pid": 0}
    text = panel.draw(STATUS | {"measuring": state}, "x", 120, TALL)
    assert [line for line in text if line not in drawn()] == lines


def test_key_starts_and_stops_a_measurement() -> None:
    for is_measuring, act in ((False, "start"), (True, "stop")):
        request = panel.press("m", "x", defaults(), is_measuring=is_measuring)[1]
        assert request == {"do": "measure", "act": act}


def test_draw_shows_state_and_all_controls() -> None:
    text = "\n".join(drawn())
    for expected in (
        "playing 128/48000",
        "load 3.1 %",
        "late 3",
        "54 °C",
        "under-voltage now",
        "starter",
        "CLIP",
    ):
        assert expected in text
    for control in CONTROLS:
        assert control.title[:14] in text


@pytest.mark.parametrize(("columns", "rows"), [(panel.COLUMNS, panel.ROWS), (80, 24), (200, 60)])
@pytest.mark.parametrize("chosen", ["gain", "x", CONTROLS[-1].name])
def test_draw_fits_terminal_and_shows_chosen_control(columns: int, rows: int, chosen: str) -> None:
    lines = drawn(chosen, columns, rows)
    assert len(lines) <= rows and max(map(len, lines)) < columns
    assert [line for line in lines if line.startswith("> " + find(chosen).title)]


@pytest.mark.parametrize(("x", "y"), [(0, 0), (9, 0), (0, 9), (9, 9), (4.5, 4.5)])
def test_draw_shows_position_in_cube(x: float, y: float) -> None:
    square = [line[line.index("│") :] for line in drawn(x=x, y=y) if "│" in line]
    height, width = len(square), square[0].rindex("│") - 1
    [(row, column)] = [(r, line.index("●") - 1) for r, line in enumerate(square) if "●" in line]
    assert abs(column - x / 9 * (width - 1)) <= 1
    assert abs(row - (1 - y / 9) * (height - 1)) <= 1


def test_screen_shows_what_plays_and_nothing_of_a_dead_process() -> None:
    rest: dict[str, Any] = {"safe_start": "", "board": None, "doors": [], "off": {}, "preset": ""}
    no_ports = {"inputs": [], "outputs": [], "automatic": True, "mono": False, "feed": 0}
    rest |= {"slots": [], "versions": {}, "jack": None, "ports": no_ports | {"faults": []}}
    alive = STATUS["audio"] | {"offset_blocks": 0, "added_frames": 0}

    def shown(**values: object) -> str:
        return screen(cast(CompleteStatus, STATUS | rest | {"audio": alive} | values))

    assert "playing, 128 frames at 48000 Hz" in shown()
    dead = shown(
        audio=alive | {"alive": False},
        jack=report.new("jackd", trouble="waiting for a sound card: there is no sound card hw:USB"),
    )
    assert "NOT PLAYING" in dead and "128 frames" not in dead and "3.1 %" not in dead
    assert "jack     waiting for a sound card: there is no sound card hw:USB" in dead


def test_draw_shows_where_morph_is_between_the_scenes() -> None:
    scenes = {"a": {"x": 1.0, "mix": 20.0}, "b": {"x": 9.0, "mix": 40.0}}
    for morph, picture in ((0, "A ●─"), (25, "A ─────●─"), (100, "─● B   x, mix")):
        status = STATUS | {"scenes": scenes, "controls": defaults() | {"morph": morph}}
        assert [line for line in panel.draw(status, "x", 120, TALL) if picture in line]
    assert not [line for line in drawn(morph=50) if line.startswith("A ")]


def test_draw_shows_what_modulators_do() -> None:
    on = {"mod1_source": 1.0, "mod1_depth": 30.0, "mod2_source": 5.0, "mod2_target": 3.0}
    status = STATUS | {"controls": defaults() | on, "modulated": {"x": 9.0}}
    lines = panel.draw(status, "x", 120, TALL)
    assert "~ 1: sine 0.20 Hz → x 30.0 %   2: input → mix 20.0 %" in lines
    [x] = [line for line in lines if line.startswith("> X")]
    assert "●" in x and "~ " in x
    assert not [line for line in drawn() if "~" in line]


def test_draw_reports_missing_audio_process() -> None:
    assert "NO AUDIO" in panel.draw(STATUS | {"audio": None}, "x")[0]


def test_at_80_x_24_preset_keys_and_scroll_marks_are_visible() -> None:
    lines = drawn("x", 80, 24)
    text = "\n".join(lines)
    assert "preset Hall (changed)" in text and len(lines) == 24
    for help_line in panel.HELP:
        assert len(help_line) < panel.COLUMNS and help_line in lines
    for word in (*(f"{up}/{down} {name}" for name, (up, down) in TURNS.items()), "n, N", "Esc"):
        assert word in text
    shown = sum(control.title[:14] in text for control in CONTROLS)
    assert f"↓ {len(CONTROLS) - shown} more" in text and "↑ 0 more" in text
    assert "↓ 0 more" in "\n".join(drawn(CONTROLS[-1].name, 80, 24))
    assert "more" not in "\n".join(drawn())


def test_a_note_takes_the_place_of_the_last_help() -> None:
    lines = panel.draw(STATUS, "x", note="there are no presets")
    assert lines[-1] == "there are no presets"


def change(**values: object) -> dict[str, object]:
    return {"do": "set", "values": values}


@pytest.mark.parametrize(
    ("key", "chosen", "then", "request_"),
    [
        ("KEY_DOWN", "x", "y", None),
        ("KEY_UP", "gain", CONTROLS[-1].name, None),
        ("KEY_RIGHT", "x", "x", change(x=pytest.approx(4.68))),
        ("<", "mix", "mix", change(mix=pytest.approx(34.8))),
        ("KEY_RIGHT", "lowpass", "lowpass", change(lowpass=1.0)),
        ("\n", "trails", "trails", change(trails=0.0)),
        ("KEY_BACKSPACE", "gain", "gain", change(gain=0)),
        ("\x7f", "gain", "gain", change(gain=0)),
        ("?", "x", "x", None),
        ("0", "x", "x", None),
    ],
)
def test_press_changes_selection_or_value(
    key: str, chosen: str, then: str, request_: dict[str, object] | None
) -> None:
    assert panel.press(key, chosen, defaults()) == (then, request_)


def test_every_key_of_the_simulated_front_does_the_same_in_the_panel() -> None:
    """Its pots are set by their keys; what a switch does is the same action."""
    with Board.open("sim", clock=Clock()) as board:
        hands = Hands(board)
        for name, keys in hands.turns.items():
            for key, sign in zip(keys, (1, -1), strict=True):
                for typed, step in ((key, STEP), (key.upper(), STEP / 10)):
                    value = to_value(find(name), 0.5 + sign * step)
                    values = defaults() | {name: to_value(find(name), 0.5)}
                    request = change(**{name: pytest.approx(value)})
                    assert panel.press(typed, "mix", values) == ("mix", request)
        does = {
            "bypass": change(bypass=1.0),
            "hold": change(hold=1.0),
            "preset next": {"do": "preset", "step": 1},
            "tap": {"do": "tap"},
        }
        for key, action in hands.presses.items():
            assert panel.press(key, "x", defaults()) == ("x", does[action])
        [held] = [row.long for row in board.profile.switches if row.action == HOLDS["N"]]
        assert held is not None and held.action == "preset previous"
        assert panel.press("N", "x", defaults()) == ("x", {"do": "preset", "step": -1})
    assert set(LEAVE).isdisjoint("".join((*TURNS["gain"], *PRESSES, *HOLDS)))


def test_press_clamps_to_range() -> None:
    assert panel.press("KEY_RIGHT", "x", defaults() | {"x": 9.0}) == ("x", change(x=9.0))


def nverb(*words: str) -> list[str]:
    return [sys.executable, "-m", "firmware_py.cli", *words]


@pytest.fixture
def control_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without presets of other tests."""
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    process = subprocess.Popen(nverb("control"), stdin=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None
        return subprocess.run(nverb("status"), capture_output=True, check=False).returncode == 0

    try:
        wait_until(answers)
        yield
    finally:
        process.terminate()
        process.wait(HANG_S)


def test_panel_handles_keys_in_terminal(control_process: None) -> None:
    """Turn x up by three steps, next preset, bypass, with the bytes that a terminal sends; leave.

    `q` turns the gain, as in the simulated front."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    shown = b""

    def read() -> None:
        nonlocal shown
        while select.select([leader], [], [], 0)[0]:
            shown += os.read(leader, 65536)

    def values() -> dict[str, float]:
        return dict(panel.ask({"do": "get"}, timeout_s=HANG_S)["values"])

    def preset() -> str:
        return str(panel.ask({"do": "status"}, timeout_s=HANG_S)["status"]["preset"])

    process = subprocess.Popen(
        nverb("panel"),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=os.environ | {"TERM": "xterm"},
    )
    try:
        wait_until(lambda: b"Esc leave" in shown, tend=read, told=lambda: shown)
        os.write(leader, b"\x1bOC" * 3 + b"b")
        wait_until(lambda: values()["bypass"] == 1, tend=read, told=lambda: shown)
        x = values()["x"]
        os.write(leader, b"aq")
        os.write(leader, b"n")
        wait_until(lambda: preset() == "preset Room", tend=read, told=lambda: shown)
        assert process.poll() is None
        os.write(leader, b"\x1b")
        wait_until(lambda: process.poll() is not None, tend=read, told=lambda: shown)
        assert process.poll() == 0
        read()
    finally:
        process.kill()
        process.wait()
        os.close(leader)
        os.close(follower)
    # The simulated pot may still settle.
    assert x == pytest.approx(4.5 + 3 * 0.18, abs=0.05)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    assert "NO AUDIO" in text and "Pre-delay" in text


def test_panel_without_terminal_suggests_status(control_process: None) -> None:
    done = subprocess.run(
        nverb("panel"), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "nverb status --json" in done.stderr and done.stderr.count("\n") == 1
