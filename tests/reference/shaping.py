"""How the bands of a room fall, in NumPy: dsp/shaping.c has to find the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import FLOOR_DB, Grid
from dsp.shaping import NODES, SPARSE_S, blur_matrix, slope_matrix

Floats = NDArray[np.float32]

DETAIL_RATE = 1.2
"""A band's smooth decay is at most this factor steeper than its decay curve from -5 to -35 dB."""
HEARD_DB, BAND_HEARD_DB = 85.0, 60.0
"""Cells further below the loudest cell of the map, or of their band, are not used to lengthen a
decay."""
STEADY_DB = 1.0
"""A band whose level changes by less than this over a fifth of a recording is noise."""
LATER_S = 0.03
"""After it a band's loudest cell is part of the room, not the direct sound."""


def decibels(energy: NDArray[np.floating]) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(energy, 1e-30)), np.float32)


def power(db: NDArray[np.floating]) -> Floats:
    return np.asarray(np.exp2(db * np.float32(np.log2(10) / 10)), np.float32)


def smooth_fall(level: Floats, grid: Grid) -> Floats:
    """The fall of each band's smooth decay at the frame edges, dB, (bands, frames + 1)."""
    start, stop = crossings_s(level, None, grid, np.array([-5.0, -35.0]))
    mean = (30.0 / np.maximum(stop - start, 0.01))[:, None]
    early = np.count_nonzero(grid.frame_centre_s < SPARSE_S)
    level, top = level.copy(), level.max(axis=1, keepdims=True)
    level[:, :early] = (
        decibels(np.einsum("bi,if->bf", power(level[:, :early] - top), blur_matrix(grid, early)))
        + top
    )
    rate = -np.einsum("bi,if->bf", level, slope_matrix(grid))
    # Before the curve has fallen by 5 dB: a constant level is a falling diffuse field plus arriving
    # reflections; a rising level is a swell, which does not change.
    before = np.clip(1 + 2 * rate / mean, 0, 1) * mean
    rate = np.where(
        grid.frame_centre_s < start[:, None], before, np.clip(rate, 0, DETAIL_RATE * mean)
    )
    fallen = np.zeros((grid.bands, grid.frames + 1), np.float32)
    np.cumsum(rate * grid.frame_s, axis=1, out=fallen[:, 1:])
    return fallen


def rate_share(
    level: Floats, direct: Floats | None, fallen: Floats, decay: float, grid: Grid
) -> Floats:
    """The factor on the rate of each smooth decay that multiplies T30 by `decay`, (bands, 1). It is
    1 / decay for a straight decay; otherwise a few fixed-point iterations find it."""
    share = np.full((grid.bands, 1), 1 / decay, np.float32)
    if decay == 1:
        return share
    fall = (fallen[:, 1:] + fallen[:, :-1]) / 2  # the centre of a frame is half-way
    wanted = np.float32(decay) * t30_s(level, direct, grid)
    # A gate's T30 does not change. Bounds that approach 1 with the control.
    low, high = sorted((share**0.4, share**2), key=lambda bound: float(bound[0, 0]))
    for _ in range(6):
        ratio = (t30_s(level + (1 - share) * fall, direct, grid) / wanted)[:, None]
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


T30_DB = np.linspace(-5, -35, 5, dtype=np.float32)


def t30_s(level: Floats, direct: Floats | None, grid: Grid) -> Floats:
    """T30 of each band: a straight line through the times at which its decay curve passes five
    levels."""
    off = T30_DB - T30_DB.mean()
    slope = off @ crossings_s(level, direct, grid, T30_DB) / (off @ off)
    return np.asarray(np.maximum(-60 * slope, 1e-3))


def crossings_s(
    level: Floats, direct: Floats | None, grid: Grid, limits_db: NDArray[np.floating]
) -> Floats:
    """The time at which each band's decay curve passes each limit, (limits, bands); the end of the
    map if it does not."""
    top = level.max(axis=1, keepdims=True)
    energy = power(level - top) * grid.frame_s.astype(np.float32)
    left = np.zeros((grid.bands, grid.frames + 1), np.float32)
    left[:, :-1] = np.cumsum(energy[:, ::-1], axis=1)[:, ::-1]
    whole = left[:, 0] if direct is None else left[:, 0] + power(direct - top[:, 0])
    curve = decibels(left / whole[:, None])
    edges = grid.frame_edge_s.astype(np.float32)
    rows = np.arange(grid.bands)
    times = np.empty((len(limits_db), grid.bands), np.float32)
    for i, limit in enumerate(limits_db):
        after = np.clip((curve < limit).argmax(axis=1), 1, grid.frames - 1)
        high, low = curve[rows, after - 1], curve[rows, after]
        part = np.clip((high - limit) / np.maximum(high - low, 1e-6), 0, 1)
        times[i] = edges[after - 1] + part * (edges[after] - edges[after - 1])
    return times


def stretched(level: Floats, grid: Grid, target: Grid, size: float, depth_db: float) -> Floats:
    """The map on another grid, its time multiplied by `size`; after its end, extrapolated by a
    straight line in dB."""
    parts = (np.arange(NODES) + 0.5) / NODES
    time = (target.frame_edge_s[:-1, None] + target.frame_s[:, None] * parts).ravel() / size
    frame = np.clip(np.searchsorted(grid.frame_edge_s, time) - 1, 0, grid.frames - 1)
    points = level[:, frame] - np.float32(10 * np.log10(size))
    beyond = time > grid.duration_s
    if beyond.any():
        rate = slope_db_s(level, grid, np.full(grid.bands, grid.frames - 1))
        points[:, beyond] -= rate[:, None] * (time[beyond] - grid.frame_centre_s[-1]).astype(
            np.float32
        )
    # A short recording falls by thousands of dB a second: float32 cannot hold such powers.
    points = np.maximum(points, points.max() - depth_db)
    points = points.reshape(grid.bands, target.frames, NODES)
    middle = points.mean(axis=2, keepdims=True)  # relative to it: float32 range
    return np.asarray(middle[:, :, 0] + decibels(power(points - middle).mean(axis=2)))


def slope_db_s(level: Floats, grid: Grid, last: NDArray[np.intp]) -> Floats:
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
    return among_bands(np.clip(-slope, 1.0, 5000.0), 5)


def among_bands(values: NDArray[np.floating], bands: int) -> Floats:
    """Means over each band and its neighbours: values of a narrow band are noisy, and neighbours
    decay similarly."""
    return np.asarray(
        np.convolve(np.pad(values, bands // 2, mode="edge"), np.full(bands, 1 / bands), "valid"),
        np.float32,
    )


def lines(level: Floats, grid: Grid, last: NDArray[np.intp]) -> tuple[Floats, Floats]:
    centre = grid.frame_centre_s
    rate = slope_db_s(level, grid, last)
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
            decibels(power(level[:, tenth] - level.max()).mean(axis=1)) + level.max()
            for tenth in tenths
        )
        heard = np.where(
            np.abs(among_bands(before - end, 9)) < 1.5, np.maximum(heard, end + 10.0), heard
        )
    # So does a band with a constant level in the middle third of the recording (a pilot tone, hum),
    # even if the end is faded out.
    thirds = [(time >= begin) & (time < begin + 0.2) for begin in (0.4, 0.6)]
    steady = np.zeros(grid.bands, bool)
    if all(third.any() for third in thirds):
        before, end = (
            decibels(power(level[:, third] - level.max()).mean(axis=1)) + level.max()
            for third in thirds
        )
        still = (np.abs(among_bands(before - end, 3)) < STEADY_DB) | (
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
