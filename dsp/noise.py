"""The noise that rooms are made of: white, with even energy (`dsp.flat`).

To even it takes 2 s on a small board, the largest part of the time from power-on to the first room.
So a process can have it kept (`keep_in`): `firmware_py/rooms/noise_files.py` does.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dsp.flat import EVEN_S, Span, flatten

Floats = NDArray[np.float32]

FIRST_SEED = 290
"""With this noise, of 300 tried, octaves of short rooms decay most evenly at 48 kHz."""
LEAD_S, LEAD_FADE_S = 0.06, 0.04
"""Noise begins LEAD_S before the onset of a room, and fades in."""
BANDS_AT_ONCE = 5
"""How much of the noise is made in idle time at once: some 5 ms here, 50 ms on a small board."""


class Kept(Protocol):
    """Keeps noise from one start to the next. Raises nothing: noise that is missing is made."""

    def read(self, name: str, frames: int) -> Floats | None:
        """(2, frames), or None if there is no such noise."""

    def write(self, name: str, samples: Floats) -> None:
        """Keep (2, frames) under this name."""


_kept: list[Kept] = []


def keep_in(kept: Kept | None) -> None:
    """Keep noise there from now on; None: in memory only, as at the start."""
    _kept[:] = [] if kept is None else [kept]


@lru_cache(maxsize=3)
class Noise:
    """White noise for a rate and a seed, as long as requested so far."""

    def __init__(self, rate_hz: int, seed: int) -> None:
        self._rate_hz, self._seed = rate_hz, seed
        self._samples = np.zeros((2, 0), np.float32)
        self._growth: Generator[None, None, Floats] | None = None
        fade = np.arange(int(LEAD_FADE_S * rate_hz)) / (LEAD_FADE_S * rate_hz)
        self._fade = (np.sin(np.pi / 2 * fade) ** 2).astype(np.float32)

    def __call__(self, frames: int) -> Floats:
        """Its first `frames` samples, from LEAD_S before the onset on."""
        while self.grow(frames):
            pass
        result = self._samples[:, :frames].copy()
        result[:, : len(self._fade)] *= self._fade
        return result

    def grow(self, frames: int) -> bool:
        """Do a small part of the work for this length. False when all is done."""
        if frames <= self._samples.shape[1]:
            return False
        self._growth = self._growth or self._longer(frames)
        try:
            for _ in range(BANDS_AT_ONCE):
                next(self._growth)
        except StopIteration as end:
            self._samples, self._growth = end.value, None
        return True

    def _longer(self, frames: int) -> Generator[None, None, Floats]:
        # Longer noise begins like the shorter noise before it, so the name has both lengths.
        shorter = self._samples.shape[1]
        name = f"{self._rate_hz}-{self._seed}-{shorter}-{frames}"
        for kept in _kept:
            if (samples := kept.read(name, frames)) is not None:
                return samples
        samples = yield from self._made(frames)
        for kept in _kept:
            kept.write(name, samples)
        return samples

    def _made(self, frames: int) -> Generator[None, None, Floats]:
        noise = np.random.default_rng(FIRST_SEED + self._seed)
        longer = noise.standard_normal((frames, 2), np.float32).T
        kept = max(0, self._samples.shape[1] - int(2 * EVEN_S * self._rate_hz))
        longer[:, :kept] = self._samples[:, :kept]
        return (
            yield from flatten(longer, Span(frames / self._rate_hz, LEAD_S, kept / self._rate_hz))
        )
