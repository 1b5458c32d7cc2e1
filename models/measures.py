"""Measures energy maps: decay curves, ISO 3382-1 figures per octave, the quantities of X, Y and Z.

All functions take many maps at once: `level_db` (..., bands, frames) and `direct_db` (..., bands),
as in `EnergyMap`. `dsp.acoustics` measures IRs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import OCTAVES_HZ, decay_time_s, octave_response
from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid
from models.latent import LATENT_HIGH, LATENT_LOW

Floats = NDArray[np.float32]

RATE_HZ = 48_000
"""Rate of the octave filters, and of the IRs that `models.evaluate` measures."""

PACKED_VALUES = DEFAULT_GRID.bands * (DEFAULT_GRID.frames + 1)
"""Values of a packed map: all cells, then the direct sound's bands."""

MIDDLE_OCTAVES, TREBLE_OCTAVES = slice(3, 6), (6, 7)
"""Indices into OCTAVES_HZ: 500, 1000 and 2000 Hz; 4000 and 8000 Hz."""

MODEL_FLOOR_DB = -110.0
"""Lowest level that a network sees, relative to the energy of the room. The decoder expands levels
below -90 dB to reach FLOOR_DB again.
"""

DECAY_BASE = 5.0
"""X = 2 log(T60) / log(DECAY_BASE): -2 .. 2 are 0.2 .. 5 s in the octaves 500, 1000 and 2000 Hz."""
SHORTEST_S, LONGEST_S = 1 / DECAY_BASE, DECAY_BASE
"""Decay times at the ends of X."""

BRIGHTNESS_CENTRE, BRIGHTNESS_STEP = 0.5, 0.45
"""Y = log(r / BRIGHTNESS_CENTRE) / BRIGHTNESS_STEP; r is the T60 at 4000 and 8000 Hz (geometric
mean) over that of the octaves 500, 1000 and 2000 Hz together: -2 .. 2 are 0.2 .. 1.2.
"""

EARLY_SHARE, EARLY_CENTRE_DB, EARLY_STEP_DB = 0.04, -2.0, 5.0
"""Z = (EARLY_CENTRE_DB - early balance) / EARLY_STEP_DB. The balance is 10 log10 of the energy
before EARLY_SHARE x T60, direct sound included, over that after it. A purely exponential decay has
-1.3 dB at any T60.
"""


@lru_cache(maxsize=8)
def octave_matrix(grid: Grid = DEFAULT_GRID) -> Floats:
    """Sums bands into octaves, float32 (octaves, bands).

    Each value is the part of a band's power that passes an octave filter of `dsp.acoustics`.
    """
    points = 16
    share = (np.arange(points) + 0.5) / points
    hz = grid.edge_hz[:-1, None] + np.diff(grid.edge_hz)[:, None] * share
    response = np.stack([octave_response(hz, centre, RATE_HZ) for centre in OCTAVES_HZ])
    return np.asarray((np.abs(response) ** 2).mean(axis=2), np.float32)


def pack(level_db: Floats, direct_db: Floats | None) -> Floats:
    """Maps as vectors for a network: float32 (maps, bands * frames + bands).

    The energy of a room is at 0 dB, the floor at MODEL_FLOOR_DB.
    """
    level = np.asarray(level_db, np.float32)
    level = level.reshape(-1, *level.shape[-2:])
    maps, bands, _ = level.shape
    direct = (
        np.full((maps, bands), -200.0, np.float32)
        if direct_db is None
        else np.asarray(direct_db, np.float32)
    )
    grid = DEFAULT_GRID
    energy = (power(level) * grid.frame_s.astype(np.float32)).sum(axis=(1, 2))
    energy += power(direct.reshape(maps, bands)).sum(axis=1)
    packed = np.concatenate([level.reshape(maps, -1), direct.reshape(maps, bands)], axis=1)
    packed -= 10.0 * np.log10(np.maximum(energy, 1e-30))[:, None]
    return np.asarray(np.maximum(packed, MODEL_FLOOR_DB), np.float32)


def pack_map(room: EnergyMap) -> Floats:
    """One map as a vector for a network, float32 (1, values)."""
    return pack(room.level_db[None], None if room.direct_db is None else room.direct_db[None])


def unpack(packed: Floats, grid: Grid = DEFAULT_GRID) -> tuple[Floats, Floats]:
    """The inverse of `pack`: level_db (maps, bands, frames), direct_db (maps, bands)."""
    cells = grid.bands * grid.frames
    return packed[:, :cells].reshape(-1, grid.bands, grid.frames), packed[:, cells:]


def power(db: Floats) -> Floats:
    """10 ** (db / 10), float32."""
    return np.asarray(
        np.exp(np.asarray(db, np.float32) * np.float32(np.log(10.0) / 10.0)), np.float32
    )


def octave_energy(
    level_db: Floats, direct_db: Floats, grid: Grid = DEFAULT_GRID
) -> tuple[Floats, Floats]:
    """Energy in each octave: of the direct sound (maps, octaves), of each frame (maps, octaves,
    frames).
    """
    octaves = octave_matrix(grid)
    return power(direct_db) @ octaves.T, octaves @ (
        power(level_db) * grid.frame_s.astype(np.float32)
    )


def arrival_s(level_db: Floats, direct_db: Floats, grid: Grid = DEFAULT_GRID) -> Floats:
    """The time at which all but a thousandth of the energy has arrived, (maps,)."""
    frames = octave_energy(level_db, direct_db, grid)[1].sum(axis=1)
    direct = power(direct_db).sum(axis=1)
    arrived = direct[:, None] + np.cumsum(frames, axis=1)
    share = arrived / np.maximum(arrived[:, -1:], 1e-30)
    return np.asarray(grid.frame_edge_s[1:][np.argmax(share > 0.999, axis=1)], np.float32)


def decay_curves_db(direct: Floats, frames: Floats) -> Floats:
    """Backward-integrated decay (Schroeder 1965) at the frame edges, (maps, octaves, frames + 1),
    dB.

    Index 0 is all energy (0 dB), index 1 excludes the direct sound, index 1 + i also excludes
    frames 0 .. i - 1.
    """
    left = np.cumsum(frames[..., ::-1].astype(np.float64), axis=-1)[..., ::-1]
    curve = np.concatenate([left[..., :1] + direct[..., None], left], axis=-1)
    return np.asarray(
        10.0 * np.log10(np.maximum(curve / np.maximum(curve[..., :1], 1e-30), 1e-20)), np.float32
    )


@dataclass(frozen=True)
class Acoustics:
    """ISO 3382-1 figures per octave, each (maps, octaves), in seconds or dB.

    NaN if the decay does not reach far enough.
    """

    decay_db: Floats
    t30_s: Floats
    edt_s: Floats
    c50_db: Floats
    drr_db: Floats


def acoustics(level_db: Floats, direct_db: Floats, grid: Grid = DEFAULT_GRID) -> Acoustics:
    """T30 (-5 .. -35 dB), EDT (0 .. -10 dB), C50 and the direct-to-reverberant ratio of maps."""
    direct, frames = octave_energy(level_db, direct_db, grid)
    curve = decay_curves_db(direct, frames)
    time = np.concatenate([[0.0], grid.frame_edge_s[:-1]])
    until_50_ms = np.clip((0.05 - grid.frame_edge_s[:-1]) / grid.frame_s, 0.0, 1.0).astype(
        np.float32
    )
    early, whole = direct + frames @ until_50_ms, direct + frames.sum(axis=-1)
    return Acoustics(
        curve,
        _decay_times_s(curve, time, -5.0, -35.0),
        _decay_times_s(curve, time, 0.0, -10.0),
        10.0 * np.log10(np.maximum(early, 1e-20) / np.maximum(whole - early, 1e-20)),
        (
            10.0 * np.log10(np.maximum(direct, 1e-20) / np.maximum(frames.sum(axis=-1), 1e-20))
        ).astype(np.float32),
    )


def _decay_times_s(
    curve_db: Floats, time_s: NDArray[np.float64], top_db: float, bottom_db: float
) -> Floats:
    rows = [
        decay_time_s(row, time_s, top_db, bottom_db)
        for row in curve_db.reshape(-1, curve_db.shape[-1]).astype(float)
    ]
    return np.asarray(np.reshape(rows, curve_db.shape[:-1]), np.float32)


def squash(knob: Floats) -> Floats:
    """Knob quantities as latents: unchanged within +-2, beyond that compressed towards +-3."""
    beyond = np.maximum(np.abs(knob) - LATENT_HIGH, 0.0)
    return np.asarray(
        np.clip(knob, LATENT_LOW, LATENT_HIGH) + np.sign(knob) * beyond / (1.0 + beyond), np.float32
    )


def knobs(level_db: Floats, direct_db: Floats, grid: Grid = DEFAULT_GRID) -> Floats:
    """X, Y and Z of maps by the definitions above, float32 (maps, 3); not clamped to the knobs'
    range.

    T60 is the slope of a line fitted to the decay without the direct sound, from -5 to -25 dB. The
    ends of the fit have soft weights, so that training can take its gradient
    (`models.network.knobs`, the same formula in TensorFlow).
    """
    direct, frames = octave_energy(level_db, direct_db, grid)
    middle = frames[:, MIDDLE_OCTAVES].sum(axis=1)
    middle_s = _soft_decay_s(middle, grid)
    low, high = (_soft_decay_s(frames[:, octave], grid) for octave in TREBLE_OCTAVES)
    treble_s = np.sqrt(low * high)
    early_part = np.clip(
        (EARLY_SHARE * middle_s[:, None] - grid.frame_edge_s[:-1]) / grid.frame_s, 0.0, 1.0
    )
    early = direct[:, MIDDLE_OCTAVES].sum(axis=1) + (early_part * middle).sum(axis=1)
    late = ((1.0 - early_part) * middle).sum(axis=1)
    balance_db = 10.0 * np.log10(np.maximum(early, 1e-12) / np.maximum(late, 1e-12))
    return np.stack(
        [
            2.0 * np.log(middle_s) / np.log(DECAY_BASE),
            np.log(treble_s / middle_s / BRIGHTNESS_CENTRE) / BRIGHTNESS_STEP,
            (EARLY_CENTRE_DB - balance_db) / EARLY_STEP_DB,
        ],
        axis=1,
    ).astype(np.float32)


def _soft_decay_s(frames: Floats, grid: Grid) -> NDArray[np.float64]:
    curve = np.cumsum(frames[:, ::-1].astype(np.float64), axis=1)[:, ::-1]
    curve = 10.0 * np.log10(np.maximum(curve / np.maximum(curve[:, :1], 1e-30), 1e-12))
    weight = (
        grid.frame_s
        / (1.0 + np.exp(np.clip(curve + 5.0, -60, 60)))
        / (1.0 + np.exp(np.clip(-25.0 - curve, -60, 60)))
    )
    weight = weight / weight.sum(axis=1, keepdims=True)
    time = grid.frame_edge_s[:-1] - (weight * grid.frame_edge_s[:-1]).sum(axis=1, keepdims=True)
    slope = (weight * time * curve).sum(axis=1) / np.maximum((weight * time**2).sum(axis=1), 1e-12)
    return np.asarray(60.0 / np.maximum(-slope, 3.0))


POOLED_BANDS, POOLED_FRAMES = 4, 4
"""The encoder gets the energy of 4 x 4 cells: single cells of recordings are noisy."""
POOLED_VALUES = DEFAULT_GRID.bands // POOLED_BANDS * (DEFAULT_GRID.frames // POOLED_FRAMES + 1)


def pooled_db(level_db: Floats, direct_db: Floats, grid: Grid = DEFAULT_GRID) -> Floats:
    """The encoder's input, float32 (maps, bands / 4 * (frames / 4 + 1)), dB.

    Pooled levels, then the direct sound's.
    """
    bands, frames = grid.bands // POOLED_BANDS, grid.frames // POOLED_FRAMES
    length = grid.frame_s.astype(np.float32)
    energy = (
        (power(level_db) * length)
        .reshape(-1, bands, POOLED_BANDS, frames, POOLED_FRAMES)
        .sum(axis=(2, 4))
    )
    level = energy / length.reshape(frames, POOLED_FRAMES).sum(axis=1)
    direct = power(direct_db).reshape(-1, bands, POOLED_BANDS).sum(axis=2)
    both = np.concatenate([level.reshape(len(level), -1), direct], axis=1)
    return np.asarray(
        10.0 * np.log10(np.maximum(both, 10.0 ** (MODEL_FLOOR_DB / 10.0))), np.float32
    )
