"""The plug-in's own bank: waveforms at 16 kHz, phases by the Griffin-Lim iteration, a stereo pair
at each point of the grid.

Left and right are interleaved: waveform 2 * (steps ** 2 * x + steps * y + z) is the left channel at
grid point (x, y, z), the next one the right channel. The right channel is made from the left one's
latent plus N(0, 0.01) in each dimension, and starts from other random phases. Ten steps give the
plug-in's 2000 waveforms. `bank.stepped` plays them. Desktop only: librosa.
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
from bank.resume import FinishedParts, completed
from dsp.errors import InvalidValue
from dsp.synthesis import FAITHFUL_PEAK
from models import reference
from models.container import parse
from models.files import require_space
from models.packages import studio_import

Floats = NDArray[np.float32]

TAPS = (reference.FRAMES - 1) * reference.HOP
"""32 512 samples, 2.032 s."""
RIGHT_SPREAD = 0.01
"""Standard deviation of the right channel's latent around the left's."""
DEFAULT_ITERATIONS = 1000
BATCH = 4
"""Grid points whose spectrograms are iterated together, 8 at a time: they fit in a core's cache."""
VERSION = 1
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

    `model`: the bytes of the model file. Takes seconds of one core for each waveform at 1000
    iterations; what is finished is kept beside `path`, so the same build goes on after a break. The
    same model and arguments give the same waveforms.

    Raises ModelError, BankError, InvalidValue, OSError, and ImportError without librosa; an
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
    studio_import("librosa")
    decoder_of(model)
    tasks = [(at, points[at : at + BATCH], iterations) for at in range(0, len(points), BATCH)]
    key = hashlib.sha256(repr((VERSION, steps, iterations, BATCH)).encode() + model).digest()
    parts = FinishedParts(path, key)
    finished = False
    try:
        done = 0
        for number, _ in completed(
            parts, len(tasks), lambda first: distribute(_batch, model, tasks[first:], scheduler)
        ):
            done += len(tasks[number][1])
            if progress:
                progress(2 * done, 2 * len(points))
        write(
            path,
            name=name,
            waveforms=_waveforms(parts, points),
            interleaved=steps,
            comment=f"Griffin-Lim, {iterations} iterations",
        )
        finished = True
    finally:
        parts.close(finished=finished)


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
    begin = (2 * (number % BATCH) + side) * 4 * TAPS
    return parts.read(number // BATCH)[begin : begin + 4 * TAPS]


def _batch(model: bytes, task: tuple[int, list[Point], int]) -> bytes:
    """Left and right at some grid points: float32 waveforms one after the other."""
    first, points, iterations = task
    decoder = decoder_of(model)
    pictures, seeds = [], []
    for number, point in enumerate(points, first):
        chance = np.random.default_rng([1, number])
        left = np.array(point)
        right = left + chance.normal(0.0, RIGHT_SPREAD, 3)
        seeds += [int(seed) for seed in chance.integers(0, 2**31, 2)]
        pictures += [decoder.played_picture(latent.tolist()) for latent in (left, right)]
    sounds = griffin_lims(np.stack(pictures), decoder.description.db_range, iterations, seeds)
    return np.ascontiguousarray(sounds, "<f4").tobytes()


def griffin_lim(picture: Floats, db_range: float, iterations: int, seed: int) -> Floats:
    """A waveform whose spectrogram is close to `picture` (513, 128); see `griffin_lims`."""
    sound: Floats = griffin_lims(picture[None], db_range, iterations, [seed])[0]
    return sound


def griffin_lims(pictures: Floats, db_range: float, iterations: int, seeds: list[int]) -> Floats:
    """Waveforms whose spectrograms are close to `pictures`: float32 (pictures, TAPS), each with a
    peak of FAITHFUL_PEAK.

    `pictures`: (n, 513, 128), 0 .. 1; `seeds`: one for each. All together take less time than one
    after the other, and give the same. D. W. Griffin, J. S. Lim, Signal estimation from modified
    short-time Fourier transform, 1984; without momentum, which came later.
    """
    librosa = studio_import("librosa")

    class EachItsOwn(np.random.RandomState):
        """Random phases for all spectrograms: those that each has alone."""

        def random(self, size: tuple[int, ...]) -> NDArray[np.float64]:  # type: ignore[override]
            return np.stack([np.random.RandomState(seed).random(size[1:]) for seed in seeds])

    magnitude = 10.0 ** ((pictures.astype(np.float64) - 1.0) * db_range / 20.0)
    magnitude = magnitude.astype(np.float32)
    sounds = librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        hop_length=reference.HOP,
        n_fft=reference.WINDOW,
        momentum=0.0,
        init="random",
        random_state=EachItsOwn(),
        length=TAPS,
        pad_mode="reflect",
    )
    peaks = np.maximum(np.abs(sounds).max(axis=1, keepdims=True), 1e-20)
    return np.asarray(sounds * (FAITHFUL_PEAK / peaks), np.float32)
