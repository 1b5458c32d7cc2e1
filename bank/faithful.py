"""The plug-in's own bank: waveforms at 16 kHz, phases by the Griffin-Lim iteration, a stereo pair
at each point of the grid.

Left and right are interleaved: waveform 2 * (steps ** 2 * x + steps * y + z) is the left channel at
grid point (x, y, z), the next one the right channel. The right channel is made from the left one's
latent plus N(0, 0.01) in each dimension, and starts from other random phases. Ten steps give the
plug-in's 2000 waveforms. `bank.stepped` plays them. Desktop only: SciPy.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.build import Progress, decoder_of, grid_points
from bank.cluster import distribute
from bank.format import BankError, Point, StoredWaveform, write
from bank.griffin_lim import TAPS, griffin_lim
from bank.resume import FinishedParts, completed
from dsp.errors import InvalidValue
from models import reference
from models.container import parse
from models.decoder import Decoder
from models.files import require_space
from models.packages import studio_import

Floats = NDArray[np.float32]

RIGHT_SPREAD = 0.01
"""Standard deviation of the right channel's latent around the left's."""
DEFAULT_ITERATIONS = 1000
VERSION = 2
"""Of the method: finished parts of another version are made again."""


def build_faithful(
    path: Path,
    model: bytes,
    *,
    steps: int = 10,
    iterations: int = DEFAULT_ITERATIONS,
    name: str,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the bank of an imported plug-in decoder.

    `model`: the bytes of the model file. Takes about a second of one core for each waveform at 1000
    iterations; what is finished is kept beside `path`, so the same build goes on after a break. The
    same model and arguments give the same waveforms.

    Raises ModelError, BankError, InvalidValue, OSError, and ImportError without SciPy; an
    existing bank stays unchanged then.
    """
    if parse(model, "the model").description.kind != "plug-in":
        raise BankError(
            "a faithful bank needs the plug-in's decoder as a model: "
            "`nverb model import decoder.hdf5`"
        )
    if not 1 <= iterations <= 100_000:
        raise InvalidValue(f"{iterations} iterations: must be 1 to 100000")
    points = list(grid_points(steps))
    require_space(path, 2 * 2 * len(points) * 4 * TAPS)  # the parts, then the bank
    studio_import("scipy")
    decoder_of(model)
    tasks = [(number, point, iterations) for number, point in enumerate(points)]
    key = hashlib.sha256(repr((VERSION, steps, iterations)).encode() + model).digest()
    with FinishedParts(path, key) as parts:
        for number, _ in completed(
            parts, len(tasks), lambda first: distribute(_pair, model, tasks[first:], scheduler)
        ):
            if progress:
                progress(2 * (number + 1), 2 * len(points))
        write(
            path,
            name=name,
            waveforms=_waveforms(parts, points),
            interleaved=steps,
            comment=f"Griffin-Lim, {iterations} iterations",
        )


def _waveforms(parts: FinishedParts, points: list[Point]) -> list[StoredWaveform]:
    """Left and right at each point, read from the finished parts when they are written."""
    return [
        StoredWaveform(
            f"{number:04d}{side}",
            reference.RATE_HZ,
            point,
            1,
            TAPS,
            partial(_kept, parts, number, index),
        )
        for number, point in enumerate(points)
        for index, side in enumerate("LR")
    ]


def _kept(parts: FinishedParts, number: int, side: int) -> bytes:
    """The samples of one side at a grid point, out of the finished part that has them."""
    return parts.read(number)[side * 4 * TAPS : (side + 1) * 4 * TAPS]


def _pair(model: bytes, task: tuple[int, Point, int]) -> bytes:
    """Left and right at a grid point: float32 waveforms one after the other."""
    number, point, iterations = task
    decoder = decoder_of(model)
    sounds = [
        griffin_lim(picture, decoder.description.db_range, iterations, seed)
        for picture, seed in pair_pictures(decoder, number, point)
    ]
    return np.ascontiguousarray(sounds, "<f4").tobytes()


def pair_pictures(decoder: Decoder, number: int, point: Point) -> list[tuple[Floats, int]]:
    """The spectrograms of left and right at grid point `number`, and the seeds of their phases."""
    chance = np.random.default_rng([1, number])
    left = np.array(point)
    right = left + chance.normal(0.0, RIGHT_SPREAD, 3)
    seeds = [int(seed) for seed in chance.integers(0, 2**31, 2)]
    latents = (left.tolist(), right.tolist())
    return [
        (decoder.played_picture(latent), seed) for latent, seed in zip(latents, seeds, strict=True)
    ]
