"""The plug-in's decoder: the meaning of its output. `models.plugin` imports its HDF5 file.

Output v (513 frequency bins x 128 frames, about 0 .. 1) -> dB = (v - 1) * range, the magnitude of a
16 kHz IR's STFT: window 1024, hop 256, centred. The plug-in uses a range of 120; its network was
trained on spectrograms with 80.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import FLOOR_DB, EnergyMap, Grid

BINS, FRAMES = 513, 128
RATE_HZ, WINDOW, HOP = 16_000, 1024, 256
DB_RANGES = (120.0, 80.0)
SPECTROGRAM_DB = 80.0

GRID = Grid(
    bands=64,
    frames=FRAMES,
    lowest_hz=40.0,
    highest_hz=7600.0,
    first_frame_s=HOP / RATE_HZ,
    duration_s=FRAMES * HOP / RATE_HZ,
)
"""Frames as long as the plug-in's hop; bands up to 8 kHz, the Nyquist frequency of its rooms."""

BLIP_BINS, BLIP_FRAMES = slice(128, 157), slice(94, 109)
"""A patch where the trained network is too bright at many points of its cube."""

BLIP_DB = 3.0
"""A cell of the patch is repaired if it exceeds the expected level by more than this."""


@lru_cache(maxsize=1)
def _band_matrix() -> NDArray[np.float32]:
    """The share of each bin in each band, (bands, bins), by overlap in Hz.

    Each bin between the outer edges has a total of 1.
    """
    bin_hz = RATE_HZ / WINDOW
    low, high = GRID.edge_hz[:-1, None], GRID.edge_hz[1:, None]
    centre = np.arange(BINS) * bin_hz
    overlap = np.minimum(high, centre + bin_hz / 2) - np.maximum(low, centre - bin_hz / 2)
    return np.asarray(np.clip(overlap / bin_hz, 0.0, None), np.float32)


def spectrogram(ir: NDArray[np.float32]) -> NDArray[np.float32]:
    """The input of the plug-in's encoder, (513, 128) in 0 .. 1, of a mono IR at 16 kHz.

    The IR is cut or zero-padded to 2.032 s. Magnitudes of the centred STFT in dB, from the loudest
    down to 80 dB below it, scaled to 0 .. 1.
    """
    taps = (FRAMES - 1) * HOP
    padded = np.pad(ir[:taps].astype(np.float64), (0, max(0, taps - len(ir))))
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * window, axis=1).T) ** 2
    db = 10.0 * np.log10(np.maximum(power, 1e-10))
    db = np.maximum(db, db.max() - SPECTROGRAM_DB)
    return np.asarray((db - db.min()) / max(db.max() - db.min(), 1e-9), np.float32)


def repair(values: NDArray[np.float32], db_range: float) -> NDArray[np.float32]:
    """A copy of the decoder's output without the blip.

    Cells of the patch that exceed the expected level are set to it: a line, for each bin, from the
    mean of the 6 frames before the patch to that of the 6 frames after it.
    """
    before = values[BLIP_BINS, BLIP_FRAMES.start - 6 : BLIP_FRAMES.start].mean(
        axis=1, keepdims=True
    )
    after = values[BLIP_BINS, BLIP_FRAMES.stop : BLIP_FRAMES.stop + 6].mean(axis=1, keepdims=True)
    along = np.linspace(0.0, 1.0, BLIP_FRAMES.stop - BLIP_FRAMES.start, dtype=np.float32)
    expected = before + (after - before) * along
    patch = values[BLIP_BINS, BLIP_FRAMES]
    repaired = values.copy()
    repaired[BLIP_BINS, BLIP_FRAMES] = np.where(
        patch > expected + BLIP_DB / db_range, expected, patch
    )
    return repaired


def magnitude_db(values: NDArray[np.float32], db_range: float) -> NDArray[np.float32]:
    """STFT magnitudes in dB, (513, 128), from the decoder's output, clipped to 0 .. 1."""
    return np.asarray((np.clip(values, 0.0, 1.0) - 1.0) * db_range, np.float32)


def energy_map(
    values: NDArray[np.float32], db_range: float = DB_RANGES[0], repaired: bool = True
) -> EnergyMap:
    """The decoder's output (513, 128) as a room on `GRID`: 0 .. 8 kHz, about 2 s, no direct
    sound.
    """
    if repaired:
        values = repair(values, db_range)
    power = 10.0 ** (magnitude_db(values, db_range) / 10.0)
    level_db = 10.0 * np.log10(np.maximum(_band_matrix() @ power, 1e-30))
    return EnergyMap(np.maximum(level_db, level_db.max() + FLOOR_DB).astype(np.float32), GRID)
