"""A measured response whose noise gives way to its own decay, band by band.

Where the noise becomes as strong as the room, a band of the response is faded out, and noise of the
level and slope that its decay has there is faded in. The response is faded before it is filtered:
filters spread only what is faded out, so all that is before stays as it was measured, also the
phase of the lowest bands.

NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import band_response, through_band
from dsp.bands import band_windows, smooth_number
from dsp.energymap import Grid
from dsp.noise import LEAD_S, Noise

Doubles = NDArray[np.float64]

GRID = Grid(bands=32)
"""Its bands are used, not its frames."""
STEP_S = 0.005
"""Energy is summed over this."""
PAD_S = 0.75
"""Silence for the ringing of the filters."""
MASKED_DB, FIT_DB = 6.0, 20.0
"""A decay is used down to MASKED_DB above the noise; its slope is that of the FIT_DB above."""
HALF_S, SHARE, SAMPLES = 0.03, 0.06, 4.0
"""Levels are means over this to both sides: HALF_S, SHARE of the time since the onset, or SAMPLES /
bandwidth, what is longest."""
FADE_S = 0.01
"""A fade takes the time in which the decay falls by MASKED_DB, and at least this."""
LONGEST_T60_S, SHORTEST_T60_S = 30.0, 0.02
LEAST_STEPS = 8
"""A shorter decay is none."""
BLOCK = 1 << 14
"""Samples that fade at once."""
ROUNDS, SMALL = 20, 1e-4
"""Of the fit of a decay: at most ROUNDS, until it changes by SMALL."""
LEFT_DB, BAND_LEFT_DB = -90.0, -80.0
"""A response ends where this share of its energy is left, and of that of each band."""


@dataclass(frozen=True)
class _Decay:
    """How a band ends: the noise masks it `at_s` after the onset. There its power density is
    `power`, that of white noise of unit variance is 1, and falls by `per_s` nepers per second.
    energy: power times time, of the band."""

    at_s: float
    width_hz: float
    energy: float
    power: float = 0.0
    per_s: float = 1e3

    @property
    def fade_s(self) -> float:
        return max(MASKED_DB * math.log(10) / 10 / self.per_s, FADE_S)

    def ends_s(self, whole: float) -> float:
        """Where LEFT_DB of the energy `whole` of all bands is left, and BAND_LEFT_DB of its own."""
        most = min(
            10 ** (LEFT_DB / 10) * whole / self.width_hz, 10 ** (BAND_LEFT_DB / 10) * self.energy
        )
        left = self.power / self.per_s / max(most, 1e-300)
        return self.at_s + max(math.log(max(left, 1.0)) / self.per_s, self.fade_s)


def with_own_decay(
    ir: Doubles, onset: int, noise: Doubles, rate_hz: int, channel: int, longest_s: float = 10.0
) -> Doubles:
    """The response (samples,) without its noise, as long as it is heard. `noise`: a piece of the
    noise alone. `channel`: each of a room's channels goes on with noise of its own."""
    decays = _decays(ir[onset:], noise, rate_hz)
    whole = sum(decay.energy * decay.width_hz for decay in decays)
    ends_s = max(decay.ends_s(whole) for decay in decays)
    taps = min(onset + round(ends_s * rate_hz), round(longest_s * rate_hz))
    lead = int(LEAD_S * rate_hz)
    # A smooth number: to make noise of any length takes five times the memory.
    noise_taps = smooth_number(lead + taps - onset, even=True)
    white = Noise(rate_hz, 1 + channel // 2)(noise_taps)[channel % 2, lead : lead + taps - onset]
    frames = smooth_number(taps + int(PAD_S * rate_hz), even=True)
    spectrum = np.zeros(frames // 2 + 1, np.complex128)
    part = np.zeros(frames)
    for window in band_windows(rate_hz, GRID, frames, whole=True):
        part[:taps] = 0
        part[: min(len(ir), taps)] = ir[:taps]
        _give_way(part[onset:taps], white, decays[window.band], rate_hz)
        bins = slice(window.first, window.first + window.size)
        spectrum[bins] += np.fft.rfft(part)[bins] * window.window * window.own
    result = np.fft.irfft(spectrum, frames)[:taps]
    result[:onset] = ir[:onset]
    fade = min(int(FADE_S * rate_hz), taps - onset)
    result[taps - fade :] *= np.cos(np.pi / 2 * np.arange(fade) / fade)
    return np.asarray(result)


def _give_way(sound: Doubles, white: NDArray[np.float32], decay: _Decay, rate_hz: int) -> None:
    """Fade a sound out where noise masks a decay, and noise of its own in."""
    first = max(math.ceil(decay.at_s * rate_hz), 0)
    for begin in range(first, len(sound), BLOCK):
        part = slice(begin, min(begin + BLOCK, len(sound)))
        past_s = np.arange(part.start, part.stop) / rate_hz - decay.at_s
        angle = np.pi / 2 * np.minimum(past_s / decay.fade_s, 1)
        sound[part] *= np.cos(angle)
        level = math.sqrt(decay.power) * np.exp(-decay.per_s / 2 * past_s)
        sound[part] += white[part] * np.sin(angle) * level


def _decays(sound: Doubles, noise: Doubles, rate_hz: int) -> list[_Decay]:
    """How each band of a sound ends. The filters run backwards in time: they ring before a sound,
    not after it."""
    step = round(STEP_S * rate_hz)
    frames = smooth_number(len(sound) + int(PAD_S * rate_hz), even=True)
    spectrum = np.fft.rfft(sound, frames)
    hann = np.hanning(len(noise))
    noise_power = np.abs(np.fft.rfft(noise * hann)) ** 2 / float(hann @ hann)
    noise_hz = np.fft.rfftfreq(len(noise), 1 / rate_hz).astype(np.float64)
    decays = []
    for band in range(int(np.count_nonzero(GRID.centre_hz <= 0.49 * rate_hz))):
        low_hz, high_hz = GRID.edge_hz[band : band + 2]
        high_hz = min(high_hz, 0.495 * rate_hz)
        filtered, _ = through_band(spectrum, frames, low_hz, high_hz, rate_hz)
        filtered *= filtered
        energy = np.add.reduceat(filtered[: len(sound)], np.arange(0, len(sound), step))
        energy = energy[: len(sound) // step] / step
        share = np.abs(band_response(noise_hz, low_hz, high_hz, rate_hz)) ** 2
        passed = float(share.mean())
        floor = float(noise_power @ share) / len(share)
        width_hz = high_hz - low_hz
        decays.append(_decay(energy / passed, floor / passed, width_hz, step / rate_hz))
    return decays


def _decay(power: Doubles, floor: float, bandwidth_hz: float, step_s: float) -> _Decay:
    """How a band ends whose mean power in each step is `power`, and that of its noise `floor`."""
    energy = max(float(np.sum(power - floor)), 0.0) * step_s
    middle_s = np.asarray((np.arange(len(power)) + 0.5) * step_s, np.float64)
    level = _averaged(power, middle_s, bandwidth_hz)
    heard = np.flatnonzero(level > floor * 10 ** (MASKED_DB / 10))
    # The last one: in the gap after a direct sound, the noise may be all there is.
    last = int(heard[-1]) if len(heard) else 0
    high = np.flatnonzero(level - floor > (level[last] - floor) * 10 ** (FIT_DB / 10))
    first = max(int(high[-1]) if len(high) else 0, int(np.argmax(power))) + 1
    end = min(2 * last - first, len(power))
    silent = _Decay(middle_s[last], bandwidth_hz, energy)
    if end - first < LEAST_STEPS:
        return silent
    height, per_s = _fit(power[first:end], floor, middle_s[first:end] - middle_s[first])
    above = height - math.log(max(floor, 1e-300)) - MASKED_DB * math.log(10) / 10
    if above < 0:
        return silent
    masked_s = min(above / per_s, (len(power) - 1 - first) * step_s)
    begins_s = middle_s[first] + masked_s
    return _Decay(begins_s, bandwidth_hz, energy, math.exp(height - per_s * masked_s), per_s)


def _averaged(power: Doubles, middle_s: Doubles, bandwidth_hz: float) -> Doubles:
    """The power averaged over times that grow with the distance from the onset."""
    step_s = 2 * middle_s[0]
    half = np.maximum(np.maximum(HALF_S, SAMPLES / bandwidth_hz), SHARE * middle_s) / step_s
    total = np.concatenate([[0.0], np.cumsum(power)])
    at, edges = np.arange(len(power)) + 0.5, np.arange(len(total))
    low, high = np.maximum(at - half, 0), np.minimum(at + half, len(power))
    return np.asarray((np.interp(high, edges, total) - np.interp(low, edges, total)) / (high - low))


def _fit(power: Doubles, floor: float, at_s: Doubles) -> tuple[float, float]:
    """The most likely exponential decay over a known noise: the logarithm of its power at 0, and
    its nepers per second. Powers of Gaussian noise are gamma-distributed (Fisher scoring)."""
    clean = np.log(np.maximum(power - floor, 0.1 * power) + 1e-300)
    slope, height = np.polyfit(at_s, clean, 1)
    least, most = (6 * math.log(10) / t60_s for t60_s in (LONGEST_T60_S, SHORTEST_T60_S))
    found = np.array([height, min(max(-slope, least), most)])
    for _ in range(ROUNDS):
        decay = np.exp(found[0] - found[1] * at_s)
        model = decay + floor + 1e-300
        rates = np.stack([decay, -at_s * decay]) / model
        information = rates @ rates.T + 1e-9 * np.eye(2)
        change = np.linalg.solve(information, rates @ (power / model - 1))
        change *= min(1.0, 1.0 / max(float(np.abs(change * [1, at_s[-1]]).max()), 1e-12))
        found += change
        found[1] = min(max(found[1], least), most)
        if np.abs(change * [1, at_s[-1]]).max() < SMALL:
            break
    return float(found[0]), float(found[1])
