"""Drawn recordings through import, encode and every room control at its ends: each is refused in
one line, or gives a finite IR of the level and length of every room.

NVERB_FUZZ_READERS multiplies the number, as `make acceptance-readers` does: 40 times is 2000. A
number that failed becomes a case in FAILED.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bank.placing import Finder, finder
from bank.recording import RecordingError, at_rate, read_recording
from device.controls import CONTROLS, defaults
from dsp.loudness import PEAK_BOUND, ROOM_LOUDNESS, of_samples
from firmware_py.rooms.maker import RoomMaker

LONGER = int(os.environ.get("NVERB_FUZZ_READERS", "1"))
GROUPS, EACH = 4, 4 if LONGER == 1 else 25 * LONGER // 2
FAILED: list[tuple[int, float]] = [(293, 30.0), (463, 30.0), (485, 30.0), (492, 30.0)]
"""Seeds, and the longest recording with which they failed."""
LONGEST_S = 3.0
SHAPES = ("decay", "size", "tilt", "early_late", "attack", "reverse", "width")


def drawn(seed: int, longest_s: float) -> tuple[NDArray[np.float32], int]:
    """A recording of any length, rate, number of channels, decay, end, level and fault."""
    draw = np.random.default_rng([20, seed])
    rate_hz = int(draw.choice([8000, 16000, 22050, 44100, 48000, 96000, 192000]))
    frames = int(np.exp(draw.uniform(0, np.log(longest_s * rate_hz))))
    channels = int(draw.choice([1, 1, 2, 2, 4, 3, 6]))
    time_s = np.arange(frames)[:, None] / rate_hz
    t60_s = 10 ** draw.uniform(-2.5, 1)
    sound = draw.standard_normal((frames, channels)) * 10 ** (-3 * time_s / t60_s)
    lead = int(draw.choice([0, 0, 1, 64, rate_hz // 10, 4 * rate_hz])) if frames > 2 else 0
    sound = np.pad(sound, ((lead, 0), (0, 0)))
    match draw.integers(0, 11):
        case 0:
            sound += draw.choice([1e-4, 0.01, 1.0])
        case 1:
            sound[len(sound) // 2 :] = 0
        case 2:
            sound = np.clip(10 * sound, -1, 1)
        case 3:
            sound = -sound[::-1]
        case 4:
            sound[len(sound) // 2] = draw.choice([np.nan, np.inf, 1e30])
        case 5:
            sound[:] = 0
        case 6:
            sound += 10 ** draw.uniform(-4, 0) * draw.standard_normal(sound.shape)
        case 7:
            sound += 0.1 * np.sin(2 * np.pi * 50 * np.arange(len(sound)) / rate_hz)[:, None]
        case 8:
            sound = np.pad(sound, ((0, rate_hz), (0, 0)))
        case 9:
            sound[:, -1] *= 0
        case 10 if channels == 2:
            sound[:, 1] = -sound[:, 0]
    return (sound * 10 ** draw.uniform(-6, 1)).astype(np.float32), rate_hz


@cache
def find() -> Finder | None:
    return finder(None, lambda line: None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("group", range(GROUPS))
def test_drawn_recording_is_refused_or_sounds(tmp_path: Path, group: int) -> None:
    refused = 0
    longest_s = 30.0 if LONGER > 1 else 1.5
    new = [(seed, longest_s) for seed in range(group * EACH, (group + 1) * EACH)]
    for seed, most_s in [*new, *FAILED[group::GROUPS]]:
        sound, rate_hz = drawn(seed, most_s)
        path = tmp_path / "drawn.wav"
        soundfile.write(path, sound, rate_hz, subtype="FLOAT")
        try:
            samples, rate_hz, _ = read_recording(path)
        except RecordingError as error:
            assert "\n" not in str(error), seed
            refused += 1
            continue
        place = find()
        if place is not None:
            assert np.isfinite(place(samples, rate_hz)).all(), seed
        shape_all_ways(samples, rate_hz, seed)
    assert refused < EACH, "all were refused: nothing was tried"


def shape_all_ways(samples: NDArray[np.float32], rate_hz: int, seed: int) -> None:
    draw = np.random.default_rng([21, seed])
    engine_hz = int(draw.choice([44100, 48000, 96000]))
    maker = RoomMaker(None, engine_hz, round(LONGEST_S * engine_hz))
    ends = {c.name: (c.minimum, c.maximum) for c in CONTROLS if c.name in SHAPES}
    one = str(draw.choice(SHAPES))
    tries = [
        {},
        {one: ends[one][int(draw.integers(2))]},
        {name: ends[name][int(draw.integers(2))] for name in SHAPES},
    ]
    played = at_rate(samples, rate_hz, engine_hz)
    for controls in tries:
        ir = maker.recorded(played, defaults() | controls)
        assert np.isfinite(ir).all(), (seed, controls)
        assert ir.shape[1] <= round(LONGEST_S * engine_hz), (seed, controls)
        assert 0 < of_samples(ir, engine_hz) < 1.001 * ROOM_LOUDNESS, (seed, controls)
        assert np.abs(ir).max() <= 1.001 * PEAK_BOUND, (seed, controls)
