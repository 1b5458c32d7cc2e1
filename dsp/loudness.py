"""The loudness of rooms: that of a guitar in them (ITU-R BS.1770), relative to the dry guitar.

A room's energy in the treble counts little, because a guitar has little there: with pink noise as
the measure, bright rooms were 5 LU softer than dark ones. NumPy only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import EnergyMap, Grid
from dsp.errors import InvalidValue

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

ROOM_LOUDNESS = 10 ** (-4 / 10)
"""Loudness of all rooms: 4 dB below the dry guitar."""
PEAK_BOUND = 0.9
"""Largest sample of an IR."""
GUITAR_HZ = (40, 63, 80, 125, 200, 315, 500, 1000, 4000, 6300, 8000, 10000, 12500, 20000)
GUITAR_DB = (-45, -38, -22, -20, -13, -8, -6, -2, -4, -11, -15, -24, -35, -50)
"""Long-term spectrum of a guitar, that of the phrase of `nverb demo`: level in equal parts of an
octave."""
CENTRE_S, SPREAD = 0.1, 0.15
"""A long room spreads its energy over pauses, where BS.1770 counts it less: 1.5 dB for ten times
the centre time (ISO 3382-1)."""
EARLY_S = 0.15
"""Reflections come before."""


def k_weighting_db(hz: Doubles) -> Doubles:
    """Gain of the two filters of BS.1770: a shelf of 4 dB for the head, and a high-pass."""
    s = 2j * np.pi * np.maximum(hz, 1e-3)
    shelf_hz, shelf_q, gain = 1681.97, 0.7072, 10 ** (4.0 / 20)
    w = 2 * np.pi * shelf_hz
    band = gain**0.4997
    shelf = (gain * s * s + band * s * w / shelf_q + w * w) / (s * s + s * w / shelf_q + w * w)
    w = 2 * np.pi * 38.135
    high_pass = s * s / (s * s + s * w / 0.5003 + w * w)
    return np.asarray(20 * np.log10(np.abs(shelf * high_pass)))


def _density(hz: Doubles) -> Doubles:
    """The K-weighted guitar's power per Hz, of any unit."""
    level = np.interp(np.log(np.maximum(hz, 1.0)), np.log(GUITAR_HZ), GUITAR_DB)
    return np.asarray(10 ** ((level + k_weighting_db(hz)) / 10) / np.maximum(hz, 1.0))


@lru_cache(maxsize=8)
def _band_weights(grid: Grid, rate_hz: int) -> Doubles:
    """What a unit of an IR's energy in each band adds to its loudness."""
    width = np.diff(grid.edge_hz)
    share = _density(grid.centre_hz) * width
    return np.asarray(share / share.sum() * rate_hz / (2 * width))


def of_map(room: EnergyMap, rate_hz: int, ir: Floats | None = None) -> float:
    """The loudness of a map's IR at the map's own level. `ir`: the IR (channels, taps), if the room
    has reflections: few of them interfere, and what is heard is not what the map says."""
    top = float(room.level_db.max())
    weights = _band_weights(room.grid, rate_hz)
    power = np.exp2((room.level_db - top) * np.float32(np.log2(10) / 10))
    frames = np.einsum("b,bf->f", weights.astype(np.float32), power) * room.grid.frame_s
    direct = 0.0
    if room.direct_db is not None:
        direct = float(weights @ 10 ** ((room.direct_db.astype(np.float64) - top) / 10))
    total = float(frames.sum()) + direct
    spread = _spread(float(frames @ room.grid.frame_centre_s) / total)
    if ir is not None:
        early = int(np.count_nonzero(room.grid.frame_edge_s[1:] < EARLY_S))
        begin = ir[:, : round(float(room.grid.frame_edge_s[early]) * rate_hz)]
        total += (
            _weighted(begin, rate_hz) * 10 ** (-top / 10) - float(frames[:early].sum()) - direct
        )
    return total * spread * 10 ** (top / 10)


def _spread(centre_s: float) -> float:
    return float((max(centre_s, 0.001) / CENTRE_S) ** -SPREAD)


@lru_cache(maxsize=4)
def _bin_weights(frames: int, rate_hz: int) -> Floats:
    hz = np.fft.rfftfreq(frames, 1 / rate_hz).astype(np.float64)
    weights = _density(hz) * (hz > 20)
    return np.asarray(weights / weights.sum(), np.float32)


def of_samples(ir: Floats, rate_hz: int) -> float:
    """The loudness of an IR (channels, taps), mean of its outputs. A four-channel IR has two paths
    to each output."""
    energy = np.einsum("ct,ct->t", ir, ir, dtype=np.float64)
    at_s = np.arange(len(energy)) / rate_hz
    return _weighted(ir, rate_hz) * _spread(float(energy @ at_s) / max(float(energy.sum()), 1e-30))


def _weighted(ir: Floats, rate_hz: int) -> float:
    """The energy of a guitar in an IR, K-weighted."""
    frames = 1 << max(ir.shape[1] - 1, 1023).bit_length()
    spectrum = np.fft.rfft(ir, frames)
    power = spectrum.real**2 + spectrum.imag**2
    return float(np.einsum("cf,f->", power, _bin_weights(frames, rate_hz))) / min(len(ir), 2)


def normalise(ir: Floats, rate_hz: int, loudness: float | None = None) -> Floats:
    """The IR (channels, taps) at ROOM_LOUDNESS, no sample above PEAK_BOUND. `loudness`: its own, if
    it is known.

    Raises InvalidValue for an IR without energy.
    """
    peak = float(np.abs(ir).max(initial=0.0))
    if not peak > 0:
        raise InvalidValue("the IR is silent: it has no energy to normalise")
    own = of_samples(ir, rate_hz) if loudness is None else loudness
    gain = min(np.sqrt(ROOM_LOUDNESS / max(own, 1e-30)), PEAK_BOUND / peak)
    return np.ascontiguousarray(ir * np.float32(gain), np.float32)
