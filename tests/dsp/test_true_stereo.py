"""Decoded rooms in true stereo: each input sounds on both sides, with noise of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal

from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.loudness import of_samples
from dsp.reflections import draw_taps
from dsp.synthesis import Synthesiser
from dsp.true_stereo import TrueStereo

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def pair() -> tuple[Synthesiser, Synthesiser]:
    first, second = (Synthesiser(RATE_HZ, seed=seed, longest_s=6.0) for seed in (1, 2))
    return first, second


Pair = tuple[Synthesiser, Synthesiser]


def exponential(t60_s: float) -> EnergyMap:
    """White noise that decays."""
    level = (
        10 * np.log10(np.diff(DEFAULT_GRID.edge_hz))[:, None]
        - 60 * DEFAULT_GRID.frame_centre_s / t60_s
    )
    return EnergyMap(np.maximum(level, level.max() - 120).astype(np.float32))


def test_first_input_has_the_room_of_a_single_input(pair: Pair) -> None:
    """Its two paths, but for the level."""
    room = replace(exponential(1.0), taps=draw_taps(0.03))
    two, four = pair[0](room), TrueStereo(*pair)(room, 1.0)
    gain = float((two * four[:2]).sum() / (two**2).sum())
    np.testing.assert_allclose(four[:2], gain * two, atol=1e-5)


def test_paths_of_the_two_inputs_do_not_correlate(pair: Pair) -> None:
    """Squared coherence (SciPy) of each path of one input with each of the other, after the decay
    is taken out: no more than of two white noises, within 0.01."""
    ir = TrueStereo(*pair)(exponential(3.0), 1.0)[:, :RATE_HZ]
    steady = ir * 10 ** (3 * np.arange(RATE_HZ) / RATE_HZ / 3.0)
    noise = np.random.default_rng(1).standard_normal((2, RATE_HZ))

    def mean_coherence(one: np.ndarray, other: np.ndarray) -> float:
        hz, squared = scipy.signal.coherence(one, other, fs=RATE_HZ, nperseg=1024)
        return float(squared[(hz > 50) & (hz < 16_000)].mean())

    chance = mean_coherence(*noise)
    for left, right in ((0, 2), (0, 3), (1, 2), (1, 3)):
        assert mean_coherence(steady[left], steady[right]) == pytest.approx(chance, abs=0.01)


@pytest.mark.parametrize("mixing_s", [0.0025, 0.07])
def test_true_stereo_is_as_loud_as_stereo(pair: Pair, mixing_s: float) -> None:
    """With different inputs, and with the same sound in both: within 1 dB. The mean of both outputs
    with different inputs is never softer. It is louder, by less than 2.5 dB, because the sides of
    one input are alike in part: in the bass, and reflections. Sides that are the same: by 3 dB."""
    room = replace(exponential(1.0), taps=draw_taps(mixing_s))
    two, four = pair[0](room), TrueStereo(*pair)(room, 1.0)
    same = np.stack([four[0] + four[2], four[1] + four[3]])
    for ir in (four, same):
        level_db = 10 * np.log10(of_samples(ir, RATE_HZ) / of_samples(two, RATE_HZ))
        assert abs(level_db) < 1.0
    mono = [of_samples(ir, RATE_HZ) for ir in (two, four[0::2] + four[1::2])]
    assert -0.5 < 10 * np.log10(mono[1] / mono[0]) < 2.5


def test_paths_have_the_same_energy_in_each_octave(pair: Pair) -> None:
    """As far as noise can: the differences are within 4.5 standard deviations of the level of
    Gaussian noise of the octave's bandwidth and decay. And each decays from 10 to 40 dB within 3 %
    of the mean, at 125 Hz 5 %."""
    t60_s = 1.0
    ir = TrueStereo(*pair)(exponential(t60_s), 1.0).astype(float)
    for hz in (125, 250, 500, 1000, 2000, 4000, 8000):
        edges = [hz / 2**0.5, hz * 2**0.5]
        sos = scipy.signal.butter(3, edges, "band", fs=RATE_HZ, output="sos")
        left = np.cumsum(scipy.signal.sosfiltfilt(sos, ir)[:, ::-1] ** 2, axis=1)[:, ::-1]
        level_db = 10 * np.log10(left)
        values = (edges[1] - edges[0]) * t60_s / 6.9  # independent ones: bandwidth x 1/e energy
        deviation_db = 4.34 / np.sqrt(values)
        assert np.ptp(level_db[:, 0]) < 4.5 * deviation_db, hz
        fall_s = [
            float(np.argmax(each < each[0] - 40) - np.argmax(each < each[0] - 10)) / RATE_HZ
            for each in level_db
        ]
        share = 0.05 if hz == 125 else 0.03
        np.testing.assert_allclose(fall_s, np.mean(fall_s), rtol=share, err_msg=f"{hz} Hz")


def test_direct_sound_stays_on_its_side(pair: Pair) -> None:
    direct = np.full(64, 20.0, np.float32)
    room = replace(exponential(0.3), direct_db=direct)
    peaks = np.abs(TrueStereo(*pair)(room, 1.0)[:, :48]).max(axis=1)
    assert min(peaks[0], peaks[3]) > 5 * max(peaks[1], peaks[2])
    peaks = np.abs(TrueStereo(*pair)(room, -1.0)[:, :48]).max(axis=1)
    assert min(peaks[1], peaks[2]) > 5 * max(peaks[0], peaks[3])


def test_width_0_sounds_the_same_on_both_sides(pair: Pair) -> None:
    room = replace(exponential(0.5), taps=draw_taps(0.03))
    ir = TrueStereo(*pair)(room, 0.0)
    for left, right in ((0, 1), (2, 3)):
        np.testing.assert_allclose(ir[left], ir[right], atol=1e-6)
    wide, swapped = (TrueStereo(*pair)(room, width) for width in (2.0, -2.0))
    np.testing.assert_allclose(swapped, wide[[1, 0, 3, 2]], atol=1e-6)
