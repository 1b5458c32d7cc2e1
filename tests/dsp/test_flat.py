"""Even noise: rooms decay as their maps say and are as lively as noise, by SciPy's filters."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID, EnergyMap, erb_to_hz, hz_to_erb
from dsp.synthesis import Synthesiser

MAKES_NOISE = True  # see conftest.py
RATE_HZ = 48_000
OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)
PAD = RATE_HZ // 2


@pytest.fixture(scope="module")
def synthesise() -> Synthesiser:
    return Synthesiser(RATE_HZ, longest_s=6.0)


def exponential(t60_s: float) -> EnergyMap:
    """White noise that decays, averaged over each frame; to -120 dB."""
    rate, edges = np.log(1e6) / t60_s, DEFAULT_GRID.frame_edge_s
    frames = (np.exp(-rate * edges[:-1]) - np.exp(-rate * edges[1:])) / (rate * np.diff(edges))
    energy = np.diff(DEFAULT_GRID.edge_hz)[:, None] * np.maximum(frames, 1e-300)
    return EnergyMap(
        np.maximum(10 * np.log10(energy), 10 * np.log10(energy.max()) - 120).astype(np.float32)
    )


def curve_db(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    left = np.cumsum(energy[::-1])[::-1]
    return np.asarray(10 * np.log10(np.maximum(left / left[0], 1e-14)))


def decays_db(
    sound: NDArray[np.float32], t60_s: float, hz: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The decay curve of an octave, and that of an exact exponential through the same filter, which
    runs backwards in time (Jacobsen & Rindel 1987)."""
    sos = scipy.signal.butter(
        3, [hz / np.sqrt(2), hz * np.sqrt(2)], "band", fs=RATE_HZ, output="sos"
    )
    taps = int(1.6 * t60_s * RATE_HZ)
    padded = np.zeros(taps + 2 * PAD)
    padded[PAD : PAD + min(taps, len(sound))] = sound[:taps]
    got = scipy.signal.sosfilt(sos, padded[::-1])[::-1] ** 2
    response = scipy.signal.sosfilt(sos, np.eye(1, PAD)[0])[::-1] ** 2
    exact = np.zeros(taps + 2 * PAD)
    exact[PAD : PAD + taps] = 10 ** (-6 * np.arange(taps) / RATE_HZ / t60_s)
    exact = scipy.signal.fftconvolve(exact, response)[PAD - 1 :][: len(exact)]
    part = slice(PAD, PAD + taps)
    return curve_db(got)[part], curve_db(np.maximum(exact, 0))[part]


@pytest.mark.parametrize("t60_s", [0.2, 0.5, 1.0, 3.0])
def test_octaves_decay_to_80_db_as_the_map_says(synthesise: Synthesiser, t60_s: float) -> None:
    """In each octave from 125 Hz, in mono and in both channels, within 1.5 dB from where the noise
    has enough degrees of freedom (bandwidth x T60 > 150); below, within 3 dB."""
    for width in (0.0, 1.0):
        for channel in synthesise(exponential(t60_s), width)[: 1 + (width > 0)]:
            for hz in OCTAVES_HZ:
                got, exact = decays_db(channel, t60_s, hz)
                limit_db = 1.5 if hz / np.sqrt(2) * t60_s > 150 else 3.0
                assert np.abs(got - exact)[exact > -80].max() < limit_db, (width, hz)


def intensity_variance(sound: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    """Of a band's intensity from 0.1 s to -45 dB, divided by its trend, a parabola in dB."""
    frames = 1 << (len(sound) - 1).bit_length()
    hz = np.fft.fftfreq(frames, 1 / RATE_HZ)
    width = high_hz - low_hz
    shape = np.exp(-0.5 * ((hz - (low_hz + high_hz) / 2) / (0.42 * width)) ** 2)
    band = np.fft.ifft(np.fft.fft(sound, frames) * shape)[: len(sound)]
    intensity = np.abs(band[RATE_HZ // 10 :: int(RATE_HZ / width / 2)]) ** 2
    intensity = intensity[curve_db(intensity) > -45]
    at = np.arange(len(intensity)) / len(intensity)
    trend = np.polyfit(at, np.log(intensity), 2)
    for _ in range(8):
        trend = trend + np.polyfit(at, intensity / np.exp(np.polyval(trend, at)) - 1, 2)
    relative = intensity / np.exp(np.polyval(trend, at))
    return float(np.var(relative) / np.mean(relative) ** 2)


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_tails_are_as_lively_as_noise(synthesise: Synthesiser, width: float) -> None:
    """The variance of intensity in ERB bands is 1 for Gaussian noise, 0.97 for real rooms: here
    0.93 to 1.05, mean of the bands from 100 Hz to 8 kHz."""
    edges = erb_to_hz(np.arange(hz_to_erb(100.0), hz_to_erb(8000.0)))
    ir = synthesise(exponential(2.0), width)
    found = [
        intensity_variance(channel, low, high) for channel in ir for low, high in pairwise(edges)
    ]
    assert 0.93 < np.mean(found) < 1.05


def test_noise_of_all_bands_has_the_same_level(synthesise: Synthesiser) -> None:
    """Third-octaves of a steady white room, means over 3 s, within 0.5 dB of the noise's own
    chance."""
    level = np.repeat(
        10 * np.log10(np.diff(DEFAULT_GRID.edge_hz))[:, None], DEFAULT_GRID.frames, axis=1
    )
    ir = synthesise(EnergyMap(level.astype(np.float32)), width=0.0)[0, : 3 * RATE_HZ]
    power = np.abs(np.fft.rfft(ir.astype(float))) ** 2
    centres = 125 * 2 ** (np.arange(21) / 3)
    bins = (centres[:, None] * np.array([2 ** (-1 / 6), 2 ** (1 / 6)]) * 3).astype(int)
    got = np.array([10 * np.log10(power[low:high].mean()) for low, high in bins])
    assert np.abs(got - got.mean()).max() < 0.5 + 4.34 * 2 / np.sqrt(bins[0, 1] - bins[0, 0])


def test_prepared_carriers_equal_carriers_made_on_demand() -> None:
    level = np.repeat(
        (-60 * DEFAULT_GRID.frame_centre_s / 0.8)[None], DEFAULT_GRID.bands, axis=0
    ).astype(np.float32)
    room = EnergyMap(np.maximum(level, -120))
    at_once, prepared = Synthesiser(RATE_HZ), Synthesiser(RATE_HZ)
    assert sum(1 for _ in iter(prepared.prepare, False)) > 10  # number of lengths
    assert np.array_equal(at_once(room), prepared(room))
