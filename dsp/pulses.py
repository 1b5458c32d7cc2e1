"""Taps (`dsp.taps`) as sound: pulses whose energy comes from the noise around.

The work is in C (pulses.c); tests/reference/pulses.py states it in NumPy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsp import _engine
from dsp.bands import smooth_number
from dsp.energymap import EnergyMap, Grid, hz_to_erb
from dsp.taps import Taps

Floats = NDArray[np.float32]

LOW_HZ = 400.0
"""A tap has no energy below: the map's bands ring for longer than reflections are apart."""
REACH_S = 0.003
"""A tap takes energy from this far to both sides."""
MOST = 0.95
"""Of a cell's energy, by all taps."""
PULSE_S = 0.01
"""A pulse lasts so long."""
WINDOW_S = 0.001
"""An ear hears the energy of about this time as one."""


def split(level_db: Floats, grid: Grid, taps: Taps, rate_hz: int) -> tuple[Floats, Floats]:
    """The levels (bands, frames) without what the taps take, and the energy of each tap (taps,
    bands) in dB as that of a direct sound. Together they have the energy of the map, if no share is
    above 1."""
    level_db = np.ascontiguousarray(level_db, np.float32)
    left, energy_db = np.empty_like(level_db), np.empty((len(taps), grid.bands), np.float32)
    _pulses(grid, rate_hz).split(fields_of(taps), level_db, left, energy_db)
    return left, energy_db


def pulses(energy_db: Floats, grid: Grid, rate_hz: int) -> Floats:
    """Minimum-phase pulses (pulses, samples) with these energies (pulses, bands)."""
    made = _pulses(grid, rate_hz)
    result = np.empty((len(energy_db), len(spectrum_of(grid, rate_hz).fade)), np.float32)
    made.make(np.ascontiguousarray(energy_db, np.float32), result)
    return result


def add(ir: Floats, noise: EnergyMap, energy_db: Floats, width: float, rate_hz: int) -> None:
    """Add the taps of a room to its noise `ir` (2, samples). `noise`: the room with the levels that
    `split` left; `energy_db`: what it gave the taps.

    The noise is random around a pulse, too, and may cancel it. So a pulse has the strength with
    which the millisecond around it has the energy that both should have.
    """
    assert noise.taps is not None
    _pulses(noise.grid, rate_hz).add(fields_of(noise.taps), noise.level_db, energy_db, width, ir)


def fields_of(taps: Taps) -> Floats:
    """(4, taps), as `_engine.Pulses` takes them."""
    return np.array([taps.time_s, taps.share, taps.side, taps.tilt_db], np.float32)


@lru_cache(maxsize=4)
def _pulses(grid: Grid, rate_hz: int) -> _engine.Pulses:
    return _engine.Pulses(rate_hz, bands_heard(grid, rate_hz), *tables_of(grid, rate_hz))


def bands_heard(grid: Grid, rate_hz: int) -> int:
    """The number of bands below half of the rate."""
    return int(np.count_nonzero(grid.centre_hz <= 0.49 * rate_hz))


def tables_of(grid: Grid, rate_hz: int) -> tuple[Floats | NDArray[np.int32], ...]:
    """The arrays of `_engine.Pulses`, in its order."""
    of = spectrum_of(grid, rate_hz)
    window = np.hanning(int(WINDOW_S * rate_hz) + 2)[1:-1]
    tables = (
        grid.frame_centre_s,
        grid.frame_s,
        np.log2(grid.centre_hz / 1000),
        reflected(grid),
        of.share,
        of.density_db,
        of.fade,
        window,
    )
    return (*(x.astype(np.float32) for x in tables), of.node)


def nearness(taps: Taps, grid: Grid) -> Floats:
    """How near each frame is to each tap, 0 .. 1, (taps, frames)."""
    reach = np.maximum(REACH_S, grid.frame_s)
    away = np.abs(taps.time_s[:, None] - grid.frame_centre_s) / reach
    return np.maximum(1 - away, 0).astype(np.float32)


@lru_cache(maxsize=4)
def reflected(grid: Grid) -> Floats:
    """How much of each band taps can have, 0 .. 1, (bands,)."""
    return np.clip(np.log2(grid.centre_hz / LOW_HZ) + 0.5, 0, 1).astype(np.float32)


class Spectrum(NamedTuple):
    """The size of a pulse's transform; for each bin the band below and the way to the next; what a
    unit of energy in each band is as a density; the end of a pulse."""

    size: int
    node: NDArray[np.int32]
    share: Floats
    density_db: Floats
    fade: Floats


@lru_cache(maxsize=4)
def spectrum_of(grid: Grid, rate_hz: int) -> Spectrum:
    """Of the pulses of a grid at a rate."""
    size = smooth_number(int(2 * PULSE_S * rate_hz), even=True)
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    centre = hz_to_erb(grid.centre_hz)
    at = np.interp(hz_to_erb(hz), centre, np.arange(grid.bands))
    node = np.minimum(at.astype(np.intp), grid.bands - 2)
    density_db = 10 * np.log10(np.diff(grid.edge_hz) * 2 / rate_hz)
    fade = np.minimum(2 * np.hanning(size)[size // 2 :], 1)
    share, density_db, fade = (
        np.asarray(values, np.float32) for values in (at - node, density_db, fade)
    )
    return Spectrum(size, node.astype(np.int32), share, density_db, fade)
