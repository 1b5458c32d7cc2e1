"""The noise that rooms are made of: white, with even energy (`dsp.flat`).

To even it takes 2 s on a small board, the largest part of the time from power-on to the first room.
So a process can keep it in files (`keep_in`). A file is used if its hash says that it is complete
and was made by this very code; otherwise the noise is made again, and so is the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import dsp.bands
import dsp.energymap
import dsp.flat
from dsp.flat import EVEN_S, Span, flatten

Floats = NDArray[np.float32]
Write = Callable[[Path, Callable[[BinaryIO], object]], None]
"""Replaces a file atomically by what a function writes. Raises OSError."""

FIRST_SEED = 290
"""With this noise, of 300 tried, octaves of short rooms decay most evenly at 48 kHz."""
LEAD_S, LEAD_FADE_S = 0.06, 0.04
"""Noise begins LEAD_S before the onset of a room, and fades in."""
BANDS_AT_ONCE = 5
"""How much of the noise is made in idle time at once: some 5 ms here, 50 ms on a small board."""
KEPT_FILES = 6
"""Those of three rates or so; the oldest is removed."""
HASH_BYTES = 32


class _Kept:
    """Noise in files of a folder: a hash, then float32 (2, frames)."""

    def __init__(self, folder: Path, write: Write) -> None:
        self._folder, self._write = folder, write

    def read(self, name: str, frames: int) -> Floats | None:
        """None if there is no such noise, or if it cannot be read."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(self._folder / name, flags), "rb") as file:
                content = file.read(HASH_BYTES + 8 * frames + 1) or b""
        except OSError:
            return None
        samples = memoryview(content)[HASH_BYTES:]
        if samples.nbytes != 8 * frames or content[:HASH_BYTES] != _hash(name, samples):
            return None
        return np.frombuffer(samples, np.float32).reshape(2, frames)

    def write(self, name: str, samples: Floats) -> None:
        """Does nothing if the folder cannot be written: the noise is made at each start then."""
        content = np.ascontiguousarray(samples).data.cast("B")
        digest = _hash(name, content)

        def write(file: BinaryIO) -> None:
            file.write(digest)
            file.write(content)

        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            for old in sorted(self._folder.iterdir(), key=_age)[: 1 - KEPT_FILES]:
                old.unlink()
            self._write(self._folder / name, write)


_kept: list[_Kept] = []


def keep_in(folder: Path | None, write: Write | None = None) -> None:
    """Keep noise in files of this folder from now on; None: in memory only, as at the start.

    `folder` is created if its parent exists. `write` replaces a file.
    """
    _kept.clear()
    if folder is not None and write is not None:
        _kept.append(_Kept(folder, write))


def _age(path: Path) -> float:
    return path.lstat().st_mtime


@lru_cache(maxsize=1)
def _maker() -> bytes:
    """A hash of the code that makes noise."""
    code = hashlib.blake2b(np.__version__.encode())
    for path in (__file__, dsp.bands.__file__, dsp.energymap.__file__, dsp.flat.__file__):
        code.update(Path(path).read_bytes())
    return code.digest()


def _hash(name: str, samples: memoryview) -> bytes:
    whole = hashlib.blake2b(name.encode(), key=_maker(), digest_size=HASH_BYTES)
    whole.update(samples)
    return whole.digest()


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
