"""Noise whose energy is even over time, so that a room made of it has the decay of its map.

Random noise is uneven at every scale. A real room is, too, and a tail with constant energy in each
moment sounds dead. So `flatten` evens out only what would change the room: the energy of ERB bands
over EVEN_S and more, and, because a short room has decayed by then, the energy of octaves over a
tenth of the time since the onset. Between these scales the noise stays Gaussian: the variance of
its intensity in ERB bands, which evening lowers, is raised again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.bands import slope, smooth_number
from dsp.energymap import erb_to_hz, hz_to_erb

Floats = NDArray[np.float64]

ROUNDS = 7
EVEN_S, EVEN_SAMPLES = 0.15, 20.0
"""The energy of an ERB band is even over this half-width, and over at least EVEN_SAMPLES /
bandwidth."""
ERBS_UNTIL_HZ = 3000.0
"""Above, ERB bands have so many degrees of freedom that noise is even by itself."""
OCTAVE_SHARE, OCTAVE_SAMPLES, OCTAVE_S = 0.1, 0.7, 0.5
"""The energy of an octave is even over this share of the time since the onset, at least over
OCTAVE_SAMPLES / bandwidth, at most over OCTAVE_S."""
LOW_OCTAVES_HZ = (31.25, 62.5, 125.0, 250.0, 500.0, 1000.0)
HIGH_OCTAVES_HZ, HIGH_UNTIL_S = (2000.0, 4000.0, 8000.0), 2.0
"""High octaves are even by themselves later than this."""
COMMON = 0.7
"""Share of the correlation of both channels that a round removes."""
LIVELY, LIVELY_VARIANCE, LIVELY_S = 2.0, 1.1, 0.5
"""Where the variance of intensity, over LIVELY_S, is lower than LIVELY_VARIANCE, the differences to
the mean level grow by LIVELY times the difference. (A steady value of 1 is Gaussian noise.)"""


@dataclass(frozen=True)
class Span:
    """The time of noise: it lasts `seconds`, begins `lead_s` before the onset, and does not change
    before `kept_s` (from its beginning)."""

    seconds: float
    lead_s: float
    kept_s: float = 0.0


@dataclass(frozen=True)
class _Band:
    bins: slice
    window: NDArray[np.float32]  # power-complementary between the ERB bands, and between octaves
    half_s: Floats  # of the means, for each sample
    is_lively: bool


def flatten(noise: NDArray[np.float32], span: Span) -> Generator[None, None, NDArray[np.float32]]:
    """White noise (2, samples) with even energy, whose channels do not correlate.

    It takes about 0.3 s for 4 s, so it is a generator that yields after each band and returns the
    noise.
    """
    size = noise.shape[1]
    low = [*_erbs(span), *_octaves(LOW_OCTAVES_HZ, span)]
    result = yield from _evened(noise, low, span)
    early = smooth_number(int((span.lead_s + HIGH_UNTIL_S) / span.seconds * size), even=True)
    early = min(early, size)
    short = Span(span.seconds * early / size, span.lead_s)
    bands = list(_octaves(HIGH_OCTAVES_HZ, short, 0.5 * size / span.seconds))
    result[:, :early] = yield from _evened(result[:, :early], bands, short)
    kept = int(span.kept_s / span.seconds * size)
    result[:, :kept] = noise[:, :kept]
    return result


def _evened(
    noise: NDArray[np.float32], bands: list[_Band], span: Span
) -> Generator[None, None, NDArray[np.float32]]:
    spectrum = np.fft.rfft(noise)
    for _ in range(ROUNDS):
        for band in bands:
            part = spectrum[:, band.bins]
            samples = np.asarray(np.fft.ifft(part * band.window), np.complex64)
            part += (
                np.fft.fft(_corrected(samples, band, noise.shape[1], span) - samples) * band.window
            )
            yield
    return np.fft.irfft(spectrum, noise.shape[1]).astype(np.float32)


def _erbs(span: Span) -> Iterator[_Band]:
    for erb in np.arange(1.0, float(hz_to_erb(ERBS_UNTIL_HZ))):
        first, size = _bins(float(erb_to_hz(erb - 1)), float(erb_to_hz(erb + 1)), span)
        window = slope(hz_to_erb((first + np.arange(size)) / span.seconds) - erb)
        half_s = max(EVEN_S, EVEN_SAMPLES * span.seconds / float(np.sum(window**2)))
        bins = slice(first, first + size)
        even_s = np.clip(0.3 * np.abs(_times_s(size, span)), EVEN_S, half_s)
        yield _Band(bins, window.astype(np.float32), even_s, True)


def _octaves(
    centres_hz: tuple[float, ...], span: Span, until_hz: float = np.inf
) -> Iterator[_Band]:
    for centre in centres_hz:
        if 2 * centre >= until_hz:
            break
        first, size = _bins(centre / 2, centre * 2, span)
        window = slope(np.log2((first + np.arange(size)) / span.seconds / centre))
        least_s = OCTAVE_SAMPLES * span.seconds / float(np.sum(window**2))
        half_s = np.clip(OCTAVE_SHARE * np.abs(_times_s(size, span)), least_s, OCTAVE_S)
        yield _Band(slice(first, first + size), window.astype(np.float32), half_s, False)


def _bins(low_hz: float, high_hz: float, span: Span) -> tuple[int, int]:
    """The first bin and the number of bins, fast to transform."""
    first = max(1, int(low_hz * span.seconds))
    return first, smooth_number(int(high_hz * span.seconds) + 1 - first)


def _corrected(
    samples: NDArray[np.complex64], band: _Band, noise_size: int, span: Span
) -> NDArray[np.complex64]:
    """A band's samples with the energy of white noise around each, and uncorrelated channels."""
    left, right = samples
    square = samples.real**2 + samples.imag**2
    both = left.real * right.real + left.imag * right.imag
    means = _meaned(np.stack([*square, both]), band.half_s, span)
    want = noise_size * float(np.sum(band.window**2)) / samples.shape[1] ** 2
    energy = np.maximum(means[:2], 0.01 * want)
    gains = np.clip(np.sqrt(want / energy), 0.5, 2.0)
    if band.is_lively:
        gains *= _livelier(square, span)
    common = (COMMON * means[2] / energy[0]).astype(np.float32)
    return np.asarray(np.stack([left, right - common * left]) * gains, np.complex64)


def _livelier(square: NDArray[np.float32], span: Span) -> Floats:
    """Gains that raise the variance of the intensity (2, samples)."""
    half_s = np.full(square.shape[1], LIVELY_S)
    relative = square / _meaned(square, half_s, span)
    variance = _meaned(relative**2, half_s, span) - 1
    power = LIVELY * np.clip(LIVELY_VARIANCE - variance, -0.1, 0.5)
    return np.asarray(np.clip(relative, 0.01, 10) ** (power / 2))


def _meaned(values: NDArray[np.floating], half_s: Floats, span: Span) -> Floats:
    """Weighted means over about `half_s` before and after each sample: the mean of means over half
    of that, whose weights have no negative frequency, so that repeated corrections converge."""
    size = values.shape[1]
    at, edges = np.arange(size) + 0.5, np.arange(size + 1)
    half = half_s * (0.5 * size / span.seconds)
    low, high = np.maximum(at - half, 0), np.minimum(at + half, size)
    means = values
    for _ in range(2):
        total = np.concatenate([np.zeros((len(means), 1)), np.cumsum(means, 1, float)], 1)
        means = np.stack(
            [(np.interp(high, edges, x) - np.interp(low, edges, x)) / (high - low) for x in total]
        )
    return np.asarray(means, np.float64)


def _times_s(size: int, span: Span) -> Floats:
    """When each sample sounds, from the onset on."""
    return np.asarray(np.arange(size) * (span.seconds / size) - span.lead_s, np.float64)
