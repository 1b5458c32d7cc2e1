"""Noise of rooms in files of the data folder: the first room after power-on comes 2 s sooner on a
small board.

A file is used if its hash says that it is complete and was made by this very code; otherwise the
noise is made again, and so is the file.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import dsp.bands
import dsp.energymap
import dsp.flat
import dsp.noise
from firmware_py.base.paths import write_atomically
from models.reading import MalformedFile, read_file

Floats = NDArray[np.float32]

KEPT_FILES = 6
"""Those of three rates or so; the oldest is removed."""
HASH_BYTES = 32
MAX_SOURCE_BYTES = 1 << 20


class NoiseFiles:
    """A file for each noise: a hash, then float32 (2, frames). The control process alone uses it.

    Written without a sync: damage by a power cut costs the time only.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is created if its parent exists."""
        self._folder = folder

    def read(self, name: str, frames: int) -> Floats | None:
        """None if there is no such noise, or if it cannot be read."""
        try:
            content = read_file(self._folder / name, HASH_BYTES + 8 * frames, follow=False)
        except (OSError, MalformedFile):
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
            write_atomically(self._folder / name, write, durable=False)


def _age(path: Path) -> float:
    return path.lstat().st_mtime


@lru_cache(maxsize=1)
def _maker() -> bytes:
    """A hash of the code that makes noise."""
    code = hashlib.blake2b(np.__version__.encode())
    for module in (dsp.noise, dsp.bands, dsp.energymap, dsp.flat):
        code.update(read_file(Path(str(module.__file__)), MAX_SOURCE_BYTES))
    return code.digest()


def _hash(name: str, samples: memoryview) -> bytes:
    whole = hashlib.blake2b(name.encode(), key=_maker(), digest_size=HASH_BYTES)
    whole.update(samples)
    return whole.digest()
