"""How a room goes on after its convolved part: values for the engine's late field
(dsp/latefield.h).

A room falls in each band along a straight line in dB; the lines of the late field fall with it.
Each line filters its sound once a pass, so the gains in dB are its length times the room's rate
(Jot & Chaigne 1991; Schlecht & Habets 2017 on the accuracy that this takes). A second filter gives
the input the level that the room has at the seam. The wanted gains are fitted by first-order
shelves; their product, with its phase, by a sum of one-poles at fixed frequencies (Bank 2008, on
parallel filters), which the engine plays. NumPy only; the control process and the renderer call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp import _engine
from dsp.diffuse_field import correlation
from dsp.energymap import EnergyMap
from dsp.shaping import decay_lines

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

LONGEST_T60_S = 60.0
"""A room that falls more slowly falls like this, or not at all: see `Decay.lasting`."""
FITTED_HZ = (50.0, 16000.0)
HEARD_HZ = (88.0, 11314.0)
"""The octaves from 125 Hz to 8 kHz. Outside them the fit may err more."""
LEAST_DB_S = 0.2
"""What a line loses at the least, at the frequency that it loses least of."""
HELD_BACK, STEPS = 1e-4, 10
FLOOR_BELOW_DB = 100.0
HEARD_DB = 60.0
DEEPEST_DB = 70.0
"""A band this far below the loudest is fitted no lower: nothing of it is heard."""


@dataclass(frozen=True)
class Seam:
    """Where the late field takes over from the convolution, in an engine. `frames` 0: nowhere."""

    rate_hz: int
    frames: int
    fade_frames: int
    delays: tuple[float, ...]
    fall_hz: tuple[float, ...]
    level_hz: tuple[float, ...]
    """Of the one-poles of a line and of the input."""

    @staticmethod
    def of(rate_hz: int, max_taps: int) -> Seam:
        return _seam(rate_hz, max_taps)

    @property
    def end_s(self) -> float:
        return (self.frames + self.fade_frames) / self.rate_hz

    @property
    def middle_s(self) -> float:
        return (self.frames + self.fade_frames / 2) / self.rate_hz

    @cached_property
    def fade(self) -> Floats:
        """The gain of the convolved part along the seam: what is left of its power is what has not
        come in yet."""
        x = (np.arange(self.fade_frames) + 0.5) / self.fade_frames
        return np.sqrt(1 - x + np.sin(2 * np.pi * x) / (2 * np.pi)).astype(np.float32)


@lru_cache(maxsize=4)
def _seam(rate_hz: int, max_taps: int) -> Seam:
    return Seam(rate_hz, *_engine.late_seam(rate_hz, max_taps))


@dataclass(frozen=True)
class Decay:
    """How a room falls: in each band `rate_db_s`. `level_db`: its energy per second and Hz at the
    middle of the seam, that of the IR; None if the IR is all of the room. `lasting`: after the seam
    it does not fall."""

    hz: Doubles
    rate_db_s: Doubles
    level_db: Doubles | None = None
    lasting: bool = False


def decay_of(room: EnergyMap, seam: Seam, gain: float | None = None) -> Decay:
    """How a room falls at the end of its map. `gain`: of its IR over the map, if it goes on after
    the seam; None: the IR is all of it."""
    grid = room.grid
    start, rate = (each.astype(np.float64) for each in decay_lines(room.level_db, grid))
    if gain is None:
        return Decay(grid.centre_hz, rate)
    line = start - rate * seam.middle_s
    own = np.array([np.interp(seam.middle_s, grid.frame_centre_s, row) for row in room.level_db])
    # Below this a map has no more than a floor.
    level = np.where(own > room.level_db.max() - FLOOR_BELOW_DB, own, line)
    level = level - 10 * np.log10(np.diff(grid.edge_hz)) + 20 * np.log10(abs(gain) + 1e-30)
    return Decay(grid.centre_hz, rate, level)


def decay_of_ir(ir: Floats, rate_hz: int) -> Decay:
    """How an IR (channels, taps) falls, all frequencies alike: a straight line from -5 to -35 dB of
    what is left of its energy."""
    step = max(1, rate_hz // 1000)
    energy = np.einsum("ct,ct->t", ir, ir, dtype=np.float64)
    left = np.cumsum(np.add.reduceat(energy, np.arange(0, len(energy), step))[::-1])[::-1]
    level = 10 * np.log10(np.maximum(left / max(left[0], 1e-30), 1e-12))
    begin, end = (int(np.count_nonzero(level > limit)) for limit in (-5, -35))
    rate = 30.0 / max((end - begin) * step / rate_hz, 0.01)
    return Decay(np.array([20.0, 20_000.0]), np.full(2, rate))


def tail_s(decay: Decay, seam: Seam) -> float:
    """How long a room that goes on is heard after the seam: LONGEST_T60_S at most."""
    if decay.level_db is None or decay.lasting:
        return LONGEST_T60_S
    heard = decay.level_db > decay.level_db.max() - HEARD_DB
    slowest = max(float(decay.rate_db_s[heard].min()), 60 / LONGEST_T60_S)
    return min(HEARD_DB / slowest, LONGEST_T60_S)


def late_room(decay: Decay, seam: Seam, width: float = 1.0) -> Floats:
    """The values of nv_late_room for a room, as `Port.load_ir` takes them."""
    hz = np.geomspace(FITTED_HZ[0], min(FITTED_HZ[1], 0.45 * seam.rate_hz), 40)
    rate = np.interp(np.log(hz), np.log(decay.hz), decay.rate_db_s)
    rate = np.zeros_like(rate) if decay.lasting else np.maximum(rate, 60 / LONGEST_T60_S)
    delays_s = np.array(seam.delays) / seam.rate_hz
    level = np.zeros(1 + len(seam.level_hz))
    goes_on = decay.level_db is not None and seam.frames > 0
    if decay.level_db is not None and goes_on:
        wanted = np.interp(np.log(hz), np.log(decay.hz), decay.level_db)
        wanted += _loss_db(rate, delays_s, seam) + 10 * np.log10(sum(seam.delays) / 64)
        level = _level_gains(hz, wanted, seam)
    fall = _fall_gains(hz, rate, delays_s, seam)
    middle, side = _gains(width)
    head = np.array([goes_on, middle, side, 0.0])
    return np.concatenate([head, level.ravel(), fall.ravel()]).astype(np.float32)


def _loss_db(rate: Doubles, delays_s: Doubles, seam: Seam) -> Doubles:
    """How much louder the input must be: it falls in the lines before it is heard, and comes in
    along the seam at the level of its middle."""
    x = (np.arange(200) + 0.5) / 200
    early_s = (x - 0.5) * seam.fade_frames / seam.rate_hz
    weight = 1 - np.cos(2 * np.pi * x)
    first_pass = (10 ** (-np.outer(delays_s, rate) / 10)).mean(axis=0)
    along = weight @ 10 ** (np.outer(early_s, rate) / 10) / weight.sum()
    return np.asarray(-10 * np.log10(first_pass * along))


def _gains(width: float) -> tuple[float, float]:
    """Of the sum and the difference of two sums of lines, for the correlation of the IR's sides."""
    rho = float(correlation(np.geomspace(300.0, 4000.0, 32), width).mean())
    middle, side = np.sqrt((1 + rho) / 2), np.sqrt((1 - rho) / 2)
    return float(middle), float(-side if width < 0 else side)


def _shelves(gain_db: Doubles, hz: Doubles, rate_hz: float) -> tuple[Doubles, Doubles, Doubles]:
    """b0, b1, a1 of first-order high shelves: unity at 0 Hz, `gain_db` at half the rate."""
    gain = 10 ** (gain_db / 20)
    root = np.sqrt(gain) * np.tan(np.pi * np.minimum(hz, 0.45 * rate_hz) / rate_hz)
    return (gain + root) / (1 + root), (root - gain) / (1 + root), (root - 1) / (1 + root)


def _response(gain_db: Doubles, shelf_hz: Doubles, rate_hz: float, hz: Doubles) -> Doubles:
    """Of each shelf, (shelves, hz): complex."""
    b0, b1, a1 = (part[:, None] for part in _shelves(gain_db, shelf_hz, rate_hz))
    z = np.exp(-2j * np.pi * hz / rate_hz)
    return np.asarray((b0 + b1 * z) / (1 + a1 * z))


def _response_db(gain_db: Doubles, shelf_hz: Doubles, rate_hz: float, hz: Doubles) -> Doubles:
    return np.asarray(20 * np.log10(np.abs(_response(gain_db, shelf_hz, rate_hz, hz))))


def _fit(
    hz: Doubles, wanted_db: Doubles, weight: Doubles, shelf_hz: Doubles, rate_hz: float
) -> Doubles:
    """The gain at 0 Hz and those of the shelves, in dB: their sum is nearest to `wanted_db`
    (Levenberg 1944, Marquardt 1963). They are held near the differences between the regions that
    the shelves join: without that neighbours fight."""
    edges = np.sqrt(shelf_hz[:-1] * shelf_hz[1:])
    regions = np.concatenate([[hz[0]], edges, [hz[-1]]])
    first = np.interp(np.log(regions), np.log(hz), wanted_db)
    begin = np.append(first[0], np.diff(first))
    held = HELD_BACK * float((weight**2).sum()) * np.append(0.0, np.ones(len(shelf_hz)))

    def look(gains: Doubles) -> tuple[float, Doubles, Doubles]:
        now = _response_db(gains[1:], shelf_hz, rate_hz, hz)
        error = weight * (wanted_db - gains[0] - now.sum(axis=0))
        away = gains - begin
        return float(error @ error + held @ away**2), now, error

    gains, step, damping = begin, 1e-3, 1e-2
    cost, now, error = look(gains)
    for _ in range(STEPS):
        slope = (_response_db(gains[1:] + step, shelf_hz, rate_hz, hz) - now) / step
        slope = np.concatenate([np.ones((1, len(hz))), slope]) * weight
        square = slope @ slope.T + np.diag(held)
        square[np.diag_indices_from(square)] *= 1 + damping
        trial = gains + np.linalg.solve(square, slope @ error - held * (gains - begin))
        found = look(trial)
        if found[0] < cost:
            gains, (cost, now, error), damping = trial, found, damping / 5
        else:
            damping *= 5
    return gains


@dataclass(frozen=True)
class _Poles:
    """One-poles side by side, each with a gain of 1 at 0 Hz, after the input itself; on a grid of
    all frequencies that a filter plays."""

    rate_hz: int
    pole_hz: tuple[float, ...]

    @cached_property
    def hz(self) -> Doubles:
        return np.concatenate([[0.0], np.geomspace(30, self.rate_hz / 2, 63)])

    @cached_property
    def response(self) -> NDArray[np.complex128]:
        """(1 + poles, hz)."""
        pole = np.exp(-2 * np.pi * np.array(self.pole_hz) / self.rate_hz)[:, None]
        z = np.exp(-2j * np.pi * self.hz / self.rate_hz)
        return np.concatenate([np.ones((1, len(z))), (1 - pole) / (1 - pole * z)])

    @cached_property
    def unit(self) -> NDArray[np.complex128]:
        """In decibels, and with its phase: a gain of 1 dB, and shelves of 1 dB at the poles."""
        shelf_hz = np.array(self.pole_hz)
        shelves = _response(np.ones(len(shelf_hz)), shelf_hz, self.rate_hz, self.hz)
        return np.concatenate([np.ones((1, len(self.hz))), 20 / np.log(10) * np.log(shelves)])

    def gains(self, wanted: NDArray[np.complex128], weight: Doubles) -> Doubles:
        """Those whose sum is nearest to `wanted` (filters, hz): (filters, 1 + poles)."""
        basis = self.response * weight[:, None]
        square = (basis @ basis.conj().transpose(0, 2, 1)).real
        held = 1e-9 * np.trace(square, axis1=1, axis2=2)[:, None, None] * np.eye(square.shape[1])
        aim = (basis @ (wanted * weight).conj()[..., None]).real
        return np.asarray(np.linalg.solve(square + held, aim)[..., 0])


@lru_cache(maxsize=4)
def _poles(rate_hz: int, pole_hz: tuple[float, ...]) -> _Poles:
    return _Poles(rate_hz, pole_hz)


def _weights(hz: Doubles) -> Doubles:
    return np.where((hz >= HEARD_HZ[0]) & (hz <= HEARD_HZ[1]), 1.0, 0.2)


def _fall_gains(hz: Doubles, rate: Doubles, delays_s: Doubles, seam: Seam) -> Doubles:
    """(1 + poles, lines)."""
    if not rate.any():
        return np.eye(1 + len(seam.fall_hz), 1) * np.ones(len(delays_s))
    poles = _poles(seam.rate_hz, seam.fall_hz)
    heard = (poles.hz >= hz[0]) & (poles.hz <= hz[-1])
    unit, at = poles.unit[:, heard].real, poles.hz[heard]
    weight = _weights(at) / np.interp(np.log(at), np.log(hz), rate)
    # Gains are small fractions of a dB, or need no accuracy: proportional to those of 1 dB.
    scaled = unit * weight
    held = 1e-6 * np.trace(scaled @ scaled.T) * np.eye(len(unit))
    gains = -np.linalg.solve(scaled @ scaled.T + held, scaled @ _weights(at))
    loudest = float((gains @ poles.unit.real).max())
    gains[0] -= max(0.0, loudest + LEAST_DB_S)
    wanted = 10 ** (delays_s[:, None] * (gains @ poles.unit) / 20)
    level = abs(wanted)
    level_db = np.log(level) * np.maximum(level, 0.01 * level.max(axis=1, keepdims=True))
    found = poles.gains(wanted, _weights(poles.hz) / abs(level_db))
    # No frequency may grow.
    most = abs(found @ poles.response).max(axis=1)
    return np.asarray(found.T * np.minimum(1, 10 ** (-LEAST_DB_S / 40 * delays_s) / most))


def _level_gains(hz: Doubles, wanted_db: Doubles, seam: Seam) -> Doubles:
    """(1 + poles)."""
    wanted_db = np.maximum(wanted_db, wanted_db.max() - DEEPEST_DB)
    shelf_hz = np.array(seam.level_hz)
    weight = _weights(hz) * np.where(wanted_db > wanted_db.max() - 50, 1.0, 0.3)
    gains = _fit(hz, wanted_db, weight, shelf_hz, seam.rate_hz)
    poles = _poles(seam.rate_hz, seam.level_hz)
    shelves = _response(gains[1:], shelf_hz, seam.rate_hz, poles.hz)
    wanted = 10 ** (gains[0] / 20) * shelves.prod(axis=0)[None]
    return np.asarray(poles.gains(wanted, _weights(poles.hz) / abs(wanted))[0])
