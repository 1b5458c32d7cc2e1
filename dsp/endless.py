"""Rooms beyond the end of their map: each band goes on along its own slope, and a room that is
still heard at the longest possible time closes exponentially before it. NumPy only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import EnergyMap, Grid, longer
from dsp.shaping import decay_lines

Floats = NDArray[np.float32]

END_DB = -65.0
"""At the longest time a room has at most this energy left."""
CLOSE_SHARE = 0.6
"""The close begins at this share of the longest time."""
SILENCE_DB = -90.0
"""A room ends where the remaining energy falls below this."""
LEAST_S = 0.02
"""No IR is shorter."""


def energy_left(room: EnergyMap) -> NDArray[np.float64]:
    """The energy from each frame on, as a share of all, direct sound included: (frames,)."""
    level = room.level_db
    top = float(level.max())
    energy = np.exp2((level - top) * np.float32(np.log2(10) / 10)).sum(axis=0) * room.grid.frame_s
    left = np.cumsum(energy[::-1])[::-1]
    total = left[0]
    if room.direct_db is not None:
        total = total + float((10 ** ((room.direct_db.astype(np.float64) - top) / 10)).sum())
    return np.asarray(left / total)


def endless(room: EnergyMap, longest_s: float) -> tuple[EnergyMap, float]:
    """The room, continued if it is still heard at the end of its map, and closed if it is still
    heard at `longest_s`; and its length in seconds, at most `longest_s`."""
    room, left, excess_db = _followed(room, longest_s)
    grid = room.grid
    if excess_db > 0:
        begin_s = CLOSE_SHARE * longest_s
        share = np.maximum(grid.frame_centre_s - begin_s, 0) / (longest_s - begin_s)
        room = replace(room, level_db=(room.level_db - excess_db * share).astype(np.float32))
        left = energy_left(room)
    return room, min(_length_s(left, grid), max(longest_s, LEAST_S))


def lasting(room: EnergyMap, longest_s: float) -> EnergyMap | None:
    """The room, continued to `longest_s`, if it is still heard there; else None."""
    room, _, excess_db = _followed(room, longest_s)
    return room if excess_db > 0 else None


def _followed(room: EnergyMap, longest_s: float) -> tuple[EnergyMap, NDArray[np.float64], float]:
    """The room, continued if it is still heard at the end of its map; its `energy_left`; and how
    far that is above END_DB at `longest_s`."""
    left = energy_left(room)
    if left[-1] > 10 ** (SILENCE_DB / 10):
        room = continued(room, longer(room.grid, longest_s))
        left = energy_left(room)
    grid = room.grid
    limit = min(int(np.searchsorted(grid.frame_edge_s, longest_s - 1e-6)), grid.frames) - 1
    excess_db = 10 * np.log10(max(left[limit], 1e-30)) - END_DB
    return room, left, excess_db if grid.duration_s >= longest_s - 1e-6 else 0.0


def continued(room: EnergyMap, grid: Grid) -> EnergyMap:
    """The room on a longer grid (`longer`): each band goes on along its own slope."""
    if grid == room.grid:
        return room
    start, rate = decay_lines(room.level_db, room.grid)
    beyond = start[:, None] - rate[:, None] * grid.frame_centre_s[room.grid.frames :]
    level = np.concatenate([room.level_db, beyond], axis=1).astype(np.float32)
    return EnergyMap(level, grid, room.direct_db, room.taps)


def length_s(room: EnergyMap) -> float:
    """The length of a room that does not go on after the end of its map."""
    return _length_s(energy_left(room), room.grid)


def _length_s(left: NDArray[np.float64], grid: Grid) -> float:
    audible = np.flatnonzero(left > 10 ** (SILENCE_DB / 10))
    return float(max(grid.frame_edge_s[audible[-1] + 1 if len(audible) else 1], LEAST_S))
