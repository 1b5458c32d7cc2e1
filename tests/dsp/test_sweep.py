"""The sweep and its inverse against systems that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp.errors import InvalidValue
from dsp.sweep import END_SHARE, SineSweep, deconvolve, distortion

RATE_HZ = 48000
SWEEP = SineSweep.of(RATE_HZ, 5.0)
Doubles = NDArray[np.float64]


def through(sound: Doubles, ir: Doubles, tail_s: float = 1.0) -> Doubles:
    frames = 1 << (len(sound) + len(ir)).bit_length()
    whole = np.fft.irfft(np.fft.rfft(sound, frames) * np.fft.rfft(ir, frames), frames)
    return whole[: len(sound) + int(tail_s * RATE_HZ)]


def room(t60_s: float = 0.6, seed: int = 1) -> Doubles:
    time = np.arange(RATE_HZ // 2) / RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(len(time))
    ir = 0.05 * noise * np.exp(-6.9 * time / t60_s)
    ir[0] = 1.0
    return np.concatenate([np.zeros(100), ir])


def noisy(sound: Doubles, below_db: float, seed: int = 2) -> Doubles:
    noise = np.random.default_rng(seed).standard_normal(len(sound))
    return sound + noise * np.sqrt(np.mean(sound**2)) * 10 ** (-below_db / 20)


def oversampled(sound: Doubles, shape: object, factor: int = 4) -> Doubles:
    """A distortion without memory, at `factor` times the rate: as an analog one, it has no
    aliases."""
    frames = len(sound) + len(sound) % 2
    spectrum = np.zeros(frames * factor // 2 + 1, complex)
    spectrum[: frames // 2 + 1] = np.fft.rfft(sound, frames)
    bent = shape(np.fft.irfft(spectrum, frames * factor) * factor)  # type: ignore[operator]
    return np.fft.irfft(np.fft.rfft(bent)[: frames // 2 + 1] / factor, frames)[: len(sound)]


def test_sweep_begins_and_ends_at_zero_and_is_synchronized() -> None:
    """A sine of n times the phase is the sweep itself, L ln(n) earlier (Novak 2015)."""
    sound = SWEEP.samples()
    assert abs(sound[0]) < 1e-9 and abs(sound[-1]) < 1e-3
    assert abs(SWEEP.seconds - 5.0) < 0.001
    assert SWEEP.end_cycles / SWEEP.cycles * SWEEP.start_hz <= END_SHARE * RATE_HZ / 2
    for order in (2, 3, 5):
        advance = SWEEP.growth_s * np.log(order)
        for at in np.linspace(0.5, 1.5, 7):
            phase = SWEEP.cycles * np.exp(at / SWEEP.growth_s)
            later = SWEEP.cycles * np.exp((at + advance) / SWEEP.growth_s)
            assert abs((order * phase - later + 0.5) % 1 - 0.5) < 1e-6


def test_too_short_sweep_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"at least 0\.25 s"):
        SineSweep.of(RATE_HZ, 0.1)


@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_response_of_a_wire_is_flat_and_without_phase(rate_hz: int) -> None:
    """20 Hz to 20 kHz: 0.01 dB, 0.01 samples."""
    sweep = SineSweep.of(rate_hz, 3.0)
    sound = np.concatenate([sweep.samples(), np.zeros(rate_hz)])
    spectrum = np.fft.rfft(deconvolve(sound, sweep).circular)
    hz = np.fft.rfftfreq(2 * (len(spectrum) - 1), 1 / rate_hz)
    band = (hz >= 20) & (hz <= 20000)
    assert np.abs(20 * np.log10(np.abs(spectrum[band]))).max() < 0.01
    delay = np.angle(spectrum[band]) / (2 * np.pi * hz[band]) * rate_hz
    assert np.abs(delay).max() < 0.01


@pytest.mark.parametrize("percent", [1, 3, 10])
def test_soft_clip_leaves_the_linear_part_and_is_told_by_order(percent: int) -> None:
    """A cubic: its third harmonic in closed form. The response of a soft sound within 0.2 dB; order
    3 within 10 %, order 2, which it does not have, below a tenth of it."""
    share = percent / 100
    bend = 4 * share / (1 + 3 * share)  # of x - bend x**3: (bend / 4) / (1 - 3 bend / 4)
    ir = room()
    sound = oversampled(SWEEP.samples(), lambda x: x - bend * x**3)
    response = deconvolve(noisy(through(sound, ir), 90), SWEEP)
    found = distortion(response, response.arrival(RATE_HZ), response.noise_power())
    assert abs(found.share[3] / share - 1) < 0.1
    assert found.share[2] < 0.1 * share
    true = np.abs(np.fft.rfft(ir, 1 << 16))
    linear = np.abs(np.fft.rfft(response.part(0, 0, RATE_HZ), 1 << 16)) / found.compression
    hz = np.fft.rfftfreq(1 << 16, 1 / RATE_HZ)
    for low in (100, 400, 1600, 6400):
        band = (hz >= low) & (hz < 2 * low)
        change_db = 10 * np.log10(np.sum(linear[band] ** 2) / np.sum(true[band] ** 2))
        assert abs(change_db) < 0.2
