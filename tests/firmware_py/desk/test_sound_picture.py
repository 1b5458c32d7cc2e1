"""Sounds as lines of text."""

from __future__ import annotations

import numpy as np

from firmware_py.desk.sound_picture import BARS, COLUMNS, SoundPicture, lines

RATE_HZ = 48000


def of(sound: np.ndarray, name: str = "in", block: int = 1000) -> SoundPicture:
    picture = SoundPicture(name, RATE_HZ)
    for at in range(0, len(sound), block):
        picture.take(sound[at : at + block, None].astype(np.float32))
    picture.end()
    return picture


def tone(hz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def test_tone_is_loud_while_it_sounds_and_in_its_octave() -> None:
    sound = np.concatenate([tone(1000, 1), np.zeros(RATE_HZ)])
    row = lines([of(sound)])[0]
    time, octaves = row[8:].split("   ")
    assert len(time) == COLUMNS and len(octaves) == 9
    half = COLUMNS // 2
    assert set(time[: half - 1]) == {BARS[-1]} and set(time[half + 1 :]) == {BARS[0]}
    assert octaves.index(BARS[-1]) == 4 and octaves.count(BARS[-1]) == 1


def test_softer_sound_has_lower_bars_beside_a_louder_one() -> None:
    """12 dB are two steps; the time is that of the longer."""
    rows = lines([of(tone(500, 2)), of(0.25 * tone(500, 1), "out")])
    loud, soft = (row[8 : 8 + COLUMNS] for row in rows[:2])
    assert BARS.index(loud[5]) - BARS.index(soft[5]) == 2
    assert loud[-2] == BARS[-1] and soft[-2] == BARS[0]
    assert "0 to 2.0 s" in rows[2]


def test_silence_is_dots() -> None:
    row = lines([of(np.zeros(5000))])[0]
    assert set(row[8 : 8 + COLUMNS]) == {BARS[0]}
