"""What a recorded take holds besides the answer of the system: noise, hum, clicks, clipping, drift.

The response explains what the sweep did; what is left of the recording is not the system's. A click
or a gap stands out of that, however much louder the sweep is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number
from dsp.sweep import (
    ORDERS,
    Distortion,
    LinearResponse,
    as_heard,
    deconvolve,
    distortion,
)
from firmware_py.measure.programme import Programme

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

CLIPPED = 0.985
"""Of full scale: converters reach no more than this, or a little more."""
FLAT_FRAMES = 3
"""So many equal samples at the largest magnitude are clipped, at whatever level."""
BLOCK, AT_ONCE = 256, 64
LOUD_BLOCK, LOUD_SAMPLE = 10.0, 9.0
"""A click: energy of a block over the median around it; a sample over the RMS of that median."""
AROUND_S = 0.5
EVENT_S = 0.1
"""Clicks nearer than this are one."""
MAINS_HZ = (50.0, 60.0)
HARMONICS = 10
COARSE, HUM_BLOCK = 8, 1 << 13
"""Lines are looked for in sums of COARSE samples: less memory. So many are looked at at once."""
LINE_DB = 15.0
"""A line of hum is this far above the frequencies beside it."""
WORST_THD = 0.005
"""Above this the answer includes the harmonics."""
KEPT_BEFORE_S, KEPT_AFTER_S = 1.05, 1.0
"""Of a response is kept so much before 0, and after its decay."""
KEPT_NOISE = 1 << 17


@dataclass(frozen=True)
class Hum:
    """mains_hz: 50 or 60. level_db: against the sweep, all lines together."""

    mains_hz: float
    level_db: float


@dataclass(frozen=True)
class Take:
    """One channel of a take, understood. Levels of amplitude 1 are the converter's full scale.

    response: hum removed, drift taken out. noise_power: of the response, per sample. events_s: when
    something clicked, from the beginning of the sweep on.
    """

    response: LinearResponse
    arrival: int
    noise_power: float
    distortion: Distortion
    peak: float
    level_db: float
    noise_db: float
    ratio: float
    clipped: bool
    hum: Hum | None
    events_s: tuple[float, ...]

    @property
    def range_db(self) -> float:
        """The peak of the response over its noise: the impulse-to-noise ratio, INR."""
        peak = float(self.response.part(self.arrival, 0, 1)[0]) ** 2
        return 10 * math.log10(max(peak, 1e-30) / max(self.noise_power, 1e-30))

    @property
    def is_clean(self) -> bool:
        return not self.events_s and not self.clipped


def understand(
    recorded: Floats, programme: Programme, decay_s: float, ratio: float | None = None
) -> Take:
    """One channel of a take, (frames,). `ratio`: the drift, measured if None."""
    sweep, rate_hz = programme.sweep, programme.sweep.rate_hz
    if ratio is None:
        ratio = programme.drift(recorded)
    heard = programme.swept(recorded)
    level = _rms(heard[: sweep.frames(ratio)])
    answer = _answer(heard, programme, ratio)
    rest = answer.rest(decay_s, ratio)[: len(heard)]
    rest *= np.float32(programme.level)
    hum, lines = hum_of(rest, rate_hz)
    if hum is not None and lines is not None:
        hum = Hum(hum.mains_hz, hum.level_db - 20 * math.log10(max(level, 1e-15)))
        rest -= lines
        heard = heard - lines
    clicks = events(rest, rate_hz)
    if hum is not None:
        del answer, rest, lines
        answer = _answer(heard, programme, ratio)
    return Take(
        answer.kept,
        answer.arrival,
        answer.noise_power,
        answer.distortion,
        float(np.abs(recorded).max(initial=0.0)),
        _decibels(level),
        _decibels(_rms(recorded[: programme.quiet]) if programme.quiet else math.nan),
        ratio,
        is_clipped(recorded),
        hum,
        clicks,
    )


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(max(amplitude, 1e-9)) if math.isfinite(amplitude) else math.nan


def _rms(sound: Floats) -> float:
    return math.sqrt(float(np.einsum("t,t", sound, sound, dtype=np.float64)) / len(sound))


@dataclass(frozen=True)
class _Answer:
    """Of a system to a sweep. circular: the response, until `rest` is made of it."""

    circular: Floats
    kept: LinearResponse
    arrival: int
    noise_power: float
    distortion: Distortion

    def rest(self, decay_s: float, ratio: float) -> Floats:
        """What the response does not explain of what was heard: what is heard of its rest."""
        sweep, rest = self.kept.sweep, self.circular
        before, length = round(0.02 * sweep.rate_hz), round(decay_s * sweep.rate_hz)
        places = [0.0]
        if self.distortion.thd > WORST_THD:
            places += [sweep.advance(order) for order in ORDERS]
        for place in places:
            begin = self.arrival - math.ceil(place)
            rest[np.arange(begin - before, begin + length) % len(rest)] = 0
        as_heard(rest, sweep, ratio)
        return rest


def _answer(heard: Floats, programme: Programme, ratio: float) -> _Answer:
    sweep = programme.sweep
    response = deconvolve(heard, sweep, ratio, programme.level)
    arrival = response.arrival(len(heard) - sweep.frames(ratio))
    noise = response.noise_power()
    before, after_s = round(KEPT_BEFORE_S * sweep.rate_hz), KEPT_AFTER_S * sweep.rate_hz
    kept = response.kept(before, arrival + programme.tail + round(after_s), KEPT_NOISE)
    found = distortion(response, arrival, noise)
    return _Answer(response.circular, kept, arrival, noise, found)


def is_clipped(recorded: Floats) -> bool:
    """Whether the recording reaches full scale, or stays at its largest magnitude."""
    level = np.abs(recorded)
    peak = float(level.max(initial=0.0))
    if peak >= CLIPPED:
        return True
    flat = level >= peak * (1 - 1e-6)
    runs = flat[2:] & flat[1:-1] & flat[:-2]
    return bool(peak > 0.01 and np.count_nonzero(runs) >= FLAT_FRAMES)


def events(rest: Floats, rate_hz: int) -> tuple[float, ...]:
    """When something clicked, slammed or was missing, in s."""
    energy, peak = np.empty(len(rest) // BLOCK), np.empty(len(rest) // BLOCK)
    for begin in range(0, len(energy), AT_ONCE):
        end = min(begin + AT_ONCE, len(energy))
        near = rest[max(begin * BLOCK - 2, 0) : end * BLOCK]
        # Noise is mostly low: without this a click is lost in it.
        bright = np.diff(near, n=2)
        bright = np.pad(bright, ((end - begin) * BLOCK - len(bright), 0))
        blocks = bright.reshape(-1, BLOCK)
        energy[begin:end] = np.einsum("bt,bt->b", blocks, blocks)
        peak[begin:end] = np.abs(blocks).max(axis=1)
    usual = _median_around(energy, max(3, int(AROUND_S * rate_hz / BLOCK)))
    loud = energy > LOUD_BLOCK * usual
    loud |= peak > LOUD_SAMPLE * np.sqrt(usual / BLOCK)
    loud &= energy > 1e-6 * energy.mean()
    found: list[float] = []
    for block in np.flatnonzero(loud):
        at = float(block * BLOCK / rate_hz)
        if not found or at - found[-1] > EVENT_S:
            found.append(at)
    return tuple(found)


def _median_around(values: Doubles, width: int) -> Doubles:
    """A running median, exact at every fourth place."""
    half = width // 2
    padded = np.pad(values, half, mode="reflect" if len(values) > half else "edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)[: len(values)]
    at = np.arange(0, len(values), 4)
    return np.asarray(np.interp(np.arange(len(values)), at, np.median(views[at], axis=1)))


def hum_of(rest: Floats, rate_hz: int) -> tuple[Hum | None, Floats | None]:
    """The hum of the mains in a sound: its level in dB, and its waveform."""
    frames = len(rest)
    size = smooth_number(-(-frames // COARSE), even=True)
    step_hz = rate_hz / COARSE / size
    coarse = np.zeros(size)
    for part, windowed in _windowed(rest):
        at = np.arange(0, len(windowed), COARSE)
        coarse[part.start // COARSE :][: len(at)] = np.add.reduceat(windowed, at)
    spectrum = np.abs(np.fft.rfft(coarse)[: round(2 * HARMONICS * MAINS_HZ[-1] / step_hz)])
    best: list[float] = []
    mains_hz = 0.0
    for nominal in MAINS_HZ:
        lines = []
        for order in range(1, HARMONICS + 1):
            hz = _line(spectrum, nominal * order, step_hz, 4 * rate_hz / frames)
            if hz is not None:
                lines.append(hz)
        if len(lines) > len(best):
            best, mains_hz = lines, nominal
    if not best:
        return None, None
    amplitudes = np.zeros(len(best), np.complex128)
    for part, windowed in _windowed(rest):
        # The sum of the window is half its length.
        amplitudes += 4 / (frames - 1) * (_turns(best, part, rate_hz).conj() @ windowed)
    waves = np.empty(frames, np.float32)
    for part, _ in _windowed(rest):
        waves[part] = (amplitudes @ _turns(best, part, rate_hz)).real
    return Hum(mains_hz, _decibels(_rms(waves))), waves


def _windowed(sound: Floats) -> Iterator[tuple[slice, Doubles]]:
    """A sound under a raised cosine, a part of the time at once."""
    for begin in range(0, len(sound), HUM_BLOCK):
        part = slice(begin, min(begin + HUM_BLOCK, len(sound)))
        angle = np.pi / (len(sound) - 1) * np.arange(part.start, part.stop)
        yield part, np.asarray(sound[part] * np.sin(angle) ** 2)


def _turns(lines_hz: Sequence[float], part: slice, rate_hz: int) -> NDArray[np.complex128]:
    """Unit phasors of some frequencies, (lines, samples)."""
    omega = 2j * np.pi * np.array(lines_hz)[:, None] / rate_hz
    return np.asarray(np.exp(omega * np.arange(part.start, part.stop)))


def _line(spectrum: Doubles, near_hz: float, step_hz: float, width_hz: float) -> float | None:
    """The frequency of a line near a multiple of the mains, None if none stands out."""
    reach = max(0.004 * near_hz, width_hz)
    first, last = round((near_hz - reach) / step_hz), round((near_hz + reach) / step_hz)
    if first < 2 or last > len(spectrum) - 3:
        return None
    peak = first + int(np.argmax(spectrum[first:last]))
    aside = round(2.5 * reach / step_hz)
    beside = np.concatenate(
        [spectrum[max(first - aside, 1) : first], spectrum[last : last + aside]]
    )
    if not spectrum[peak] > np.sqrt(np.mean(beside**2)) * 10 ** (LINE_DB / 20):
        return None
    low, here, high = np.log(spectrum[peak - 1 : peak + 2] + 1e-300)
    return float((peak + 0.5 * (low - high) / (low - 2 * here + high)) * step_hz)


def combined(takes: Sequence[Floats]) -> Floats:
    """One recording out of three or more of one programme, none of them clean: the median of each
    cell of time and frequency, real and imaginary parts apart. What clicks in one take is in none.
    """
    hop, size = 512, 1024
    window = np.sqrt(np.hanning(size + 1)[:size])
    frames = len(takes[0])
    blocks = -(-frames // hop) + 1
    result = np.zeros((blocks + 1) * hop)
    padded = [np.pad(take, (hop, (blocks + 1) * hop - frames)) for take in takes]
    for block in range(blocks):
        at = slice(block * hop, block * hop + size)
        cells = np.array([np.fft.rfft(take[at] * window) for take in padded])
        middle = np.median(cells.real, axis=0) + 1j * np.median(cells.imag, axis=0)
        result[at] += (np.fft.irfft(middle) * window)[: len(result[at])]
    return result[hop : hop + frames].astype(np.float32)
