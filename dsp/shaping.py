"""The controls that shape a room: decay, size, tilt, early/late, attack, reverse. They act on
energy maps, so they add no load to the audio process.

Each band's level is its smooth decay (dB that fall at a slowly changing rate) plus detail:
reflections, flutter, the edge of a gate. `decay` and `attack` change the smooth part and keep the
time and strength of the detail, so that a reflection does not grow or vanish with the tail. A rate
steeper than the room's own decay is detail too: a gate stays a gate. The change of the smooth
part's rate is computed for each band, such that `decay` multiplies the reverberation time T30: in C
(shaping.c), which tests/reference/shaping.py states in NumPy.

The control process and the renderer call it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp import _engine
from dsp.energymap import FLOOR_DB, EnergyMap, Grid, longer

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

EARLY_S = 0.05
"""Reflections before this time are early (ISO 3382-1, C50)."""
NODES = 6
"""Points in each frame at which the levels of the other grid are sampled."""
WHOLE_ATTACK_S = 0.02
"""An attack of this length or more begins in silence."""
HEARD_OCTAVES, HEARD_DB_LATER = 0.12, 0.6
"""A change of the decay time by less than 9 %, and of the early level by less than 0.6 dB, is
hardly heard, and is made smaller still: else bands that fall unevenly, or are all late, change more
than a hair."""
DEPTH_DB = 300.0
"""Extrapolated decays end this far below the loudest cell."""
SPARSE_S = 0.3
"""Before it reflections may be sparse."""


@dataclass(frozen=True)
class Shape:
    """Changes of a room, in this order; the defaults change nothing.

    | field         | unit | range     | what                                                |
    |---------------|------|-----------|-----------------------------------------------------|
    | size          |      | 0.5 .. 2  | factor on dimensions, so on reflection and decay    |
    |               |      |           | times                                               |
    | decay         |      | 0.25 .. 64 | factor on decay times only                         |
    | tilt_db       | dB   | +-12      | level of the highest band against the lowest, a     |
    |               |      |           | straight line over octaves                          |
    | early_late_db | dB   | +-12      | everything after 50 ms against everything before,   |
    |               |      |           | direct sound included: lowers C50 by this           |
    | attack_s      | s    | 0 .. 0.5  | the room rises (sine squared amplitude) for this    |
    |               |      |           | time, then decays                                   |
    | reverse       |      |           | all of this played backwards, see `backwards`       |
    """

    decay: float = 1.0
    size: float = 1.0
    tilt_db: float = 0.0
    early_late_db: float = 0.0
    attack_s: float = 0.0
    reverse: bool = False

    @property
    def leaves_map(self) -> bool:
        """True if the map does not change."""
        return replace(self, reverse=False) == Shape()


def shape_map(room: EnergyMap, shape: Shape, longest_s: float = 10.0) -> EnergyMap:
    """The shaped room. Its grid is longer than that of `room` if needed, up to `longest_s`."""
    if shape.leaves_map:
        return room
    level = room.level_db.astype(np.float32)
    # What is far below becomes audible under a long decay.
    depth_db = DEPTH_DB if shape.decay <= 4 else DEPTH_DB / 2 * shape.decay
    if shape.decay > 1 or shape.attack_s > 0:  # inaudible depths become audible
        level = without_floor(level, room.grid, depth_db=depth_db)
    grid = longer_grid(level, room.grid, shape, longest_s)
    level = on_grid(level, room.grid, grid, shape.size, depth_db)
    level, direct = shape_level(level, room.direct_db, grid, shape)
    level = np.maximum(level, level.max() + 2 * FLOOR_DB).astype(np.float32)
    taps = room.taps.stretched(shape.size) if room.taps else None
    return EnergyMap(level, grid, direct, taps)


def shape_level(
    level: Floats, direct: Floats | None, grid: Grid, shape: Shape
) -> tuple[Floats, Floats | None]:
    """Levels and direct sound under all controls but size, without a limit downwards."""
    centre = grid.frame_centre_s
    depth = _attack_depth(shape.attack_s)
    if shape.decay != 1 or shape.attack_s > 0:
        decay = 2 ** _eased(math.log2(shape.decay), HEARD_OCTAVES)
        fallen, share = _falls_and_shares(level, direct, decay, grid)
        level = (
            level
            + _at(fallen, grid, centre)
            - share * _at(fallen, grid, np.maximum(centre - depth * shape.attack_s, 0))
        )
    tilt = shape.tilt_db * _tilt(grid)
    later_db = _eased(shape.early_late_db, HEARD_DB_LATER)
    level = (
        level
        + tilt[:, None]
        + _decibels(1 - depth + depth * _swell(centre, shape.attack_s))
        + _decibels(1 + (10 ** (later_db / 10) - 1) * _lateness(grid))
    )
    if direct is not None:
        # A direct sound has a short duration: an attack of a fraction of a millisecond does not
        # remove it.
        swell = _swell(np.array([0.0005]), shape.attack_s)
        swell_db = float(_decibels(1 - depth + depth * swell)[0])
        direct = (direct + tilt + swell_db).astype(np.float32) if swell_db > -60 else None
    return level, direct


def on_grid(
    level: Floats, grid: Grid, target: Grid, size: float, depth_db: float = DEPTH_DB
) -> Floats:
    """The levels on another grid, their time multiplied by `size`."""
    if grid == target and size == 1:
        return level
    return _stretched(level, grid, target, size, depth_db)


def backwards(ir: Floats, rate_hz: int) -> Floats:
    """The reversed IR (channels, taps), starting where the IR has fallen by 60 dB, so that the rest
    adds no delay.

    Works on samples, not on a map: the direct sound at the end stays short.
    """
    left = np.cumsum((ir.astype(np.float64) ** 2).sum(axis=0)[::-1])[::-1]
    taps = max(1, int(np.count_nonzero(left > left[0] * 1e-6)))
    ir = np.ascontiguousarray(ir[:, :taps][:, ::-1])
    rise = min(taps // 4, int(0.01 * rate_hz))
    ir[:, :rise] *= (
        np.sin(np.pi / 2 * (np.arange(rise) + 0.5) / max(rise, 1), dtype=np.float32) ** 2
    )
    return ir


def cut(ir: Floats, taps: int, rate_hz: int) -> Floats:
    """The IR with at most `taps` taps; a longer one fades out over its last 50 ms."""
    if ir.shape[1] <= taps:
        return ir
    ir = np.ascontiguousarray(ir[:, :taps])
    fade = min(taps, int(0.05 * rate_hz))
    ir[:, taps - fade :] *= (
        np.cos(np.pi / 2 * (np.arange(fade) + 0.5) / max(fade, 1), dtype=np.float32) ** 2
    )
    return ir


def _decibels(energy: NDArray[np.floating]) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(energy, 1e-30)), np.float32)


def _power(db: NDArray[np.floating]) -> Floats:
    return np.asarray(np.exp2(db * np.float32(np.log2(10) / 10)), np.float32)


def _swell(time_s: Doubles, attack_s: float) -> Doubles:
    """Energy gain during the attack."""
    if attack_s <= 0:
        return np.ones_like(time_s)
    return np.asarray(np.sin(np.pi / 2 * np.minimum(time_s / attack_s, 1)) ** 4)


def _attack_depth(attack_s: float) -> float:
    """How far the room is silent when it begins to rise, 0 .. 1: a short attack softens the direct
    sound before it removes it, so that a hair of the control is a hair of a change."""
    return min(attack_s / WHOLE_ATTACK_S, 1.0) ** 3


def _eased(change: float, heard: float) -> float:
    """The change, made smaller below `heard`: it goes to nothing as the square of the control."""
    return change * min(abs(change) / heard, 1.0)


@lru_cache(maxsize=8)
def _lateness(grid: Grid) -> Floats:
    """Share of each frame that is late, (frames,)."""
    return np.clip((grid.frame_edge_s[1:] - EARLY_S) / grid.frame_s, 0, 1).astype(np.float32)


@lru_cache(maxsize=8)
def _tilt(grid: Grid) -> Floats:
    """Share of the tilt in each band, -0.5 .. 0.5."""
    octaves = np.log2(grid.centre_hz)
    return np.asarray(((octaves - octaves[0]) / (octaves[-1] - octaves[0]) - 0.5), np.float32)


def longer_grid(level: Floats, grid: Grid, shape: Shape, longest_s: float) -> Grid:
    """The grid of the result: that of the room, or if the room will not have fallen by 90 dB at its
    end, one that lasts `longest_s`."""
    stretch = shape.size * shape.decay
    if stretch <= 1 and shape.attack_s <= 0:
        return grid
    energy = _power(level).sum(axis=0) * grid.frame_s
    left = np.cumsum(energy[::-1])[::-1]
    fallen = np.flatnonzero(left < left[0] * 1e-6)
    need_s = shape.attack_s + 1.5 * stretch * grid.frame_edge_s[fallen[0] if len(fallen) else -1]
    return grid if need_s <= grid.duration_s else longer(grid, longest_s)


def _stretched(level: Floats, grid: Grid, target: Grid, size: float, depth_db: float) -> Floats:
    """The map on another grid, its time multiplied by `size`; after its end, extrapolated by a
    straight line in dB."""
    parts = (np.arange(NODES) + 0.5) / NODES
    time = (target.frame_edge_s[:-1, None] + target.frame_s[:, None] * parts).ravel() / size
    frame = np.clip(np.searchsorted(grid.frame_edge_s, time) - 1, 0, grid.frames - 1)
    beyond_s = np.where(time > grid.duration_s, time - grid.frame_centre_s[-1], 0)
    level = np.ascontiguousarray(level, np.float32)
    rate = _lines(level, grid, np.full(grid.bands, grid.frames - 1, np.int32))[1]
    result = np.empty((grid.bands, target.frames), np.float32)
    _falls(grid).stretch(
        level,
        rate,
        frame.astype(np.int32),
        beyond_s.astype(np.float32),
        -10 * math.log10(size),
        depth_db,
        result,
    )
    return result


def without_floor(
    level: Floats, grid: Grid, end_s: float = np.inf, depth_db: float = DEPTH_DB
) -> Floats:
    """The map; in each band the end that is not part of the room (noise, rounding, silence, all
    after `end_s`) is replaced by the extrapolated decay."""
    ended = max(int(np.count_nonzero(grid.frame_edge_s[1:] <= end_s)) - 1, 0)
    last = np.minimum(last_reliable(level, grid), ended)
    start, rate = _lines(level, grid, last)
    centre = grid.frame_centre_s
    line = np.maximum(start[:, None] - rate[:, None] * centre, level.max() - depth_db)
    return np.asarray(np.where(centre > centre[last][:, None], line, level), np.float32)


def decay_lines(level: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """The straight lines on which the bands decay at the end of the map: their levels at t = 0, and
    their rates in dB/s, (bands,) each. A floor is not part of them."""
    return _lines(level, grid, last_reliable(level, grid))


def _lines(level: Floats, grid: Grid, last: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """As `decay_lines`, of the bands up to a frame each."""
    level = np.ascontiguousarray(level, np.float32)
    start, rate = np.empty((2, grid.bands), np.float32)
    _falls(grid).lines(level, last.astype(np.int32, copy=False), start, rate)
    return start, rate


def last_reliable(level: Floats, grid: Grid) -> NDArray[np.int32]:
    """The last frame of each band that is part of the room, not of a floor of noise or rounding."""
    last = np.empty(grid.bands, np.int32)
    _falls(grid).reliable(np.ascontiguousarray(level, np.float32), last)
    return last


def _falls_and_shares(
    level: Floats, direct: Floats | None, decay: float, grid: Grid
) -> tuple[Floats, Floats]:
    """The fall of each band's smooth decay at the frame edges, dB, (bands, frames + 1); and the
    factor on its rate that multiplies T30 by `decay`, (bands, 1)."""
    level = np.ascontiguousarray(level, np.float32)
    direct = None if direct is None else np.ascontiguousarray(direct, np.float32)
    fallen = np.empty((grid.bands, grid.frames + 1), np.float32)
    share = np.empty(grid.bands, np.float32)
    _falls(grid)(level, direct, decay, fallen, share)
    return fallen, share[:, None]


@lru_cache(maxsize=8)
def _falls(grid: Grid) -> _engine.Falls:
    return _engine.Falls(*tables_of(grid))


def tables_of(grid: Grid) -> tuple[Floats, Floats, Floats, Floats]:
    """The arrays of `_engine.Falls`."""
    early = int(np.count_nonzero(grid.frame_centre_s < SPARSE_S))
    edges, centres = (x.astype(np.float32) for x in (grid.frame_edge_s, grid.frame_centre_s))
    return edges, centres, blur_matrix(grid, early), slope_matrix(grid)


def _at(curve: Floats, grid: Grid, time_s: Doubles) -> Floats:
    """Interpolates a curve, given at the frame edges, at other times."""
    edges = grid.frame_edge_s
    frame = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, grid.frames - 1)
    share = ((time_s - edges[frame]) / grid.frame_s[frame]).astype(np.float32)
    return np.asarray(curve[:, frame] + share * (curve[:, frame + 1] - curve[:, frame]))


def blur_matrix(grid: Grid, frames: int) -> Floats:
    """(frames, frames): multiplies energies into means over about 40 ms, which bridge the gaps
    between reflections."""
    centre = grid.frame_centre_s[:frames]
    weight = np.exp(-0.5 * ((centre[:, None] - centre) / 0.015) ** 2) * grid.frame_s[:frames, None]
    weight[weight < 1e-12] = 0
    return np.asarray((weight / weight.sum(axis=0)), np.float32)


def slope_matrix(grid: Grid) -> Floats:
    """(frames, frames): multiplies levels into slopes in dB/s, from straight lines fitted around
    each frame (LOESS, Cleveland 1979, with a Gaussian kernel whose width grows with time)."""
    centre = grid.frame_centre_s
    width = np.maximum(0.03, 0.2 * centre)
    weight = np.exp(-0.5 * ((centre[:, None] - centre) / width) ** 2) * grid.frame_s[:, None]
    weight /= weight.sum(axis=0)
    off = centre[:, None] - (weight * centre[:, None]).sum(axis=0)
    matrix = weight * off / (weight * off**2).sum(axis=0)
    matrix[np.abs(matrix) < 1e-9 * np.abs(matrix).max(axis=0)] = (
        0  # denormals take ten times as long
    )
    return np.asarray(matrix, np.float32)
