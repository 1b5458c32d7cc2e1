"""Synchronized exponential sweeps (Novak, Lotton and Simon 2015), and what comes out of a system
that one is played into: its impulse response and its distortion.

The phase is 2 pi CYCLES exp(t / L). CYCLES = start_hz * L is whole, so the nth harmonic of the
sweep is the sweep itself, L ln(n) earlier, with the same phase: in the response each order of
distortion is an impulse response of its own, at -L ln(n), apart from the linear one at 0.

The inverse is the spectrum of the samples as played, fades included, with Kirkeby's regularisation:
far below the analytic spectrum of the sweep. What is played grows from the start to FULL_HZ, as
loudspeakers can do it; the inverse makes up for that. So the linear response of a wire is, without
a phase, 1 from half an octave above the start to FULL_SHARE of the Nyquist frequency; only the
noise below FULL_HZ is larger.

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
from dsp.plane_fft import combine, plane_for

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

FULL_HZ = 20.0
"""From here on the sweep has its full amplitude."""
LOWEST_START_HZ, HIGHEST_START_HZ = 4.0, FULL_HZ / math.sqrt(2)
"""A sweep starts between these, the shorter the higher."""
TARGET_RISE = math.sqrt(2)
"""The response of a wire is 1 from this times the start."""
FULL_SHARE, END_SHARE = 0.93, 0.975
"""Of the Nyquist frequency: the sweep fades out between them."""
SHORTEST_S = 0.25
BLOCK = 1 << 14
"""Samples that are computed at once."""
KIRKEBY_DB = -60.0
"""Of the regularisation, relative to the analytic power spectrum of the sweep."""
ORDERS = tuple(range(2, 8))
"""Orders of distortion that are measured."""
PRE_SHARE = 0.1
"""This share of the distance to the next response belongs to the time before a response."""
ALIKE = 0.9
"""Distortion whose spectrum is like the linear one to this degree has no memory."""


@dataclass(frozen=True)
class SineSweep:
    """A sweep at full scale from `start_hz` to END_SHARE of the Nyquist frequency.

    cycles: start_hz times the time in which the frequency grows by e. end_cycles: cycles at the
    end, a whole number: a zero crossing.
    """

    rate_hz: int
    start_hz: float
    cycles: int
    end_cycles: int

    @classmethod
    def of(cls, rate_hz: int, seconds: float) -> SineSweep:
        """The sweep of about this length. Raises InvalidValue if it is too short."""
        if not seconds >= SHORTEST_S:
            raise InvalidValue(f"a sweep of {seconds:g} s: at least {SHORTEST_S:g} s")
        end_hz = END_SHARE * rate_hz / 2
        most = LOWEST_START_HZ * seconds / math.log(end_hz / LOWEST_START_HZ)
        cycles, start_hz = math.ceil(most), LOWEST_START_HZ
        for _ in range(20):  # a fixed point
            start_hz = cycles * math.log(end_hz / start_hz) / seconds
        start_hz = min(start_hz, HIGHEST_START_HZ)
        return cls(rate_hz, start_hz, cycles, math.floor(end_hz / start_hz * cycles))

    @property
    def growth_s(self) -> float:
        """L: the time in which the frequency grows by e."""
        return self.cycles / self.start_hz

    @property
    def seconds(self) -> float:
        return self.growth_s * math.log(self.end_cycles / self.cycles)

    def frames(self, ratio: float = 1.0) -> int:
        return math.ceil(self.seconds / ratio * self.rate_hz)

    def samples(self, ratio: float = 1.0) -> Doubles:
        """The sweep, (frames,), as a recorder hears it that runs slower than the player:
        `ratio` is the player's rate over the recorder's."""
        sound = np.empty(self.frames(ratio))
        self.write(sound, ratio)
        return sound

    def write(self, sound: NDArray[np.floating[Any]], ratio: float = 1.0) -> None:
        """Write `samples` to the beginning of a sound."""
        sound = sound[: self.frames(ratio)]
        for begin in range(0, len(sound), BLOCK):
            part = sound[begin : begin + BLOCK]
            time_s = np.arange(begin, begin + len(part)) * (ratio / self.rate_hz)
            grown = np.exp(time_s / self.growth_s)
            phase = 2 * np.pi * np.mod(self.cycles * grown, 1.0)
            part[:] = np.sin(phase) * self.fade(self.start_hz * grown)

    def fade(self, hz: NDArray[np.floating[Any]]) -> Doubles:
        """The amplitude of the sweep at a frequency: 1, and raised cosines over the logarithm at
        both ends."""
        return self._rise(hz, FULL_HZ)

    def target(self, hz: NDArray[np.floating[Any]]) -> Doubles:
        """The response of a wire at a frequency."""
        return self._rise(hz, TARGET_RISE * self.start_hz)

    def _rise(self, hz: NDArray[np.floating[Any]], full_hz: float) -> Doubles:
        octaves = np.log(np.maximum(hz.astype(np.float64), 1e-3))
        rise = np.ones_like(octaves)
        end_hz = self.start_hz * self.end_cycles / self.cycles
        for from_hz, to_hz in (
            (self.start_hz, full_hz),
            (end_hz, FULL_SHARE * self.rate_hz / 2),
        ):
            share = (octaves - math.log(from_hz)) / math.log(to_hz / from_hz)
            rise *= np.sin(np.pi / 2 * np.clip(share, 0, 1)) ** 2
        return rise

    def advance(self, order: int) -> float:
        """How many samples before the linear response that of an order of distortion begins."""
        return self.growth_s * math.log(order) * self.rate_hz


@dataclass(frozen=True)
class Response:
    """What a system did to a sweep: `circular` (samples,), the linear response from 0 on, and each
    order of distortion before it, at the end of the array."""

    circular: Floats
    sweep: SineSweep

    def part(self, at: float, before: int, after: int) -> Doubles:
        """Samples around a place, fractional places to the sample before: (before + after,)."""
        return np.asarray(self._part(math.floor(at) - before, before + after), np.float64)

    def _part(self, begin: int, length: int) -> Floats:
        return self.circular.take(np.arange(begin, begin + length), mode="wrap")

    def kept(self, before: int, after: int, noise: int) -> LinearResponse:
        """What is needed of it later: the linear response between two places, and its noise."""
        piece = np.array(self._noise(noise))
        return LinearResponse(self._part(-before, before + after), before, piece, self.sweep)

    def _noise(self, most: int | None) -> Floats:
        """Noise alone, as it is in the linear response: what is before the highest order of
        distortion, its last `most` samples."""
        begin = len(self.circular) - self.sweep.frames()
        end = len(self.circular) - math.ceil(self.sweep.advance(ORDERS[-1] + 2))
        return self.circular[max(begin, 0, end - most if most else 0) : end]

    def noise_power(self) -> float:
        """Of the noise, per sample."""
        part = self._noise(None)
        return float(np.einsum("t,t", part, part, dtype=np.float64)) / len(part)

    def arrival(self, within: int | None = None) -> int:
        """The sample of the largest magnitude of the linear response."""
        return int(np.argmax(np.abs(self.circular[:within])))


@dataclass(frozen=True)
class LinearResponse:
    """`samples` of a linear response, from `before` samples before 0 on; a piece of its noise."""

    samples: Floats
    before: int
    noise_alone: Floats
    sweep: SineSweep

    def part(self, at: int, before: int, after: int) -> Doubles:
        """Samples around a place: (before + after,). What is not kept is silence."""
        part = np.zeros(before + after)
        begin = self.before + at - before
        first, last = max(begin, 0), min(begin + len(part), len(self.samples))
        part[first - begin : max(last, first) - begin] = self.samples[first : max(last, first)]
        return part

    def noise(self, most: int) -> Doubles:
        """The last `most` samples of the noise."""
        return np.asarray(self.noise_alone[-most:], np.float64)


def deconvolve(
    recorded: Floats | Doubles, sweep: SineSweep, ratio: float = 1.0, level: float = 1.0
) -> Response:
    """The response of a system. `recorded` (samples,) begins with the sweep and holds the decay
    after it. `ratio`: see `SineSweep.samples`. `level`: amplitude at which the sweep was played."""
    plane = plane_for(max(len(recorded), sweep.frames(ratio)))
    plane.ravel().real[: len(recorded)] = recorded
    sweep.write(plane.ravel().imag, ratio)

    def invert(heard: Spectrum, played: Spectrum, hz: Doubles) -> Spectrum:
        # Energy per hertz: the sweep is at each frequency for L / f.
        analytic = sweep.growth_s * sweep.rate_hz**2 / (4 * np.maximum(hz, sweep.start_hz / 2))
        power = played.real**2 + played.imag**2 + analytic * 10 ** (KIRKEBY_DB / 10)
        return heard * played.conj() * (sweep.target(hz) / (power * level))

    combine(plane, sweep.rate_hz, invert)
    return Response(plane.ravel().real.copy(), sweep)


def as_heard(response: Floats, sweep: SineSweep, ratio: float) -> None:
    """Replace a circular response by what a recorder hears of such a system."""
    plane = plane_for(len(response))
    plane.ravel().real[: len(response)] = response
    sweep.write(plane.ravel().imag, ratio)
    combine(plane, sweep.rate_hz, lambda system, played, _: system * played)
    response[:] = plane.ravel().real[: len(response)]


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


def _energy(spectrum: Spectrum) -> float:
    return float(np.sum(spectrum.real**2 + spectrum.imag**2))
