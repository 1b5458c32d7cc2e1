"""Facts of a recording that are not its room: where it ends, its DC offset and its rumble. NumPy
only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number

Floats = NDArray[np.float32]

SILENT_DB = -120.0
"""A recording ends where what is left of its energy is below this."""
SHORT_S = 0.1
"""A recording shorter than this is a cabinet or a filter: it has no decay to continue."""
GATED_DB, CUT_DB = -25.0, -40.0
"""A recording that ends above GATED_DB of its loudest part was gated; one that ends above CUT_DB
while it falls was cut."""
FALL_DB = 1.5
"""Over a fifth of the recording. What falls less at the end is a noise floor."""
OFFSET_PARTS = 8
RUMBLE_HZ = (12.0, 20.0)
"""Below the first it is inaudible rumble, above the second it is sound."""
RUMBLE_S = 0.5
"""A shorter recording shows no rumble."""


@dataclass(frozen=True)
class Ending:
    """`end`: the sample after the last audible one. `hard`: the recording stops there, its decay
    does not go on."""

    end: int
    hard: bool


def ending_of(samples: Floats, rate_hz: int, onset: int) -> Ending:
    """How a recording (channels, taps) without DC offset ends."""
    energy = np.einsum("ct,ct->t", samples, samples, dtype=np.float64)
    left = np.cumsum(energy[::-1])[::-1]
    end = max(int(np.count_nonzero(left > left[0] * 10 ** (SILENT_DB / 10))), 1)
    sound = energy[min(onset, end - 1) : end]
    if len(sound) < SHORT_S * rate_hz:
        return Ending(end, True)
    parts = np.add.reduceat(sound, np.arange(20) * len(sound) // 20)
    level = 10 * np.log10(np.maximum(parts / parts.max(), 1e-30))
    falls = level[-8:-4].mean() - level[-4:].mean() > FALL_DB
    return Ending(end, bool(level[-2:].mean() > (CUT_DB if falls else GATED_DB)))


def offset_of(samples: Floats) -> Floats:
    """The DC offset of each channel, float32 (channels, 1); 0 where there is none.

    An offset is as large in each part of the last half of the recording as in its mean, within a
    quarter; the sum of a filter's own samples is not.
    """
    half = samples[:, samples.shape[1] // 2 :].astype(np.float64)
    if half.shape[1] < 64 * OFFSET_PARTS:
        return np.zeros((len(samples), 1), np.float32)
    edges = np.arange(OFFSET_PARTS) * half.shape[1] // OFFSET_PARTS
    sizes = np.diff(np.append(edges, half.shape[1]))
    means = np.add.reduceat(half, edges, axis=1) / sizes
    mean = half.mean(axis=1, keepdims=True)
    steady = (np.abs(means - mean) <= 0.25 * np.abs(mean)).all(axis=1, keepdims=True)
    return np.where(steady, mean, 0).astype(np.float32)


def subsonic_of(samples: Floats, rate_hz: int) -> Floats:
    """The part of each channel that is no sound: its offset and what is below RUMBLE_HZ, float32
    (channels, taps), or (channels, 1) for a short recording.

    Ventilation, wind and drift do not decay, and would be taken for a room that never ends.
    """
    offset = offset_of(samples)
    taps = samples.shape[1]
    if taps < RUMBLE_S * rate_hz:
        return offset
    pad = int(RUMBLE_S / 2 * rate_hz)
    # Mirrored ends: a sudden end of a low tone is not low.
    mirrored = np.pad(samples - offset, ((0, 0), (pad, pad)), mode="reflect")
    size = smooth_number(mirrored.shape[1], even=True)
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    low, high = RUMBLE_HZ
    used = int(np.searchsorted(hz, high))
    spectrum = np.fft.rfft(mirrored, size)
    spectrum[:, used:] = 0
    share = np.clip((high - hz[:used]) / (high - low), 0, 1)
    spectrum[:, :used] *= np.sin(np.pi / 2 * share) ** 2
    rumble = np.fft.irfft(spectrum, size)[:, pad : pad + taps]
    return (offset + rumble).astype(np.float32)
