"""Room acoustics of impulse responses after ISO 3382-1: decay curves, T30, EDT, C50 and the
direct-to-reverberant ratio, per octave.

NumPy only. Desktop tools and the control process call it, never the audio process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number
from dsp.errors import InvalidValue

Floats = NDArray[np.float64]

OCTAVES_HZ = (63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)

EARLY_S = 0.05
"""C50's limit between early and late."""
DIRECT_S = 0.0025
"""The direct sound ends here: shorter than the delay of the first reflection in all but the
smallest rooms."""
ONSET_DB = -20.0
"""An IR starts at the first sample within this of its peak (ISO 3382-1, 5.3.2)."""
BEFORE_S = 0.0003
"""So much before the onset belongs to the sound: what has no frequencies above half the rate begins
before its first large sample."""
SWAY_DB = 0.3
CURVE_STEP_S = 0.001
"""Time step of decay curves."""

_PAD_S = 0.75
"""Silence around the IR for the ringing of the filters: at 63 Hz it falls by 60 dB in less than
half of this."""
_BINS = 1 << 14


@dataclass(frozen=True)
class RoomAcoustics:
    """Figures of one IR, float64 (octaves,) each; NaN where the rate or the decay range is too
    small.

    `curve_db` (octaves, points): the backward-integrated decay, 0 dB at t = 0, every CURVE_STEP_S.
    `energy`: the energy that the decay begins with.
    `range_db`: how far down the curve is measured, not extrapolated; NaN without noise.
    """

    curve_db: Floats
    t30_s: Floats
    edt_s: Floats
    c50_db: Floats
    drr_db: Floats
    energy: Floats
    range_db: Floats


def octave_response(hz: Floats, centre_hz: float, rate_hz: float) -> NDArray[np.complex128]:
    """Complex response of an octave filter at `hz` (class 1 of IEC 61260-1)."""
    return band_response(hz, centre_hz * np.sqrt(0.5), centre_hz * np.sqrt(2.0), rate_hz)


def band_response(
    hz: Floats, low_hz: float, high_hz: float, rate_hz: float
) -> NDArray[np.complex128]:
    """Complex response of a band filter at `hz`: Butterworth, order 3 on each side, bilinear
    transform."""
    # q is the frequency of the prototype; 0 Hz and the Nyquist frequency map to infinity, here 1e9.
    warped = np.tan(np.pi * np.clip(np.asarray(hz, float) / rate_hz, 1e-12, 0.5 - 1e-12))
    low, high = np.tan(np.pi / rate_hz * np.array([low_hz, high_hz]))
    q = 1j * np.clip((warped - low * high / warped) / (high - low), -1e9, 1e9)
    return np.asarray(1.0 / ((q + 1.0) * (q * q + q + 1.0)))


def through_band(
    spectrum: NDArray[np.complex128], frames: int, low_hz: float, high_hz: float, rate_hz: float
) -> tuple[Floats, Floats]:
    """A sound (frames,) of this spectrum through a band filter that runs backwards in time, and
    what the filter does to power at each frequency."""
    part, weight = np.empty_like(spectrum), np.empty(len(spectrum))
    for begin in range(0, len(spectrum), _BINS):  # a filter in one piece would need much memory
        bins = slice(begin, min(begin + _BINS, len(spectrum)))
        hz = np.arange(bins.start, bins.stop) * (rate_hz / frames)
        response = band_response(np.asarray(hz, np.float64), low_hz, high_hz, rate_hz)
        np.multiply(spectrum[bins], response.conj(), out=part[bins])
        weight[bins] = _power(response)
    return np.asarray(np.fft.irfft(part, frames)), weight


def onset(ir: NDArray[np.float32]) -> int:
    """Index of the sample where the direct sound begins: the first within ONSET_DB of the peak. 0
    for silence."""
    level = np.abs(ir)
    return int(np.argmax(level >= level.max() * 10 ** (ONSET_DB / 20)))


def measure(
    ir: NDArray[np.float32],
    rate_hz: int,
    *,
    start: int | None = None,
    noise: NDArray[np.floating] | None = None,
) -> RoomAcoustics:
    """Figures of a mono IR, (taps,); `start`: its onset, detected if None. `noise`: a piece of its
    noise alone; detected at the end of the IR if None.

    Octave filters run backwards in time: they ring before the onset and not in the decay
    (Jacobsen & Rindel 1987). Early, late and direct parts are cut before filtering, so that filter
    delays move no energy across the limits. Background noise is estimated at the end of the IR
    (`noise_power`) and subtracted; the integration ends where the decay reaches it.

    Raises ValueError for an IR that is not one-dimensional, InvalidValue for one without energy.
    """
    sound = np.asarray(ir, np.float64)
    if sound.ndim != 1 or not np.abs(sound).max(initial=0.0) > 0:
        raise InvalidValue("acoustics need one channel that is not silent")
    sound, lead = _from_onset(sound, onset(ir) if start is None else start, rate_hz)
    pad, step = int(_PAD_S * rate_hz), max(1, int(CURVE_STEP_S * rate_hz))
    frames = smooth_number(len(sound) + 2 * pad, even=True)
    early, direct = (min(lead + int(s * rate_hz), len(sound)) for s in (EARLY_S, DIRECT_S))
    whole_spectrum = np.fft.rfft(sound, frames)
    parts = _parts(sound, early, direct, frames)
    points = -(-len(sound) // step) + 1
    curves = np.full((len(OCTAVES_HZ), points), np.nan)
    figures = np.full((6, len(OCTAVES_HZ)), np.nan)
    floors = _floors(noise, rate_hz)
    time = np.arange(points) * step / rate_hz
    for row, centre in enumerate(OCTAVES_HZ):
        if centre * np.sqrt(2.0) > 0.49 * rate_hz:
            continue
        edges_hz = (centre * np.sqrt(0.5), centre * np.sqrt(2.0))
        filtered, weight = through_band(whole_spectrum, frames, *edges_hz, rate_hz)
        filtered *= filtered
        before = float(np.sum(filtered[-pad:]))  # ringing before the onset, wrapped to the end
        blocks = np.add.reduceat(filtered[: len(sound)], np.arange(0, len(sound), step))
        del filtered
        lengths, floor = np.full(len(blocks), step / rate_hz), floors[row]
        blocks, knee = without_noise(blocks, lengths, centre * np.sqrt(0.5), floor)
        left = np.concatenate([np.cumsum(blocks[::-1])[::-1], [0.0]])
        total = max(left[0] + before, 1e-300)
        curves[row] = 10 * np.log10(np.maximum(left / total, 1e-20))
        curves[row, 0] = 0.0
        energies = [float(np.einsum("b,b", part, weight)) for part in parts]
        if floor is not None:
            after, tail = blocks[knee:].sum(), sound[early : max(knee * step, early)]
            late = _late(tail, after, floor / rate_hz, weight, frames)
            energies[1], energies[3] = late, energies[3] - energies[1] + late
        figures[:, row] = (
            decay_time_s(curves[row], time, -5.0, -35.0),
            decay_time_s(curves[row], time, 0.0, -10.0),
            _ratio_db(energies[0], energies[1]),
            _ratio_db(energies[2], energies[3]),
            total,
            np.nan if floor is None else _range_db(curves[row], knee, floor, total),
        )
    return RoomAcoustics(curves, *figures)


def _from_onset(sound: Floats, start: int, rate_hz: int) -> tuple[Floats, int]:
    """A sound from its onset on, and by how many samples earlier it begins."""
    lead = min(int(BEFORE_S * rate_hz), start)
    return sound[start - lead :], lead


def _parts(sound: Floats, early: int, direct: int, frames: int) -> list[NDArray[np.float32]]:
    """Power spectra of the early and the late sound, the direct one and what is after it."""
    cut = (sound[:early], sound[early:], sound[:direct], sound[direct:])
    return [_power(np.fft.rfft(part, frames)).astype(np.float32) for part in cut]


def _floors(noise: NDArray[np.floating] | None, rate_hz: int) -> list[float | None]:
    """The noise in each octave, energy per second; None where it is not known."""
    if noise is None:
        return [None] * len(OCTAVES_HZ)
    return [float(power) * rate_hz for power in noise_in_octaves(noise, rate_hz)]


def _range_db(curve_db: Floats, knee: int, floor: float, energy: float) -> float:
    """How far down a curve is measured, for a noise of `floor` per second that masks it from the
    step `knee` on. Not farther than to the noise: behind a sound without a decay the curve falls
    at once, as far as one likes."""
    if knee >= len(curve_db) - 1:
        return float("nan")
    masked = floor * 10 ** (KNEE_DB / 10) * max(HALF_S, HALF_SHARE * knee * CURVE_STEP_S)
    return min(-float(curve_db[knee]), _ratio_db(energy, masked))


def _late(tail: Floats, after: float, floor: float, weight: Floats, frames: int) -> float:
    """The energy in an octave of the decay down to its noise, `tail` (samples,), without the noise,
    `floor` per sample, and with the energy `after` it; as a sum over the spectrum."""
    heard = float((_power(np.fft.rfft(tail, frames)) * weight).sum())
    return max(heard + (after - floor * len(tail)) * frames / 2, 0.0)


def noise_in_octaves(noise: NDArray[np.floating], rate_hz: int) -> Floats:
    """The power of a noise in each octave, (octaves,)."""
    spectrum = _power(np.fft.rfft(noise * np.hanning(len(noise))))
    hz = np.fft.rfftfreq(len(noise), 1 / rate_hz).astype(np.float64)
    whole = 2 * spectrum / (len(noise) * np.sum(np.hanning(len(noise)) ** 2))
    return np.array([np.sum(whole * _power(octave_response(hz, c, rate_hz))) for c in OCTAVES_HZ])


def _power(spectrum: NDArray[np.complex128]) -> Floats:
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def _ratio_db(above: float, below: float) -> float:
    return float(10 * np.log10(max(above, 1e-30) / max(below, 1e-30)))


def decay_time_s(curve_db: Floats, time_s: Floats, top_db: float, bottom_db: float) -> float:
    """Decay time in seconds: 60 dB over the slope of the least-squares line between two levels; NaN
    if the curve does not reach them.

    The curve, (points,), falls; it is sampled at 256 equally spaced times between its crossings of
    the two levels.
    """
    if not curve_db[-1] <= bottom_db:
        return float("nan")
    at, level = _between(curve_db, time_s, top_db, bottom_db)
    slope = (at @ level) / (at @ at)
    return float(-60.0 / slope) if slope < 0 else float("nan")


def bend(curve_db: Floats, top_db: float, bottom_db: float) -> float:
    """How far a decay curve (points,) is from a straight line between two levels: 1 - r^2, the
    non-linearity of ISO 3382-2, B.2; NaN if the curve does not reach them."""
    if not curve_db[-1] <= bottom_db:
        return float("nan")
    time_s = np.asarray(np.arange(len(curve_db)) * CURVE_STEP_S, np.float64)
    at, level = _between(curve_db, time_s, top_db, bottom_db)
    level = level - level.mean()
    return float(1 - (at @ level) ** 2 / max((at @ at) * (level @ level), 1e-300))


def sway(curve_db: Floats, top_db: float, bottom_db: float) -> float:
    """The share of a decay time by which it changes if its lower limit is SWAY_DB off, to either
    side: much where the curve (points,) has a step. NaN if the curve does not reach the limits."""
    time_s = np.asarray(np.arange(len(curve_db)) * CURVE_STEP_S, np.float64)
    limits_db = (bottom_db, bottom_db - SWAY_DB, bottom_db + SWAY_DB)
    as_is, lower, upper = (decay_time_s(curve_db, time_s, top_db, limit) for limit in limits_db)
    return max(abs(lower / as_is - 1), abs(upper / as_is - 1))


def _between(
    curve_db: Floats, time_s: Floats, top_db: float, bottom_db: float
) -> tuple[Floats, Floats]:
    """Times between two levels of a curve, their mean 0, and its levels there."""
    begin, end = (np.interp(-level, -curve_db, time_s) for level in (top_db, bottom_db))
    at = np.linspace(begin, max(end, begin + 1e-4), 256)
    level = np.interp(at, time_s, curve_db)
    return at - at.mean(), level


def noise_power(energy: Floats, length_s: Floats, bandwidth_hz: float) -> float:
    """Energy per second of the background noise of a recorded decay; 0 if none is detected.

    `energy` (blocks,) and their lengths, of a band of `bandwidth_hz`. There is noise if the level
    falls by less than NOISE_FALL_DB (plus twice the standard deviation) from the last but one to
    the last tenth of the recording. The very end is ignored: it is often faded out.
    """
    if len(energy) < 20:
        return 0.0
    edge = np.concatenate([[0.0], np.cumsum(length_s)])
    total = np.concatenate([[0.0], np.cumsum(energy)])
    a, b, c = (float(np.interp(share * edge[-1], edge, total)) for share in (0.75, 0.85, 0.95))
    tenth_s = 0.1 * float(edge[-1])
    before, last = (b - a) / tenth_s, (c - b) / tenth_s
    chance_db = 10 / np.log(10) * np.sqrt(2 / max(bandwidth_hz * tenth_s, 1.0))
    if last <= 0 or before > last * 10 ** ((NOISE_FALL_DB + 2 * chance_db) / 10):
        return 0.0
    return (before + last) / 2


NOISE_FALL_DB = 1.0
KNEE_DB, ECHO_DB = 6.0, 10.0
"""A decay is used down to KNEE_DB above the noise and extrapolated below it, from the FIT_DB above.
What is ECHO_DB above a known noise is not noise."""
FIT_DB = 20.0
HALF_S, HALF_SHARE = 0.03, 0.06
"""Half the time over which a decay is smoothed, and its share of the time since the onset."""


def without_noise(
    energy: Floats, length_s: Floats, bandwidth_hz: float, floor: float | None = None
) -> tuple[Floats, int]:
    """A decay (blocks,) without its background noise; the end that the noise masks is extrapolated
    exponentially. And the block where that begins, the number of blocks if nowhere.

    ISO 3382-1 corrects the integral for the truncated part in the same way. Returned unchanged if
    there is no noise. `floor`: the noise, energy per second; detected if None.
    """
    is_known = floor is not None
    floor = noise_power(energy, length_s, bandwidth_hz) if floor is None else floor
    if floor <= 0:
        return energy, len(energy)
    # Smoothed: single blocks are as random as noise.
    edge = np.concatenate([[0.0], np.cumsum(length_s)])
    total = np.concatenate([[0.0], np.cumsum(energy)])
    middle = (edge[1:] + edge[:-1]) / 2
    half = np.maximum(HALF_S, HALF_SHARE * middle)
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, edge[-1])
    smooth = (np.interp(high, edge, total) - np.interp(low, edge, total)) / (high - low)
    under = np.flatnonzero(smooth < floor * 10 ** (KNEE_DB / 10))
    peak = int(np.argmax(smooth))
    if is_known:  # what stands out of it later is an echo
        peak = max(peak, *np.flatnonzero(smooth > floor * 10 ** (ECHO_DB / 10))[-1:].tolist(), 0)
    under = under[under > peak]
    clean = np.maximum(energy - floor * length_s, 0.02 * energy)
    if not len(under):
        return clean, len(energy)
    knee = int(under[0])
    above = np.flatnonzero(smooth[: knee + 1] > (smooth[knee] - floor) * 10 ** (FIT_DB / 10))
    first = max(int(above[-1]) if len(above) else peak, peak)
    if knee - first < 4:
        clean[knee:] = 1e-12 * clean.max()
        return clean, knee
    level = 10 * np.log10(np.maximum(smooth[first:knee] - floor, 1e-30))
    at = middle[first:knee] - middle[knee]
    slope, height = np.polyfit(at, level, 1, w=np.sqrt(length_s[first:knee]))
    clean[knee:] = (
        10 ** ((height + min(slope, -3.0) * (middle[knee:] - middle[knee])) / 10) * length_s[knee:]
    )
    return clean, knee
