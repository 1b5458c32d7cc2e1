"""Flat carriers: noise with unit energy in each band and time interval, so that the synthesis has
the exact energy of each cell of the map.

A carrier of unit magnitude is flat by itself, but neighbouring carriers overlap its band and the
two channels of a stereo IR correlate by chance, so the sums fluctuate. `flatten` removes these
fluctuations, once, when the carriers are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
BLUR_S, BLUR_SAMPLES = 0.05, 4
"""Energies are equalised over this half-width, but at least over this many samples of a band: finer
structure is inherent in the band."""
UNIT, UNIT_S = 0.5, 0.1
"""Near the start, with this time constant, single samples are pulled towards unit magnitude: a
short room has only a few samples of each low band."""
UNIT_UNTIL_S = 18 * UNIT_S
"""Beyond this time the effect is below float32 resolution."""


@dataclass(frozen=True)
class Carrier:
    """A band's part of a spectrum: the transform of `samples`, complex64 (channels, n), times
    `window` (n,), from bin `first` on."""

    first: int
    window: NDArray[np.float64]
    samples: NDArray[np.complex64]


def flatten(carriers: Sequence[Carrier], bins: int, seconds: float, kept_s: float = 0.0) -> None:
    """Changes the samples in place until each band of the sum of all carriers has constant energy
    per second in both channels, and the channels of a band are uncorrelated. `seconds`: duration of
    the samples; those before `kept_s` do not change. Takes about 0.1 s for 4 s of carriers."""
    blurs = [_blur(carrier.samples.shape[1], seconds) for carrier in carriers]
    windows = [
        (carrier.window / np.sqrt(len(carrier.window))).astype(np.float32) for carrier in carriers
    ]
    backs = [
        (carrier.window * np.sqrt(len(carrier.window))).astype(np.float32) for carrier in carriers
    ]
    # The windows are power-complementary: through a band's window the sum of all bands has the
    # power window ** 2, not window ** 4.
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
    """Squared magnitudes, without the square root of `abs`."""
    return np.asarray(values.real**2 + values.imag**2)


def _drawn(size: int, seconds: float) -> NDArray[np.float32]:
    """Exponent of the squared magnitude that pulls each of a band's first samples towards 1."""
    step_s = seconds / size
    at_s = np.arange(min(size, int(UNIT_UNTIL_S / step_s) + 1)) * step_s
    return np.asarray(-UNIT / 2 * np.exp(-at_s / UNIT_S), np.float32)


def _blur(size: int, seconds: float) -> NDArray[np.float32]:
    """Transform of a raised cosine of unit sum, half-width BLUR_S (or BLUR_SAMPLES), centred on 0,
    for `size` circular samples."""
    half = min(max(BLUR_SAMPLES, BLUR_S * size / seconds), size / 2)
    away = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.where(away < half, 0.5 + 0.5 * np.cos(np.pi * np.minimum(away / half, 1.0)), 0.0)
    return np.asarray(np.fft.rfft(kernel / kernel.sum()).real, np.float32)


def _blurred(values: NDArray[np.float32], blur: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.fft.irfft(np.fft.rfft(values, axis=-1) * blur, values.shape[-1], axis=-1))
