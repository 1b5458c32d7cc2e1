"""The lowest frequencies of a measured response: what the sweep leaves out or noise covers there.

A response without its lowest band, or with noise in it, rings before its onset. Cut off at the
onset it would have another phase two octaves above. But the true response is silent before its
onset and decays after it, and that tells the missing band: a linear estimate (Wiener) of what is to
be added below FULL_HZ, whose prior is how much is missing and how strong the noise is there.

NumPy only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number
from dsp.sweep import FULL_HZ, SineSweep

Doubles = NDArray[np.float64]

STEP = 256
"""The estimate looks at means of so many samples."""
STEPS = 256
"""Of means that are weighted at once."""
SILENT_S = 0.5
"""Before its onset a response is silent for this long, or until distortion of order 2 begins."""
ROOM_S = 2.0
"""The added waves have a period longer than the response by this: they do not meet themselves."""
NOISE_HZ = 2.0
"""The spectrum of the noise is averaged over this to both sides."""
ROUNDS = 4
"""The decay is known from the estimate, and the estimate from the decay."""
EXACT = 1e-10
"""Power of the errors of the model, relative to that of the response's band."""


def with_low_end(ir: Doubles, before: int, sweep: SineSweep, noise: Doubles) -> Doubles:
    """The response (samples,) with its band below FULL_HZ estimated. Its onset is at `before`; it
    holds SILENT_S or more before that and a second after its decay. `noise`: its noise alone."""
    rate_hz = sweep.rate_hz
    frames = smooth_number(len(ir) + int(ROOM_S * rate_hz), even=True)
    hz = np.asarray(np.fft.rfftfreq(frames, 1 / rate_hz), np.float64)
    low_hz = hz[hz < FULL_HZ]
    spectrum = np.fft.rfft(ir, frames)[hz < 3 * FULL_HZ]
    usual = float(np.mean(np.abs(spectrum[len(low_hz) :]) ** 2)) + 1e-300
    low_noise, mean_noise = _noise(noise, rate_hz, low_hz)
    added = np.sqrt(frames * low_noise / 2 + usual * (1 - sweep.target(low_hz)) ** 2)
    # Steps with a border at the onset.
    first, steps = before % STEP, (len(ir) - before % STEP) // STEP
    silent, floor = (before - first) // STEP, mean_noise + EXACT * usual / STEP**2
    waves = _waves(low_hz, first, steps, frames, rate_hz, added)
    means = ir[first : first + steps * STEP].reshape(steps, STEP).mean(axis=1)
    distortion = int(min(SILENT_S, 0.8 * sweep.advance(2) / rate_hz) * rate_hz) // STEP
    estimate, found = means, np.zeros(waves.shape[1])
    for number in range(ROUNDS):
        variance = floor + _smooth(estimate**2, silent)
        known = slice(max(silent - distortion, 0), silent)
        # What rings there at first is not silence; later it is.
        variance[:silent] = floor + (np.mean(means[known] ** 2) if number == 0 else 0.0)
        variance[: known.start] = 10 * variance.max()
        normal = np.eye(waves.shape[1])
        for begin in range(0, steps, STEPS):
            some = slice(begin, begin + STEPS)
            normal += (waves[some].T / variance[some]) @ waves[some]
        found = np.linalg.solve(normal, -((means / variance) @ waves))
        estimate = means + waves @ found
    bins = len(low_hz)
    low = np.zeros(frames // 2 + 1, np.complex128)
    low[:bins] = found[:bins] * added
    low[1:bins] += 1j * found[bins:] * added[1:]
    return np.asarray(ir + np.fft.irfft(low, frames)[: len(ir)])


def _waves(
    low_hz: Doubles, first: int, steps: int, frames: int, rate_hz: int, scale: Doubles
) -> Doubles:
    """Cosines and sines over time, as means of the steps: (steps, unknowns)."""
    middle = first + (np.arange(steps) + 0.5) * STEP - 0.5
    scale = scale * np.sinc(low_hz * STEP / rate_hz) * 2 / frames
    waves = np.outer(middle, np.concatenate([low_hz, low_hz[1:]]) * (2 * math.pi / rate_hz))
    cosines, sines = waves[:, : len(low_hz)], waves[:, len(low_hz) :]
    np.cos(cosines, out=cosines)
    np.sin(sines, out=sines)
    cosines *= scale
    sines *= -scale[1:]
    waves[:, 0] /= 2
    return waves


def _smooth(energy: Doubles, onset: int) -> Doubles:
    """The energy after the onset, averaged over times that grow with the distance from it."""
    total = np.concatenate([[0.0], np.cumsum(energy[onset:])])
    at = np.arange(len(total) - 1)
    begin = np.maximum(at - 2 - at // 4, 0)
    end = np.minimum(at + 3 + at // 4, len(at))
    smooth = np.zeros(len(energy))
    smooth[onset:] = (total[end] - total[begin]) / (end - begin)
    return smooth


def _noise(noise: Doubles, rate_hz: int, low_hz: Doubles) -> tuple[Doubles, float]:
    """The power of the noise at each of the low frequencies, as that of a sample of white noise,
    and in the means of a step what is above FULL_HZ."""
    window = np.hanning(len(noise))
    power = np.abs(np.fft.rfft(noise * window)) ** 2 / float(window @ window)
    hz = np.fft.rfftfreq(len(noise), 1 / rate_hz)
    width = max(1, int(NOISE_HZ * len(noise) / rate_hz))
    near = np.pad(power[hz < 2 * FULL_HZ], width, mode="edge")
    mean = np.convolve(near, np.full(2 * width + 1, 1 / (2 * width + 1)), "valid")
    above = hz >= FULL_HZ
    share = np.sinc(hz[above] * STEP / rate_hz) ** 2
    return (
        np.interp(low_hz, hz[: len(mean)], mean),
        2 * float(power[above] @ share) / len(noise),
    )
