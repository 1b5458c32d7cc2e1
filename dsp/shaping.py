"""The controls that shape a room: decay, size, tilt, early/late, attack, reverse. They act on
energy maps, so they add no load to the audio process.

Each band's level is its smooth decay (dB that fall at a slowly changing rate) plus detail:
reflections, flutter, the edge of a gate. `decay` and `attack` change the smooth part and keep the
time and strength of the detail, so that a reflection does not grow or vanish with the tail. A rate
steeper than the room's own decay is detail too: a gate stays a gate. The change of the smooth
part's rate is computed for each band, such that `decay` multiplies the reverberation time T30.

NumPy only; the control process and the renderer call it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import FLOOR_DB, EnergyMap, Grid, longer

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

EARLY_S = 0.05
"""Reflections before this time are early (ISO 3382-1, C50)."""
NODES = 6
"""Points in each frame at which the levels of the other grid are sampled."""
DETAIL_RATE = 1.2
"""A band's smooth decay is at most this factor steeper than its decay curve from -5 to -35 dB."""
HEARD_DB, BAND_HEARD_DB = 85.0, 60.0
"""Cells further below the loudest cell of the map, or of their band, are not used to lengthen a
decay."""
WHOLE_ATTACK_S = 0.02
"""An attack of this length or more begins in silence."""
HEARD_OCTAVES, HEARD_DB_LATER = 0.12, 0.6
"""A change of the decay time by less than 9 %, and of the early level by less than 0.6 dB, is
hardly heard, and is made smaller still: else bands that fall unevenly, or are all late, change more
than a hair."""
DEPTH_DB = 300.0
"""Extrapolated decays end this far below the loudest cell."""
STEADY_DB = 1.0
"""A band whose level changes by less than this over a fifth of a recording is noise."""
LATER_S, SPARSE_S = 0.03, 0.3
"""LATER_S: after it a band's loudest cell is part of the room, not the direct sound. SPARSE_S:
before it reflections may be sparse."""


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
        fallen = _smooth_fall(level, grid)
        share = _rate_share(
            level, direct, fallen, 2 ** _eased(math.log2(shape.decay), HEARD_OCTAVES), grid
        )
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
    points = level[:, frame] - np.float32(10 * np.log10(size))
    beyond = time > grid.duration_s
    if beyond.any():
        rate = _slope_db_s(level, grid, np.full(grid.bands, grid.frames - 1))
        points[:, beyond] -= rate[:, None] * (time[beyond] - grid.frame_centre_s[-1]).astype(
            np.float32
        )
    # A short recording falls by thousands of dB a second: float32 cannot hold such powers.
    points = np.maximum(points, points.max() - depth_db)
    points = points.reshape(grid.bands, target.frames, NODES)
    middle = points.mean(axis=2, keepdims=True)  # relative to it: float32 range
    return np.asarray(middle[:, :, 0] + _decibels(_power(points - middle).mean(axis=2)))


def _slope_db_s(level: Floats, grid: Grid, last: NDArray[np.intp]) -> Floats:
    """Decay rate of each band up to frame `last`, dB/s: a straight line through the last two fifths
    of that time."""
    centre = grid.frame_centre_s
    end_s = centre[last][:, None]
    weight = (
        grid.frame_s
        * (centre <= end_s)
        * ((centre >= 0.6 * end_s) | (np.arange(grid.frames) >= last[:, None] - 3))
    )
    weight = weight / weight.sum(axis=1, keepdims=True)
    off = centre - (weight * centre).sum(axis=1, keepdims=True)
    slope = (weight * off * level).sum(axis=1) / np.maximum((weight * off**2).sum(axis=1), 1e-12)
    return _among_bands(np.clip(-slope, 1.0, 5000.0), 5)


def _among_bands(values: NDArray[np.floating], bands: int) -> Floats:
    """Means over each band and its neighbours: values of a narrow band are noisy, and neighbours
    decay similarly."""
    return np.asarray(
        np.convolve(np.pad(values, bands // 2, mode="edge"), np.full(bands, 1 / bands), "valid"),
        np.float32,
    )


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


def _lines(level: Floats, grid: Grid, last: NDArray[np.intp]) -> tuple[Floats, Floats]:
    centre = grid.frame_centre_s
    rate = _slope_db_s(level, grid, last)
    # The line starts from the mean of the last frames: a single one may be a dip.
    frames = np.clip(last[:, None] - np.arange(4), 0, None)
    start = np.take_along_axis(level, frames, 1) + rate[:, None] * centre[frames]
    return start.mean(axis=1), rate


def last_reliable(level: Floats, grid: Grid) -> NDArray[np.intp]:
    """The last frame of each band that is part of the room, not of a floor of noise or rounding."""
    later = level[:, grid.frame_centre_s > LATER_S]
    if not later.shape[1]:
        later = level
    # If a direct sound is part of the map, the room is further below its peak.
    peak = level.max() - np.clip(level.max() - later.max() - 10, 0, 30)
    heard = np.maximum(peak - HEARD_DB, later.max(axis=1) - BAND_HEARD_DB)
    # A band whose last tenth is as loud as the tenth before it has a noise floor, which may be
    # above that level. (After a recording's end there is silence.)
    sounding = (level > level.max() + FLOOR_DB + 1).any(axis=0)
    time = grid.frame_centre_s / grid.frame_edge_s[grid.frames - sounding[::-1].argmax()]
    tenths = [(time >= share) & (time < share + 0.1) for share in (0.8, 0.9)]
    if all(tenth.any() for tenth in tenths):
        before, end = (
            _decibels(_power(level[:, tenth] - level.max()).mean(axis=1)) + level.max()
            for tenth in tenths
        )
        heard = np.where(
            np.abs(_among_bands(before - end, 9)) < 1.5, np.maximum(heard, end + 10.0), heard
        )
    # So does a band with a constant level in the middle third of the recording (a pilot tone, hum),
    # even if the end is faded out.
    thirds = [(time >= begin) & (time < begin + 0.2) for begin in (0.4, 0.6)]
    steady = np.zeros(grid.bands, bool)
    if all(third.any() for third in thirds):
        before, end = (
            _decibels(_power(level[:, third] - level.max()).mean(axis=1)) + level.max()
            for third in thirds
        )
        still = (np.abs(_among_bands(before - end, 3)) < STEADY_DB) | (
            np.abs(before - end) < STEADY_DB / 4
        )
        steady = still & (end > level.max() + FLOOR_DB + 10)
        if (
            np.count_nonzero(steady) > grid.bands // 2
        ):  # a plateau before a gate is constant in all bands
            steady[:] = False
        heard = np.where(steady, np.maximum(heard, end + 10.0), heard)
    reliable = level > heard[:, None]
    reliable[:, 0] |= steady  # if nothing else is
    last = grid.frames - 1 - reliable[:, ::-1].argmax(axis=1)
    return np.where(reliable.any(axis=1), np.maximum(last, 4), grid.frames - 1)


def _smooth_fall(level: Floats, grid: Grid) -> Floats:
    """The fall of each band's smooth decay at the frame edges, dB, (bands, frames + 1)."""
    start, stop = _crossings_s(level, None, grid, np.array([-5.0, -35.0]))
    mean = (30.0 / np.maximum(stop - start, 0.01))[:, None]
    # (Not @: BLAS would start threads for a fraction of a millisecond of work.)
    early = np.count_nonzero(grid.frame_centre_s < SPARSE_S)
    level, top = level.copy(), level.max(axis=1, keepdims=True)
    level[:, :early] = (
        _decibels(np.einsum("bi,if->bf", _power(level[:, :early] - top), _blur_matrix(grid, early)))
        + top
    )
    rate = -np.einsum("bi,if->bf", level, _slope_matrix(grid))
    # Before the curve has fallen by 5 dB: a constant level is a falling diffuse field plus arriving
    # reflections; a rising level is a swell, which does not change.
    before = np.clip(1 + 2 * rate / mean, 0, 1) * mean
    rate = np.where(
        grid.frame_centre_s < start[:, None], before, np.clip(rate, 0, DETAIL_RATE * mean)
    )
    fallen = np.zeros((grid.bands, grid.frames + 1), np.float32)
    np.cumsum(rate * grid.frame_s, axis=1, out=fallen[:, 1:])
    return fallen


def _at(curve: Floats, grid: Grid, time_s: Doubles) -> Floats:
    """Interpolates a curve, given at the frame edges, at other times."""
    edges = grid.frame_edge_s
    frame = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, grid.frames - 1)
    share = ((time_s - edges[frame]) / grid.frame_s[frame]).astype(np.float32)
    return np.asarray(curve[:, frame] + share * (curve[:, frame + 1] - curve[:, frame]))


def _rate_share(
    level: Floats, direct: Floats | None, fallen: Floats, decay: float, grid: Grid
) -> Floats:
    """The factor on the rate of each smooth decay that multiplies T30 by `decay`, (bands, 1). It is
    1 / decay for a straight decay; otherwise a few fixed-point iterations find it."""
    share = np.full((grid.bands, 1), 1 / decay, np.float32)
    if decay == 1:
        return share
    fall = _at(fallen, grid, grid.frame_centre_s)
    wanted = np.float32(decay) * _t30_s(level, direct, grid)
    # A gate's T30 does not change. Bounds that approach 1 with the control.
    low, high = sorted((share**0.4, share**2), key=lambda bound: float(bound[0, 0]))
    for _ in range(6):
        ratio = (_t30_s(level + (1 - share) * fall, direct, grid) / wanted)[:, None]
        if (np.abs(ratio - 1) < 0.01).all():
            break
        # A larger share shortens the decay, but in leaps if a second, slower decay appears: bisect
        # on overshoot.
        low, high = np.where(ratio > 1, share, low), np.where(ratio < 1, share, high)
        guess = share * ratio
        share = np.where(
            (guess > low) & (guess < high), guess, np.where(ratio == 1, share, np.sqrt(low * high))
        )
        share = share.astype(np.float32)
    return share


_T30_DB = np.linspace(-5, -35, 5, dtype=np.float32)


def _t30_s(level: Floats, direct: Floats | None, grid: Grid) -> Floats:
    """T30 of each band: a straight line through the times at which its decay curve passes five
    levels."""
    off = _T30_DB - _T30_DB.mean()
    slope = off @ _crossings_s(level, direct, grid, _T30_DB) / (off @ off)
    return np.asarray(np.maximum(-60 * slope, 1e-3))


def _crossings_s(
    level: Floats, direct: Floats | None, grid: Grid, limits_db: NDArray[np.floating]
) -> Floats:
    """The time at which each band's decay curve passes each limit, (limits, bands); the end of the
    map if it does not."""
    top = level.max(axis=1, keepdims=True)
    energy = _power(level - top) * grid.frame_s.astype(np.float32)
    left = np.zeros((grid.bands, grid.frames + 1), np.float32)
    left[:, :-1] = np.cumsum(energy[:, ::-1], axis=1)[:, ::-1]
    whole = left[:, 0] if direct is None else left[:, 0] + _power(direct - top[:, 0])
    curve = _decibels(left / whole[:, None])
    edges = grid.frame_edge_s.astype(np.float32)
    rows = np.arange(grid.bands)
    times = np.empty((len(limits_db), grid.bands), np.float32)
    for i, limit in enumerate(limits_db):
        after = np.clip((curve < limit).argmax(axis=1), 1, grid.frames - 1)
        high, low = curve[rows, after - 1], curve[rows, after]
        part = np.clip((high - limit) / np.maximum(high - low, 1e-6), 0, 1)
        times[i] = edges[after - 1] + part * (edges[after] - edges[after - 1])
    return times


@lru_cache(maxsize=8)
def _blur_matrix(grid: Grid, frames: int) -> Floats:
    """(frames, frames): multiplies energies into means over about 40 ms, which bridge the gaps
    between reflections."""
    centre = grid.frame_centre_s[:frames]
    weight = np.exp(-0.5 * ((centre[:, None] - centre) / 0.015) ** 2) * grid.frame_s[:frames, None]
    weight[weight < 1e-12] = 0
    return np.asarray((weight / weight.sum(axis=0)), np.float32)


@lru_cache(maxsize=8)
def _slope_matrix(grid: Grid) -> Floats:
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
