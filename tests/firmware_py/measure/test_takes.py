"""Takes of simulated loops: known response, noise, hum, clicks, clipping, two clocks."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from dsp.sweep import SineSweep
from firmware_py.measure.programme import Programme
from firmware_py.measure.takes import Take, combined, understand

RATE_HZ = 48000
LEVEL = 0.1
PROGRAMME = Programme.of(SineSweep.of(RATE_HZ, 3.0), LEVEL, quiet_s=0.3, decay_s=0.5, pilots=True)
ARRIVAL = 700
Doubles = NDArray[np.float64]


def room() -> Doubles:
    time = np.arange(RATE_HZ // 2) / RATE_HZ
    ir = 0.03 * np.random.default_rng(1).standard_normal(len(time)) * np.exp(-6.9 * time / 0.4)
    ir[0] = 1.0
    return np.concatenate([np.zeros(ARRIVAL), ir])


def pink(frames: int, seed: int) -> Doubles:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(frames))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, frames)
    return np.asarray(noise / noise.std())


@pytest.fixture(scope="module")
def heard() -> Doubles:
    """The programme through the room."""
    sound, ir = PROGRAMME.samples().astype(float), room()
    frames = 1 << (len(sound) + len(ir)).bit_length()
    spectrum = np.fft.rfft(sound, frames) * np.fft.rfft(ir, frames)
    return np.asarray(np.fft.irfft(spectrum, frames)[: len(sound)])


def level(heard: Doubles) -> float:
    """RMS of the sweep as it comes back."""
    swept = heard[PROGRAMME.sweep_at : PROGRAMME.sweep_at + PROGRAMME.sweep.frames()]
    return float(np.sqrt(np.mean(swept**2)))


def noisy(heard: Doubles, below_db: float, seed: int = 1) -> Doubles:
    return heard + pink(len(heard), seed) * level(heard) * 10 ** (-below_db / 20)


def take(sound: Doubles) -> Take:
    return understand(sound.astype(np.float32), PROGRAMME, 0.5)


@pytest.mark.parametrize("below_db", [30.0, 60.0, 90.0])
def test_quiet_take_is_clean(heard: Doubles, below_db: float) -> None:
    found = take(noisy(heard, below_db))
    assert found.arrival == ARRIVAL
    assert found.is_clean and found.hum is None and found.ratio == 1.0
    assert abs(found.level_db - 20 * np.log10(level(heard))) < 0.5


@pytest.mark.parametrize("below_db", [30.0, 60.0])
def test_click_and_dropout_are_told_with_their_time(heard: Doubles, below_db: float) -> None:
    at_s = 1.5
    at = PROGRAMME.sweep_at + int(at_s * RATE_HZ)
    click, gap = noisy(heard, below_db), noisy(heard, below_db)
    click[at] += level(heard)
    gap[at : at + 64] = 0
    for sound in (click, gap):
        events = take(sound).events_s
        assert len(events) == 1 and abs(events[0] - at_s) < 0.02


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_hum_is_told_and_removed(heard: Doubles, mains_hz: float) -> None:
    """40 dB under the sweep, and 0.03 % off its nominal frequency, as the mains are."""
    time = np.arange(len(heard)) / RATE_HZ
    wave = np.sin(2 * np.pi * 1.0003 * mains_hz * time) * np.sqrt(2)
    quiet = noisy(heard, 60)
    found = take(quiet + wave * level(heard) * 10 ** (-40 / 20))
    assert found.hum is not None and found.hum.mains_hz == mains_hz
    assert abs(found.hum.level_db + 40) < 2
    # Without it the noise is that of the quiet take again.
    assert abs(10 * np.log10(found.noise_power / take(quiet).noise_power)) < 1.5


@pytest.mark.parametrize("ppm", [-200.0, 200.0])
def test_two_clocks_are_measured_and_taken_out(heard: Doubles, ppm: float) -> None:
    """The response as with one clock: 0.1 dB in each third of an octave around, to 0.01 ppm."""
    drifted = soxr.resample(heard, RATE_HZ, RATE_HZ * (1 + ppm * 1e-6), quality="VHQ")
    drifted = np.pad(drifted, (0, max(0, len(heard) - len(drifted))))[: len(heard)]
    found = take(noisy(drifted, 60))
    assert abs(1e6 * (1 / found.ratio - 1) - ppm) < 0.01
    one = take(noisy(heard, 60))
    hz = np.fft.rfftfreq(1 << 15, 1 / RATE_HZ)
    spectra = [
        np.abs(np.fft.rfft(t.response.part(t.arrival, 100, 20000), 1 << 15)) for t in (found, one)
    ]
    for low in (100.0, 1000.0, 10000.0):
        band = (hz >= low) & (hz < 1.26 * low)
        power = [float(np.sum(spectrum[band] ** 2)) for spectrum in spectra]
        assert abs(10 * np.log10(power[0] / power[1])) < 0.1


def test_clipped_input_is_told_at_any_level(heard: Doubles) -> None:
    most = 0.7 * np.abs(heard).max()
    assert take(np.clip(noisy(heard, 60), -most, most)).clipped
    assert not take(noisy(heard, 60)).clipped


def test_median_of_three_disturbed_takes_is_clean(heard: Doubles) -> None:
    """A bang in each, at another time: the response is that of a quiet take within 0.3 dB."""
    takes = []
    for number in range(3):
        sound = noisy(heard, 50, seed=number)
        at = PROGRAMME.sweep_at + (number + 1) * RATE_HZ // 2
        sound[at : at + 500] += 5 * level(heard) * pink(500, number)
        takes.append(sound.astype(np.float32))
    found = understand(combined(takes), PROGRAMME, 0.5)
    quiet = take(noisy(heard, 50))
    peaks = [float(t.response.part(ARRIVAL, 0, 1)[0]) for t in (found, quiet)]
    assert found.arrival == ARRIVAL
    assert abs(20 * np.log10(peaks[0] / peaks[1])) < 0.3


def test_take_without_any_noise_is_clean() -> None:
    """As of a program instead of a room: half of what it hears, twice."""
    sound = PROGRAMME.samples()
    heard = np.zeros_like(sound)
    for late in (256, 736):
        heard[late:] += 0.5 * sound[:-late]
    assert take(heard.astype(float)).is_clean
