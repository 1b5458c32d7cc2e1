"""The plug-in's own bank: waveforms at 16 kHz, phases by the Griffin-Lim iteration, a stereo pair
at each point of the grid.

Left and right are interleaved: waveform 2 * (steps ** 2 * x + steps * y + z) is the left channel at
grid point (x, y, z), the next one the right channel. The right channel is made from the left one's
latent plus N(0, 0.01) in each dimension, and starts from other random phases. Ten steps give the
plug-in's 2000 waveforms. `bank.stepped` plays them. Desktop only: librosa.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.build import Progress, decoder_of, grid_points
from bank.cluster import distribute
from bank.format import BankError, Point, Waveform, write
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

    `model`: the bytes of the model file. Takes 3.5 s of one core for each waveform at 1000
    iterations. The same model and arguments give the same waveforms.

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
    require_space(path, 2 * len(points) * 4 * TAPS)
    studio_import("librosa")
    decoder_of(model)
    tasks = [(number, point, iterations) for number, point in enumerate(points)]
    waveforms = []
    for number, pair in enumerate(distribute(_pair, model, tasks, scheduler)):
        for side, samples in zip("LR", pair, strict=True):
            waveforms.append(
                Waveform(f"{number:04d}{side}", reference.RATE_HZ, points[number], samples[None])
            )
        if progress:
            progress(len(waveforms), 2 * len(points))
    write(
        path,
        name=name,
        waveforms=waveforms,
        interleaved=steps,
        comment=f"Griffin-Lim, {iterations} iterations",
    )


def _pair(model: bytes, task: tuple[int, Point, int]) -> tuple[Floats, Floats]:
    number, point, iterations = task
    chance = np.random.default_rng([1, number])
    decoder = decoder_of(model)
    left = np.array(point)
    right = left + chance.normal(0.0, RIGHT_SPREAD, 3)
    seeds = chance.integers(0, 2**31, 2)
    first, second = (
        griffin_lim(
            decoder.played_picture(latent.tolist()),
            decoder.description.db_range,
            iterations,
            int(seed),
        )
        for latent, seed in zip((left, right), seeds, strict=True)
    )
    return first, second


def griffin_lim(picture: Floats, db_range: float, iterations: int, seed: int) -> Floats:
    """A waveform whose spectrogram is close to `picture`: float32 (TAPS,), peak FAITHFUL_PEAK.

    `picture`: (513, 128), 0 .. 1. D. W. Griffin, J. S. Lim, Signal estimation from modified
    short-time Fourier transform, 1984; without momentum, which came later.
    """
    librosa = studio_import("librosa")
    magnitude = 10.0 ** ((picture.astype(np.float64) - 1.0) * db_range / 20.0)
    sound = librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        hop_length=reference.HOP,
        n_fft=reference.WINDOW,
        momentum=0.0,
        init="random",
        random_state=seed,
        length=TAPS,
        pad_mode="reflect",
    )
    return np.asarray(sound * (FAITHFUL_PEAK / max(float(np.abs(sound).max()), 1e-20)), np.float32)
