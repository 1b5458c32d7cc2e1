"""Synchronized exponential sweeps (Novak, Lotton and Simon 2015), and what comes out of a system
that one is played into: its impulse response and its distortion.

The phase is 2 pi CYCLES exp(t / L). CYCLES = start_hz * L is whole, so the nth harmonic of the
sweep is the sweep itself, L ln(n) earlier, with the same phase: in the response each order of
distortion is an impulse response of its own, at -L ln(n), apart from the linear one at 0.

The inverse is the spectrum of the samples as played, fades included, with Kirkeby's regularisation:
far below the analytic spectrum of the sweep. The linear response of a wire is the fade over
frequency, without a phase: 1 from FULL_HZ to FULL_SHARE of the Nyquist frequency.

NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number
from dsp.errors import InvalidValue

Doubles = NDArray[np.float64]

FULL_HZ = 20.0
START_HZ = FULL_HZ / math.sqrt(2)
"""The sweep fades in from START_HZ to FULL_HZ."""
FULL_SHARE, END_SHARE = 0.93, 0.975
"""Of the Nyquist frequency: the sweep fades out between them."""
SHORTEST_S = 0.25
KIRKEBY_DB = -60.0
"""Of the regularisation, relative to the analytic power spectrum of the sweep."""
ORDERS = tuple(range(2, 8))
"""Orders of distortion that are measured."""
PRE_SHARE = 0.1
"""This share of the distance to the next response belongs to the time before a response."""
ALIKE = 0.9
"""Distortion whose spectrum is like the linear one to this degree has no memory."""
EXTEND_S, EXTEND_STEP = 0.3, 64
"""Before this time a response must be silent; looked at in means of EXTEND_STEP samples."""
AFTER_WEIGHT = 1e-5
"""Of the sound after the onset, compared with what is before it."""


@dataclass(frozen=True)
class SineSweep:
    """A sweep at full scale from START_HZ to END_SHARE of the Nyquist frequency.

    cycles: START_HZ times the time in which the frequency grows by e. end_cycles: cycles at the
    end, a whole number: a zero crossing.
    """

    rate_hz: int
    cycles: int
    end_cycles: int

    @classmethod
    def of(cls, rate_hz: int, seconds: float) -> SineSweep:
        """The sweep of about this length. Raises InvalidValue if it is too short."""
        if not seconds >= SHORTEST_S:
            raise InvalidValue(f"a sweep of {seconds:g} s: at least {SHORTEST_S:g} s")
        end_hz = END_SHARE * rate_hz / 2
        cycles = max(round(START_HZ * seconds / math.log(end_hz / START_HZ)), 1)
        return cls(rate_hz, cycles, math.floor(end_hz / START_HZ * cycles))

    @property
    def growth_s(self) -> float:
        """L: the time in which the frequency grows by e."""
        return self.cycles / START_HZ

    @property
    def seconds(self) -> float:
        return self.growth_s * math.log(self.end_cycles / self.cycles)

    def frames(self, ratio: float = 1.0) -> int:
        return math.ceil(self.seconds / ratio * self.rate_hz)

    def samples(self, ratio: float = 1.0) -> Doubles:
        """The sweep, (frames,), as a recorder hears it that runs slower than the player:
        `ratio` is the player's rate over the recorder's."""
        time_s = np.arange(self.frames(ratio)) * (ratio / self.rate_hz)
        grown = np.exp(time_s / self.growth_s)
        phase = 2 * np.pi * np.mod(self.cycles * grown, 1.0)
        return np.asarray(np.sin(phase) * self.fade(START_HZ * grown))

    def fade(self, hz: NDArray[np.floating[Any]]) -> Doubles:
        """The amplitude at a frequency: 1, and raised cosines over the logarithm at both ends."""
        nyquist_hz = self.rate_hz / 2
        octaves = np.log(np.maximum(hz.astype(np.float64), 1e-3))
        fade = np.ones_like(octaves)
        for from_hz, to_hz in (
            (START_HZ, FULL_HZ),
            (START_HZ * self.end_cycles / self.cycles, FULL_SHARE * nyquist_hz),
        ):
            share = (octaves - math.log(from_hz)) / math.log(to_hz / from_hz)
            fade *= np.sin(np.pi / 2 * np.clip(share, 0, 1)) ** 2
        return fade

    def advance(self, order: int) -> float:
        """How many samples before the linear response that of an order of distortion begins."""
        return self.growth_s * math.log(order) * self.rate_hz


@dataclass(frozen=True)
class Response:
    """What a system did to a sweep: `circular` (samples,), the linear response from 0 on, and each
    order of distortion before it, at the end of the array."""

    circular: Doubles
    sweep: SineSweep

    def part(self, at: float, before: int, after: int) -> Doubles:
        """Samples around a place, fractional places to the sample before: (before + after,)."""
        begin = math.floor(at) - before
        return self.circular.take(np.arange(begin, begin + before + after), mode="wrap")

    def noise(self, most: int | None = None) -> Doubles:
        """Noise alone, as it is in the linear response: what is before the highest order of
        distortion, its last `most` samples."""
        begin = len(self.circular) - self.sweep.frames()
        end = len(self.circular) - math.ceil(self.sweep.advance(ORDERS[-1] + 2))
        return self.circular[max(begin, 0, end - most if most else 0) : end]

    def noise_power(self) -> float:
        """Of the noise, per sample."""
        part = self.noise()
        return float(part @ part) / len(part)

    def arrival(self, within: int | None = None) -> int:
        """The sample of the largest magnitude of the linear response."""
        return int(np.argmax(np.abs(self.circular[:within])))


def deconvolve(recorded: Doubles, sweep: SineSweep, ratio: float = 1.0) -> Response:
    """The response of a system. `recorded` (samples,) begins with the sweep and holds the decay
    after it. `ratio`: see `SineSweep.samples`."""
    played = sweep.samples(ratio)
    frames = smooth_number(max(len(recorded), len(played)), even=True)
    spectrum = np.fft.rfft(recorded, frames)
    spectrum *= _inverse(sweep, frames, ratio)
    return Response(np.fft.irfft(spectrum, frames), sweep)


def _inverse(sweep: SineSweep, frames: int, ratio: float = 1.0) -> NDArray[np.complex128]:
    """The spectrum by which that of a recording becomes that of the response."""
    hz = np.fft.rfftfreq(frames, 1 / sweep.rate_hz)
    played = np.fft.rfft(sweep.samples(ratio), frames)
    # Energy per hertz: the sweep is at each frequency for L / f.
    analytic = sweep.growth_s * sweep.rate_hz**2 / (4 * np.maximum(hz, START_HZ / 2))
    power = played.real**2 + played.imag**2 + analytic * 10 ** (KIRKEBY_DB / 10)
    return np.asarray(played.conj() * (sweep.fade(hz) / power))


def noise_gain(sweep: SineSweep, frames: int = 1 << 16) -> tuple[Doubles, Doubles]:
    """Frequencies, and by how much noise at each becomes stronger or weaker in the response: the
    square of the inverse's analytic magnitude."""
    hz = np.fft.rfftfreq(frames, 1 / sweep.rate_hz)
    analytic = sweep.growth_s * sweep.rate_hz**2 / (4 * np.maximum(hz, START_HZ / 2))
    return np.asarray(hz), sweep.fade(hz) ** 2 / analytic


@dataclass(frozen=True)
class Distortion:
    """share: by order, the amplitude of the harmonic over that of the linear response, mean over
    frequency. compression: the linear response over that of a soft sound; 1 where it is not
    known. floor: the share that noise alone would have."""

    share: dict[int, float]
    compression: float
    floor: float

    @property
    def thd(self) -> float:
        """All orders together."""
        return math.sqrt(sum(value**2 for value in self.share.values()))


def distortion(response: Response, arrival: int, noise_power: float = 0.0) -> Distortion:
    """The distortion of each of ORDERS that the sweep's range and length separate.

    Both responses at the same frequencies, so that what follows the distorting part, such as a
    room, has no effect. `noise_power`: of the response's noise, per sample; it is subtracted.
    """
    sweep, rate_hz = response.sweep, response.sweep.rate_hz
    share: dict[int, float] = {}
    lift = floor = 0.0
    for order in ORDERS:
        gap = sweep.advance(order) - sweep.advance(order - 1)
        before, after = int(PRE_SHARE * gap), int((1 - 2 * PRE_SHARE) * gap)
        place = arrival - sweep.advance(order)
        low_hz, high_hz = max(order * FULL_HZ, 4 * rate_hz / gap), FULL_SHARE * rate_hz / 2
        if after < 64 or low_hz > high_hz / 4:
            continue
        window = _window(before, after)
        frames = smooth_number(2 * len(window), even=True)
        hz = np.fft.rfftfreq(frames, 1 / rate_hz)
        inside = (hz >= low_hz) & (hz <= high_hz)
        linear = np.fft.rfft(response.part(arrival, before, after) * window, frames)[inside]
        other = np.fft.rfft(response.part(place, before, after) * window, frames)[inside]
        # A harmonic begins between two samples; its part was cut at the one before.
        other *= np.exp(2j * np.pi * hz[inside] * (place - math.floor(place)) / rate_hz)
        noise = noise_power * float(window @ window) * int(inside.sum())
        energy = max(_energy(other) - noise, 0.0)
        base = max(_energy(linear) - noise, 1e-300)
        share[order] = math.sqrt(energy / base)
        floor = max(floor, math.sqrt(noise / base))
        across = complex(np.vdot(linear, other))
        if order % 2 and abs(across) > ALIKE * math.sqrt(base * max(_energy(other), 1e-300)):
            # sin(n a) is n sin(a) and higher powers: what the harmonic takes from a soft sound.
            lift += order * across.real / base
    return Distortion(share, 1 / (1 + lift) if abs(lift) < 1 else 1.0, floor)


def _window(before: int, after: int) -> Doubles:
    """Raised cosines before the response, and over the last fifth of it."""
    window = np.ones(before + after)
    window[:before] = np.sin(np.pi / 2 * (np.arange(before) + 0.5) / max(before, 1)) ** 2
    end = after // 5
    window[len(window) - end :] = np.cos(np.pi / 2 * (np.arange(end) + 0.5) / max(end, 1)) ** 2
    return window


def _energy(spectrum: NDArray[np.complex128]) -> float:
    return float(np.sum(spectrum.real**2 + spectrum.imag**2))


def causal(ir: Doubles, before: int, sweep: SineSweep, noise_power: float) -> Doubles:
    """A response whose frequencies below FULL_HZ, where the sweep fades, are what makes the
    `before` samples in front of it silent.

    A missing band without a phase rings before the onset and after it; cut off there, it would turn
    the phase two octaves above. `ir` (samples,) begins EXTEND_S or more before its onset at
    `before`. With more noise less is filled in. This is a guess: in rooms it is wrong by up to 1 dB
    and 20 samples at 20 Hz, 0.1 dB from 100 Hz and 0.2 samples from 200 Hz on.
    """
    frames = smooth_number(len(ir), even=True)
    hz = np.fft.rfftfreq(frames, 1 / sweep.rate_hz)
    bins = np.flatnonzero(hz < FULL_HZ)
    missing = 1 - sweep.fade(hz[bins])
    # The missing band as cosines and sines over time, averaged over each step.
    middle = (np.arange(frames // EXTEND_STEP) + 0.5) * EXTEND_STEP
    turns = np.outer(middle, hz[bins] * (2 * np.pi / sweep.rate_hz))
    waves = np.concatenate([np.cos(turns) * missing, -np.sin(turns[:, 1:]) * missing[1:]], axis=1)
    waves *= 2 / frames
    waves[:, 0] /= 2
    used = len(ir) // EXTEND_STEP
    means = ir[: used * EXTEND_STEP].reshape(used, EXTEND_STEP).mean(axis=1)
    weight = np.where((middle[:used] < before), 1.0, AFTER_WEIGHT)
    weight[: max(0, (before - int(EXTEND_S * sweep.rate_hz)) // EXTEND_STEP)] = AFTER_WEIGHT
    rows = waves[:used] * weight[:, None]
    normal = rows.T @ rows
    # As strong as the octave and a half above, but where the silence is not silent enough to tell.
    near = np.fft.rfft(ir, frames)[(hz >= FULL_HZ) & (hz < 3 * FULL_HZ)]
    usual = _energy(near) / max(len(near), 1)
    normal[np.diag_indices_from(normal)] += 1e-9 * np.trace(normal) / len(
        normal
    ) + noise_power / EXTEND_STEP / max(usual, 1e-300)
    found = np.linalg.solve(normal, rows.T @ (-means * weight))
    spectrum = np.zeros(len(hz), np.complex128)
    spectrum[bins] = found[: len(bins)] * missing
    spectrum[bins[1:]] += 1j * found[len(bins) :] * missing[1:]
    return np.asarray(ir + np.fft.irfft(spectrum, frames)[: len(ir)])
