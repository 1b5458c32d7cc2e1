"""Responses that are known, measured with noise 90 dB below the sweep: exact from 20 Hz on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp.low_end import SILENT_S, with_low_end
from dsp.sweep import SineSweep, deconvolve

RATE_HZ = 48000
FRAMES = 1 << 18
AT, LEAD = 200, 96
Doubles = NDArray[np.float64]


def decaying(t60_s: float, seed: int) -> Doubles:
    """A direct sound, and noise that decays by 80 dB."""
    time = np.arange(int(1.4 * t60_s * RATE_HZ)) / RATE_HZ
    ir = 0.05 * np.random.default_rng(seed).standard_normal(len(time)) * np.exp(-6.9 * time / t60_s)
    ir[0] = 1.0
    return ir


def coupled(ir: Doubles, hz: float) -> Doubles:
    """Through the coupling capacitor of a card: a high-pass of first order."""
    turn = 1j * np.fft.rfftfreq(FRAMES, 1 / RATE_HZ) / hz
    through = np.fft.irfft(np.fft.rfft(ir, FRAMES) * turn / (1 + turn), FRAMES)
    return np.asarray(through[: len(ir) + RATE_HZ])


def measured(ir: Doubles, sweep: SineSweep, below_db: float, seed: int = 1) -> Doubles:
    """The response that a measurement gives, with what is in front of it cut off."""
    frames, end = 1 << 20, sweep.frames() + len(ir) + 2 * RATE_HZ
    spectrum = np.fft.rfft(sweep.samples(), frames) * np.fft.rfft(ir, frames)
    heard = np.fft.irfft(spectrum, frames)[:end]
    noise = np.random.default_rng(seed).standard_normal(end)
    loud = np.std(heard[: sweep.frames()])
    response = deconvolve(heard + noise * loud * 10 ** (-below_db / 20), sweep)
    before = int(SILENT_S * RATE_HZ)
    part = response.part(0, before, len(ir) + RATE_HZ)
    begin = before + AT - LEAD
    part = with_low_end(part, begin, sweep, response.kept(0, 1, 1 << 17).noise(1 << 17))
    part[:begin] = 0
    return np.asarray(part[before : before + len(ir)])


SYSTEMS = {
    "wire": np.pad([1.0], (0, 4800)),
    "wire with a capacitor": coupled(np.array([1.0]), 10.0),
    "small room": decaying(0.3, 3),
    "room": decaying(0.6, 1),
    "another room": decaying(0.6, 2),
    "room with a capacitor": coupled(decaying(0.6, 4), 5.0),
    "hall": decaying(2.0, 5),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_response_is_exact_from_20_hz_on(name: str) -> None:
    """0.1 dB and a phase delay of 0.1 samples, where there is no notch."""
    ir = np.concatenate([np.zeros(AT), SYSTEMS[name]])
    found = measured(ir, SineSweep.of(RATE_HZ, 3.0), 90)
    true = np.fft.rfft(ir, FRAMES)
    off = np.fft.rfft(found, FRAMES) / true
    hz = np.fft.rfftfreq(FRAMES, 1 / RATE_HZ)
    usual = np.sqrt(np.convolve(np.abs(true) ** 2, np.ones(31) / 31, "same"))
    heard = (hz >= 20) & (hz <= 20000) & (np.abs(true) > 0.3 * usual)
    level_db = np.abs(20 * np.log10(np.abs(off[heard])))
    delay = np.abs(np.angle(off[heard])) / (2 * np.pi * hz[heard]) * RATE_HZ
    assert level_db.max() < 0.1
    assert delay.max() < 0.1
