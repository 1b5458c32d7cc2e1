"""Noise of rooms that the tests of a run share: to make it takes seconds, in each process again.

Its files carry a hash of the code that makes noise, and a damaged one is made again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_py.rooms.noise_files import NoiseFiles

Floats = NDArray[np.float32]


class SharedNoise:
    """For `dsp.noise.keep_in`. Unlike in a data folder, any number of files is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def _files(self, name: str) -> NoiseFiles:
        return NoiseFiles(self._folder / name)

    def read(self, name: str, frames: int) -> Floats | None:
        return self._files(name).read(name, frames)

    def write(self, name: str, samples: Floats) -> None:
        self._files(name).write(name, samples)

    def lend(self, data: Path) -> None:
        """Put what there is of 48 kHz into a data folder, for the processes of a pedal."""
        (data / "noise").mkdir()
        for file in self._folder.glob("48000-*/48000-*"):
            with suppress(OSError):
                os.link(file, data / "noise" / file.name)

    def collect(self, data: Path) -> None:
        """Keep what the processes of a pedal have made."""
        for file in data.glob("noise/*-*"):
            with suppress(OSError):
                (self._folder / file.name).mkdir(exist_ok=True)
                os.link(file, self._folder / file.name / file.name)
