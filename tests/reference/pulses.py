"""The single reflections of rooms as sound, in NumPy: dsp/pulses.c has to make the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import EnergyMap, Grid
from dsp.pulses import MOST, REACH_S, WINDOW_S, nearness, reflected, spectrum_of
from dsp.taps import Taps

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

DEEPEST_DB = 80.0
"""How far below its highest level the spectrum of a pulse may be."""
LARGEST_GAIN = 2.0
"""Of a pulse that the noise cancels."""


def split(level_db: Floats, grid: Grid, taps: Taps) -> tuple[Floats, Floats]:
    """The levels (bands, frames) without what the taps take, and the energy of each tap (taps,
    bands) in dB as that of a direct sound. Together they have the energy of the map, if no share is
    above 1."""
    frames = _frames(grid, taps)
    near = nearness(taps, grid)[:, :frames]
    octaves = np.log2(grid.centre_hz / 1000).astype(np.float32)
    tilt = np.exp2(taps.tilt_db[:, None] * octaves * np.float32(np.log2(10) / 10))
    share = np.abs(taps.share)[:, None] * tilt * reflected(grid)
    own = np.minimum(share, np.float32(MOST))
    top = np.float32(level_db.max())
    power = np.exp2((level_db[:, :frames] - top) * np.float32(np.log2(10) / 10))
    wanted = np.einsum("nb,nf->bf", own, near)
    taken = np.minimum(np.float32(MOST) / np.maximum(wanted, 1e-9), 1)
    energy = np.einsum("bf,nf->nb", power * taken * grid.frame_s[:frames].astype(np.float32), near)
    energy *= np.where(np.abs(taps.share)[:, None] > 1, share, own)
    left = level_db.astype(np.float32, copy=True)
    left[:, :frames] += 10 * np.log10(1 - wanted * taken)
    return left, 10 * np.log10(np.maximum(energy, 1e-30)) + top


def _frames(grid: Grid, taps: Taps) -> int:
    """Number of frames up to the last tap."""
    last = int(np.searchsorted(grid.frame_centre_s, float(taps.time_s.max()) + REACH_S)) + 1
    return min(max(last, 2), grid.frames)


def pulses(energy_db: Floats, grid: Grid, rate_hz: int) -> Floats:
    """Minimum-phase pulses (pulses, samples) with these energies (pulses, bands): Oppenheim &
    Schafer, cepstral method."""
    size, node, share, density_db, fade = spectrum_of(grid, rate_hz)
    level = energy_db - density_db
    level = level[:, node] + share * (level[:, node + 1] - level[:, node])
    level = np.maximum(level, level.max(axis=1, keepdims=True) - DEEPEST_DB)
    cepstrum = np.fft.irfft(level * np.float32(np.log(10) / 20), size)
    cepstrum[:, 1 : size // 2] *= 2
    cepstrum[:, size // 2 + 1 :] = 0
    pulse = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:, : size // 2]
    return np.asarray(pulse * fade, np.float32)


def add(ir: Floats, noise: EnergyMap, energy_db: Floats, width: float, rate_hz: int) -> None:
    """Add the taps of a room to its noise `ir` (2, samples). `noise`: the room with the levels that
    `split` left; `energy_db`: what it gave the taps.

    The noise is random around a pulse, too, and may cancel it. So a pulse has the strength with
    which the millisecond around it has the energy that both should have.
    """
    assert noise.taps is not None
    taps = noise.taps
    pulse = pulses(energy_db, noise.grid, rate_hz) * np.sign(taps.share)[:, None]
    angle = np.pi / 4 * (1 + np.clip(taps.side * abs(width), -1, 1))
    sides = np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    begin = np.rint(taps.time_s * rate_hz).astype(np.intp)
    gain = _gains(ir, pulse, begin, sides, _mean_square(noise, rate_hz), rate_hz)
    for at, sound, pan in zip(begin, pulse * gain[:, None], sides.T, strict=True):
        part = ir[:, at : at + len(sound)]
        part += pan[:, None] * sound[: part.shape[1]]


def _mean_square(noise: EnergyMap, rate_hz: int) -> Doubles:
    """Of the noise at each tap, (taps,)."""
    assert noise.taps is not None
    frames = _frames(noise.grid, noise.taps)
    bands = int(np.count_nonzero(noise.grid.centre_hz <= 0.49 * rate_hz))
    heard = noise.level_db[:bands, :frames]
    top = float(heard.max())
    power = np.exp2((heard - top) * np.float32(np.log2(10) / 10)).sum(axis=0)
    at = noise.grid.frame_centre_s[:frames]
    return np.asarray(np.interp(noise.taps.time_s, at, power) * (10 ** (top / 10) / rate_hz))


def _gains(
    ir: Floats, pulse: Floats, begin: NDArray[np.intp], sides: Floats, square: Doubles, rate_hz: int
) -> Floats:
    """What each pulse is multiplied by."""
    size = int(WINDOW_S * rate_hz)
    window = np.hanning(size + 2)[1:-1].astype(np.float32)
    ahead = size // 2 - size // 12  # a minimum-phase pulse comes after its beginning
    at = begin[:, None] - ahead + np.arange(size)
    inside = (at >= 0) & (at < ir.shape[1])
    around = ir[:, np.clip(at, 0, ir.shape[1] - 1)] * inside
    own = np.zeros_like(around[0])
    own[:, ahead:] = pulse[:, : size - ahead]
    energy = np.einsum("nt,nt,t->n", own, own, window)
    there = np.einsum("cnt,cnt,t->n", around, around, window) / 2
    both = np.einsum("cnt,nt,cn,t->n", around, own, sides, window) / 2
    missing = square * window.sum() + energy - there
    root = np.sqrt(np.maximum(both**2 + energy * missing, 0))
    gain = (root - both) / np.maximum(energy, 1e-30)
    return np.asarray(np.clip(gain, 0, LARGEST_GAIN), np.float32)
