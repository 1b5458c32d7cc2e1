"""Carriers made flat: noise whose energy in each band and stretch of time is one, so that a map's cells come out as they are asked for.

A carrier of unit magnitude is flat by itself, but its neighbours reach into its band, and the two channels of a stereo IR into each
other: their sums are louder here and softer there, by chance. `flatten` takes the chance out, once, when the carriers are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
BLUR_S, BLUR_SAMPLES = 0.05, 4
"""Energies are evened out over this half-width, and no finer than this many samples of a band: what is finer is the band's own."""
UNIT, UNIT_S = 0.5, 0.1
"""Near the start, for UNIT_S, single samples are drawn back towards unit magnitude: a short room has but a few of each low band."""
UNIT_UNTIL_S = 18 * UNIT_S
"""After that it is less than a float32 shows."""


@dataclass(frozen=True)
class Carrier:
    """A band's part in a spectrum: `samples` complex64 (channels, n), transformed, times `window` (n,), from bin `first` on."""

    first: int
    window: NDArray[np.float64]
    samples: NDArray[np.complex64]


def flatten(carriers: Sequence[Carrier], bins: int, seconds: float, kept_s: float = 0.0) -> None:
    """Changes the samples in place until each band of the sum of all has the same energy per second everywhere, in either channel, and
    the two channels of a band nothing in common. `seconds`: what the samples cover; those before `kept_s` stay as they are.
    About 0.1 s of work for 4 s of carriers."""
    blurs = [_blur(carrier.samples.shape[1], seconds) for carrier in carriers]
    windows = [
        (carrier.window / np.sqrt(len(carrier.window))).astype(np.float32) for carrier in carriers
    ]
    backs = [
        (carrier.window * np.sqrt(len(carrier.window))).astype(np.float32) for carrier in carriers
    ]
    # Windows are power-complementary: what a band's window lets through of all bands has the power window ** 2, not window ** 4.
    wanted = [float(np.sum(carrier.window**2)) / len(carrier.window) for carrier in carriers]
    drawn = [_drawn(carrier.samples.shape[1], seconds) for carrier in carriers]
    for _ in range(ROUNDS):
        spectrum = np.zeros((carriers[0].samples.shape[0], bins), np.complex64)
        for carrier, window in zip(carriers, windows, strict=True):
            size = carrier.samples.shape[1]
            spectrum[:, carrier.first : carrier.first + size] += (
                np.fft.fft(carrier.samples, axis=1) * window
            )
        for carrier, back, blur, want, draw in zip(
            carriers, backs, blurs, wanted, drawn, strict=True
        ):
            size = carrier.samples.shape[1]
            kept = carrier.samples[:, : int(size * kept_s / seconds)].copy()
            heard = np.fft.ifft(spectrum[:, carrier.first : carrier.first + size] * back, axis=1)
            energy = np.maximum(_blurred(_square(heard), blur), 1e-3 * want)
            if len(heard) == 2:
                common = _blurred((heard[0] * heard[1].conj()).real, blur) / energy[0]
                carrier.samples[1] -= (0.7 * common * carrier.samples[0]).astype(np.complex64)
            carrier.samples[:] *= np.clip(np.sqrt(want / energy), 0.5, 2.0).astype(np.float32)
            near = carrier.samples[:, : len(draw)]
            near *= np.maximum(_square(near), 0.01) ** draw
            carrier.samples[:, : kept.shape[1]] = kept


def _square(values: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    """Square magnitudes, without the root that `abs` takes."""
    return np.asarray(values.real**2 + values.imag**2)


def _drawn(size: int, seconds: float) -> NDArray[np.float32]:
    """The power of the square magnitude that draws each of a band's first samples towards 1."""
    step_s = seconds / size
    at_s = np.arange(min(size, int(UNIT_UNTIL_S / step_s) + 1)) * step_s
    return np.asarray(-UNIT / 2 * np.exp(-at_s / UNIT_S), np.float32)


def _blur(size: int, seconds: float) -> NDArray[np.float32]:
    """Transform of a raised cosine of BLUR_S (or BLUR_SAMPLES) around 0, of unit sum, for `size` samples in a circle."""
    half = min(max(BLUR_SAMPLES, BLUR_S * size / seconds), size / 2)
    away = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.where(away < half, 0.5 + 0.5 * np.cos(np.pi * np.minimum(away / half, 1.0)), 0.0)
    return np.asarray(np.fft.rfft(kernel / kernel.sum()).real, np.float32)


def _blurred(values: NDArray[np.float32], blur: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.fft.irfft(np.fft.rfft(values, axis=-1) * blur, values.shape[-1], axis=-1))
