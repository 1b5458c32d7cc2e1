"""A waveform for a spectrogram without phases: D. W. Griffin, J. S. Lim, Signal estimation from
modified short-time Fourier transform, 1984; without momentum, which came later.

The same as librosa's `griffinlim` with the same seed, in a third of its time: spectra lie in memory
as SciPy transforms them, frame by frame. Desktop only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.synthesis import FAITHFUL_PEAK
from models.packages import studio_import
from models.reference import BINS, FRAMES, HOP, WINDOW

Floats = NDArray[np.float32]

TAPS = (FRAMES - 1) * HOP
"""32 512 samples, 2.032 s."""
HOPS = WINDOW // HOP
"""Hops in a window: each sample is in so many frames."""
EDGE = WINDOW // 2
"""The first frame is centred on the first sample."""


def griffin_lim(picture: Floats, db_range: float, iterations: int, seed: int) -> Floats:
    """A waveform whose spectrogram is close to `picture` (513, 128), 0 .. 1: float32 (TAPS,) with a
    peak of FAITHFUL_PEAK. `seed`: of its first phases, as for librosa. Raises ImportError.
    """
    fft = studio_import("scipy.fft")
    window, _ = _window()
    level = 10.0 ** ((picture.T.astype(np.float64) - 1.0) * db_range / 20.0)
    wanted = np.ascontiguousarray(level, np.float32)
    phases = np.random.RandomState(seed).random((BINS, FRAMES)).T
    spectra = (wanted * np.exp(2j * np.pi * phases)).astype(np.complex64)
    frames = np.empty((FRAMES, HOPS, HOP), np.float32)
    for _ in range(iterations):
        padded = np.pad(_sound(fft, spectra), EDGE, mode="reflect").reshape(-1, HOP)
        for hop in range(HOPS):
            np.multiply(padded[hop : hop + FRAMES], window[hop], out=frames[:, hop])
        spectra = fft.rfft(frames.reshape(FRAMES, WINDOW))
        spectra *= wanted / (np.abs(spectra) + np.finfo(np.float32).tiny)
    sound = _sound(fft, spectra)
    return np.asarray(sound * (FAITHFUL_PEAK / max(float(np.abs(sound).max()), 1e-20)), np.float32)


@lru_cache(maxsize=1)
def _window() -> tuple[Floats, Floats]:
    """Hann's window, one row a hop; and what divides the sum of the frames at each sample."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)
    rows = window.reshape(HOPS, HOP)
    total = np.zeros((FRAMES + HOPS - 1, HOP))
    for hop in range(HOPS):
        total[hop : hop + FRAMES] += rows[hop] ** 2
    inside = total.ravel()[EDGE : EDGE + TAPS]
    return rows.astype(np.float32), (1.0 / inside).astype(np.float32)


def _sound(fft: Any, spectra: NDArray[np.complex64]) -> Floats:
    """The waveform whose frames are nearest to `spectra` (frames, bins)."""
    rows, weight = _window()
    frames = fft.irfft(spectra, WINDOW).reshape(FRAMES, HOPS, HOP)
    frames *= rows
    total = np.zeros((FRAMES + HOPS - 1, HOP), np.float32)
    for hop in range(HOPS):
        total[hop : hop + FRAMES] += frames[:, hop]
    return np.asarray(total.ravel()[EDGE : EDGE + TAPS] * weight)
