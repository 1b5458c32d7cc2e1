"""Sounds as two lines of text: their level over time, and in octaves. `nverb render --picture`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BARS = "·▁▂▃▄▅▆▇█"
STEP_DB = 6.0
"""A bar is so much; the highest is the loudest of all, the dot is below the lowest."""
COLUMNS = 48
SEGMENT, STEP = 4096, 512
"""Frames of a spectrum, and of a level."""
OCTAVES_HZ = tuple(62.5 * 2**n for n in range(9))
SILENT_DB, TINY = -100.0, 1e-20


class SoundPicture:
    """One sound; give it all blocks in their order."""

    def __init__(self, name: str, rate_hz: int) -> None:
        self.name, self._rate_hz = name, rate_hz
        self._energies: list[float] = []  # of each STEP
        self._octaves = np.zeros(len(OCTAVES_HZ))
        self._rest = np.zeros(0, np.float32)
        self._window = np.hanning(SEGMENT).astype(np.float32)
        hz = np.fft.rfftfreq(SEGMENT, 1 / rate_hz)
        self._octave_of = np.round(np.log2(np.maximum(hz, 1.0) / OCTAVES_HZ[0])).astype(int)

    def take(self, block: Floats) -> None:
        """block: (frames, channels)."""
        self._rest = np.concatenate([self._rest, block.mean(axis=1)])
        while len(self._rest) >= SEGMENT:
            self._look(self._rest[:SEGMENT])
            self._rest = self._rest[SEGMENT:]

    def _look(self, segment: Floats) -> None:
        self._energies += (segment.reshape(-1, STEP) ** 2).mean(axis=1).tolist()
        power = np.abs(np.fft.rfft(segment * self._window)) ** 2
        for number in range(len(OCTAVES_HZ)):
            self._octaves[number] += power[self._octave_of == number].sum()

    def end(self) -> None:
        """No more blocks come."""
        if len(self._rest):
            self.take(np.zeros((SEGMENT - len(self._rest), 1), np.float32))

    @property
    def seconds(self) -> float:
        return len(self._energies) * STEP / self._rate_hz

    def levels_db(self, seconds: float) -> NDArray[np.float64]:
        """In COLUMNS parts of this time."""
        edges = np.linspace(0, seconds * self._rate_hz / STEP, COLUMNS + 1).astype(int)
        energies = np.zeros(int(edges[-1]) + 2)
        energies[: len(self._energies)] = self._energies[: len(energies)]
        parts = [energies[a : max(b, a + 1)].mean() for a, b in pairwise(edges)]
        return np.asarray(10 * np.log10(np.maximum(parts, TINY)))

    def octaves_db(self) -> NDArray[np.float64]:
        return np.asarray(10 * np.log10(np.maximum(self._octaves, TINY)))


def bars(levels_db: NDArray[np.float64], loudest_db: float) -> str:
    steps = np.ceil((levels_db - loudest_db) / STEP_DB) + len(BARS) - 1
    return "".join(BARS[int(step)] for step in np.clip(steps, 0, len(BARS) - 1))


def lines(sounds: Sequence[SoundPicture]) -> list[str]:
    """The picture of these sounds, to be compared: of all the same time and the same levels."""
    seconds = max(sound.seconds for sound in sounds)
    times = [sound.levels_db(seconds) for sound in sounds]
    octaves = [sound.octaves_db() for sound in sounds]
    loudest = [
        max(SILENT_DB, *(float(levels.max()) for levels in each)) for each in (times, octaves)
    ]
    rows = [
        f"{sound.name:8}{bars(time_db, loudest[0])}   {bars(octave_db, loudest[1])}"
        for sound, time_db, octave_db in zip(sounds, times, octaves, strict=True)
    ]
    scale = f"{'':8}{f'0 to {seconds:.1f} s':{COLUMNS}}   63 Hz to 16 kHz"
    return [*rows, scale]
