"""Noisy responses of known rooms: what goes on below the noise is the room's decay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp.acoustics import measure
from dsp.own_decay import with_own_decay

RATE_HZ = 48000
LEAD = 96
Doubles = NDArray[np.float64]


def room(t60_s: float, seed: int, gap_s: float = 0.0) -> Doubles:
    """A direct sound, a gap, and noise that decays by 120 dB."""
    time_s = np.arange(int(2 * t60_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(len(time_s))
    ir = 0.05 * noise * np.exp(-3 * np.log(10) / t60_s * time_s) * (time_s >= gap_s)
    ir[0] = 1.0
    return np.concatenate([np.zeros(LEAD), ir])


def without_noise(ir: Doubles, below_db: float, channel: int = 0) -> Doubles:
    """The response of a measurement whose noise is so far below its direct sound."""
    random, amplitude = np.random.default_rng(9), 10 ** (-below_db / 20)
    heard = np.pad(ir, (0, RATE_HZ)) + amplitude * random.standard_normal(len(ir) + RATE_HZ)
    heard[:LEAD] = 0
    noise = amplitude * random.standard_normal(1 << 16)
    return with_own_decay(heard, LEAD, noise, RATE_HZ, channel)


@pytest.mark.parametrize(("t60_s", "gap_s"), [(0.3, 0.0), (0.6, 0.05), (2.0, 0.0)])
def test_decay_goes_on_below_the_noise(t60_s: float, gap_s: float) -> None:
    """The noise is 40 dB below the beginning of the decay: the last of T30 is not measured. 0.2 dB
    for C50, 5 % for T30 from 500 Hz on, 15 % below, where the decay is as uneven as noise."""
    ir = room(t60_s, 1, gap_s)
    true = measure(ir.astype(np.float32), RATE_HZ)
    found = measure(without_noise(ir, 66).astype(np.float32), RATE_HZ)
    off = np.abs(found.t30_s / true.t30_s - 1)
    assert off[:3].max() < 0.15 and off[3:].max() < 0.05
    assert np.abs(found.c50_db - true.c50_db).max() < 0.2


@pytest.mark.parametrize("seed", [2, 3])
def test_response_stays_exact_from_20_hz_on(seed: int) -> None:
    """Noise at -125 dB: 0.02 dB and a phase delay of 0.1 samples, where there is no notch."""
    ir = room(0.5, seed)
    true, found = (np.fft.rfft(x, 1 << 17) for x in (ir, without_noise(ir, 125)))
    hz = np.fft.rfftfreq(1 << 17, 1 / RATE_HZ)
    usual = np.sqrt(np.convolve(np.abs(true) ** 2, np.ones(31) / 31, "same"))
    heard = (hz >= 20) & (hz <= 20000) & (np.abs(true) > 0.3 * usual)
    off = found[heard] / true[heard]
    assert np.abs(20 * np.log10(np.abs(off))).max() < 0.02
    assert (np.abs(np.angle(off)) / (2 * np.pi * hz[heard]) * RATE_HZ).max() < 0.1


def test_what_has_no_decay_gets_none() -> None:
    """A wire: its noise is taken away, and nothing comes after it."""
    found = without_noise(np.pad([1.0], (LEAD, 480)), 60)
    assert abs(found[LEAD] - 1) < 0.005
    late = found[LEAD + RATE_HZ // 4 :]
    assert not len(late) or np.abs(late).max() < 1e-4


def test_each_channel_goes_on_with_noise_of_its_own() -> None:
    ir = room(0.6, 1)
    tails = [without_noise(ir, 66, n)[LEAD + int(0.7 * RATE_HZ) :][:9600] for n in range(4)]
    alike = np.corrcoef(np.stack(tails)) - np.eye(4)
    assert np.abs(alike).max() < 0.2
