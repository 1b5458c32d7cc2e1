"""Trials of one room instead of 27, for tests of what surrounds a trial.

As a program with the words of a command, this is nverb with such trials.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dsp import noise
from firmware_py import cli
from firmware_py.install import trial

check = partial(trial.check, rooms=(trial.MIDDLE,))
"""Instead of `trial.check`."""


def as_it_is(samples: NDArray[np.float32], _: object) -> Generator[None, None, NDArray[np.float32]]:
    """Instead of `flatten`, which takes most of the time of the first room of a process."""
    return samples
    yield


def quicken() -> None:
    """For the rest of this process."""
    trial.check = check
    trial.RATE_HZ = 8000
    noise.flatten = as_it_is


if __name__ == "__main__":
    quicken()
    raise SystemExit(cli.main())
