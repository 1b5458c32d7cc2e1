"""`nverb render` plays presets with scenes and modulators as the control process does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clock import ClockModule
from rig import Rig

from bank.recording import MAX_ROOM_S
from device.board import Board
from device.controls import defaults, find
from dsp.graph import OfflineGraph
from firmware_py.base.paths import data_dir
from firmware_py.cli import main
from firmware_py.control import process
from firmware_py.control.pedal import Pedal
from firmware_py.desk.phrase import phrase
from firmware_py.rooms.source import rooms_named
from firmware_py.state.presets import Presets

RATE_HZ, FRAMES, SECONDS = 48000, 128, 2.4
LONGEST = round(MAX_ROOM_S * RATE_HZ)
"""The longest IR of `nverb render`, here of the pedal, too."""


def choice(name: str, text: str) -> float:
    return float(find(name).choices.index(text))


def modulated(source: str, target: str, **values: float) -> dict[str, float]:
    chosen = {
        "mod1_source": choice("mod1_source", source),
        "mod1_target": choice("mod1_target", target),
    }
    return defaults() | chosen | {"x": 2.0, "mod1_rate_hz": 0.7, "mod1_depth": 60.0} | values


PRESETS = {
    "level of the input, one room": (modulated("input", "mix", mix=10.0), {}),
    "sine, rooms": (modulated("sine", "x", x=4.5), {}),
    "triangle through morph": (
        modulated("triangle", "morph", morph=50.0),
        {"x": 7.0, "mix": 80.0, "predelay": 60.0},
    ),
    "morph at rest": (defaults() | {"x": 2.0, "morph": 40.0}, {"x": 7.0, "mix": 90.0}),
}


def played_by_pedal(rig: Rig, clock: ClockModule, name: str, sound: np.ndarray) -> np.ndarray:
    """What comes out of the engine that the control process drives at the time of the sound."""
    rig.pedal.presets.play_name(name)
    graph = OfflineGraph(rate_hz=RATE_HZ, block_frames=FRAMES, max_taps=LONGEST)
    try:
        rig.pedal.mailbox.port = graph.port
        begun = clock.now
        rig.pedal.work()
        graph.start()
        out = []
        for at in range(0, len(sound), FRAMES):
            clock.now = begun + at / RATE_HZ
            rig.pedal.work()
            out.append(graph.process(sound[at : at + FRAMES]).copy())
    finally:
        rig.pedal.mailbox.port = None
        graph.close()
    return np.concatenate(out)


@pytest.fixture
def mono(clock: ClockModule, folders: Path) -> Iterator[Rig]:
    """A pedal that makes rooms of one source, as the file has."""
    pedal, board = Pedal(defaults(), rooms_named(""), "", "off"), Board.open("sim", clock=clock)
    process.settle(board, pedal.values)
    pedal.attach(board)
    yield Rig.of(clock, pedal, board)
    board.close()


@pytest.mark.parametrize("name", PRESETS)
def test_render_equals_the_engine_under_the_control_process(
    name: str, mono: Rig, clock: ClockModule, tmp_path: Path
) -> None:
    """Within -80 dB of the peak: the convolution may be divided otherwise."""
    values, scene_b = PRESETS[name]
    Presets(data_dir()).save("Moved", values, scene_b=scene_b)
    sound = phrase(RATE_HZ, SECONDS)[:, :1]
    soundfile.write(tmp_path / "in.wav", sound, RATE_HZ, subtype="FLOAT")
    words = ["render", str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--preset", "Moved"]
    assert main(words) == 0
    got = soundfile.read(tmp_path / "out.wav", dtype="float32")[0][: len(sound)]
    expected = played_by_pedal(mono, clock, "Moved", sound)[: len(got)]
    difference = np.abs(got - expected).max(axis=1)
    assert difference.max() < 1e-4 * np.abs(expected).max(), np.argmax(difference > 1e-4)
    assert main([*words, "--set", "mod1_source=off", "morph=0"]) == 0
    still = soundfile.read(tmp_path / "out.wav", dtype="float32")[0][: len(sound)]
    assert np.abs(still - got).max() > 0.01 * np.abs(got).max()
