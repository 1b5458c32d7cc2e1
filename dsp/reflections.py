"""Reflections of recordings, and of rooms that nobody recorded. See `dsp.taps`. NumPy only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import DIRECT_S, onset
from dsp.analysis import analyse
from dsp.energymap import EnergyMap
from dsp.pulses import MOST, WINDOW_S, nearness, reflected
from dsp.taps import LATEST_S, MOST_DB, MOST_TAPS, Taps

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

APART_S = 0.001
"""Two reflections nearer than this are one."""
EARLY_S, LATE = 0.085, 0.1
"""A later peak has to stand out ten times as much: it is an echo then."""
ROUNDS = 8
"""Of the search for shares: a tap changes the noise around others."""


def find_taps(
    ir: Floats,
    rate_hz: int,
    room: EnergyMap | None = None,
    *,
    start: int | None = None,
    most: int = MOST_TAPS,
) -> Taps:
    """The strongest reflections of a recording, at most `most`.

    `ir`: float32 (taps,) or (channels, taps). `room`: the map that the taps are to be played with,
    of any level; that of the recording if None. The louder a reflection is than the map around it,
    the larger is its share. `start`: the onset, detected if None. Raises InvalidValue for silence.
    """
    sound = np.atleast_2d(np.asarray(ir, np.float32))
    start = onset(np.abs(sound).max(axis=0)) if start is None else start
    sound = np.asarray(sound[:, start:], np.float64)
    loudest = int((sound**2).sum(axis=1).argmax())
    measured = analyse(sound[loudest].astype(np.float32), rate_hz, start=0)
    level = _power(measured)
    if room is None:
        room = measured
    own = _power(room)
    own *= (level @ measured.grid.frame_s) / (own @ room.grid.frame_s)
    window = np.hanning(int(WINDOW_S * rate_hz) + 2)[1:-1]
    energy = np.convolve((sound**2).mean(axis=0), window, "same")[: int(LATEST_S * rate_hz)]
    energy *= (sound[loudest] ** 2).sum() / (sound**2).mean(axis=0).sum()
    around = np.interp(np.arange(len(energy)) / rate_hz, measured.grid.frame_centre_s, level) * (
        window.sum() / rate_hz
    )
    at = _strongest(energy, around, rate_hz, most)
    zero = np.zeros(len(at), np.float32)
    time = (at / rate_hz).astype(np.float32)
    high = 10 ** (room.level_db.astype(np.float64) / 10)
    high_share = (reflected(room.grid)[:, None] * high).sum(axis=0) / high.sum(axis=0)
    near = nearness(Taps(time, zero, zero, zero), room.grid)
    share = np.full(len(at), 0.5)
    for _ in range(ROUNDS):
        wanted = (np.minimum(share, MOST)[:, None] * near).sum(axis=0)
        taken = np.minimum(MOST / np.maximum(wanted, 1e-9), 1)
        given = (near * taken * high_share * own * room.grid.frame_s).sum(axis=1)
        left = np.interp(time, room.grid.frame_centre_s, own * (1 - wanted * taken * high_share))
        missing = energy[at] - left * (window.sum() / rate_hz)
        share = 0.5 * (share + np.clip(missing / given, 0, 10 ** (MOST_DB / 10)))
    return Taps(time, share.astype(np.float32), _sides(sound, at, window), zero)


def _power(room: EnergyMap) -> Doubles:
    """Energy per second of all bands, (frames,)."""
    return np.asarray((10 ** (room.level_db.astype(np.float64) / 10)).sum(axis=0))


def _strongest(energy: Doubles, around: Doubles, rate_hz: int, most: int) -> NDArray[np.intp]:
    """The samples of the peaks that stand out most, in order of time."""
    peaks = np.flatnonzero((energy[1:-1] > energy[:-2]) & (energy[1:-1] >= energy[2:])) + 1
    peaks = peaks[peaks >= DIRECT_S * rate_hz]
    out = energy[peaks] / np.maximum(around[peaks], 1e-30)
    out[peaks > EARLY_S * rate_hz] *= LATE
    chosen: list[int] = []
    for peak in peaks[np.argsort(-out, kind="stable")]:
        if all(abs(int(peak) - other) >= APART_S * rate_hz for other in chosen):
            chosen.append(int(peak))
        if len(chosen) == most:
            break
    return np.array(sorted(chosen), np.intp)


def _sides(sound: NDArray[np.floating], at: NDArray[np.intp], window: Doubles) -> Floats:
    """Where the reflections of a stereo recording come from; those of a mono one alternate."""
    if len(sound) == 1:
        return np.asarray(((np.arange(len(at)) * 0.618 + 0.25) % 1 * 2 - 1) * 0.8, np.float32)
    left, right = (np.convolve(x**2, window, "same")[at] for x in sound[:2])
    return (np.arctan2(np.sqrt(right), np.sqrt(left)) * 4 / np.pi - 1).astype(np.float32)


DRAWN = 40
FIRST_S, GAP_S = 0.003, 0.0023
"""Drawn reflections of a room of size 1: their number, the first, the mean time between two."""
SPREAD = 0.7
"""How far a drawn reflection is from an even place, in gaps."""
STRONGEST = 1.0
FADE = 6.0
"""How fast the reflections fade into the noise at the mixing time: exponent of a power."""
WEAKEST = 0.003
SEED = 10
"""With this pattern, of 20 tried, the rooms of the cube are most equally loud (1.3 LU)."""


@lru_cache(maxsize=1)
def _pattern() -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Times in units of GAP_S, shares, sides and tilts of DRAWN reflections."""
    random = np.random.default_rng(SEED)
    number = np.arange(DRAWN)
    gaps = number + SPREAD * (random.random(DRAWN) - 0.5)
    share = random.uniform(0.6, 1.0, DRAWN) * random.choice([-1, 1], DRAWN)
    # Neighbours come from different sides, and the mean is the middle.
    side = (number * (np.sqrt(5) - 1) / 2 + 0.25) % 1 * 1.8 - 0.9
    return gaps, share, side, random.uniform(-1.0, 1.0, DRAWN)


def draw_taps(mixing_s: float, size: float = 1.0) -> Taps:
    """The reflections of a room that nobody recorded: until about `mixing_s` they stand out, then
    the noise is dense. `size`: factor on their times.

    The pattern is always the same: a small change of a room moves its reflections a little, and
    with a longer mixing time more of them fade in.
    """
    gaps, share, side, tilt = _pattern()
    time = (FIRST_S + GAP_S * gaps) * size
    share = share * STRONGEST / (1 + (time / mixing_s) ** FADE)
    heard = np.abs(share) > WEAKEST
    return Taps(*(np.asarray(x[heard], np.float32) for x in (time, share, side, tilt)))
