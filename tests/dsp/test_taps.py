"""Reflections: kept in bytes, found in recordings, played with the energy of the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.errors import InvalidValue
from dsp.reflections import find_taps
from dsp.synthesis import Synthesiser
from dsp.taps import MOST_TAPS, Taps, joined

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def synthesise() -> Synthesiser:
    return Synthesiser(RATE_HZ, longest_s=6.0)


def taps(*rows: tuple[float, float, float]) -> Taps:
    """Of time in ms, share and side."""
    time_ms, share, side = np.array(rows, np.float32).T
    return Taps(time_ms / 1000, share, side, np.zeros_like(side))


def exponential(t60_s: float) -> EnergyMap:
    """White noise that decays."""
    level = (
        10 * np.log10(np.diff(DEFAULT_GRID.edge_hz))[:, None]
        - 60 * DEFAULT_GRID.frame_centre_s / t60_s
    )
    return EnergyMap(np.maximum(level, level.max() - 120).astype(np.float32))


def room_with_reflections(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Noise that decays in 0.6 s, and twelve impulses that stand 15 dB above a millisecond of it;
    and their times in samples."""
    random = np.random.default_rng(seed)
    size = RATE_HZ
    envelope = 10 ** (-3 * np.arange(size) / RATE_HZ / 0.6)
    sound = random.standard_normal(size) * envelope
    at = np.sort(random.choice(np.arange(4, 80, 3), 12, replace=False)) * RATE_HZ // 1000
    sound[at] += np.sqrt(0.5e-3 * RATE_HZ * 10**1.5) * envelope[at] * random.choice([-1, 1], 12)
    return sound.astype(np.float32), at


def test_bytes_keep_taps() -> None:
    random = np.random.default_rng(1)
    given = Taps(
        *(
            np.asarray(values, np.float32)
            for values in (
                np.sort(random.uniform(0, 0.3, 20)),
                random.choice([-1, 1], 20) * 10 ** random.uniform(-2.4, 0.6, 20),
                random.uniform(-1, 1, 20),
                random.uniform(-7.5, 7.5, 20),
            )
        )
    )
    data = given.to_bytes()
    assert len(data) == 80
    kept = Taps.from_bytes(data)
    assert kept.to_bytes() == data
    np.testing.assert_allclose(kept.time_s, given.time_s, atol=1.1e-5)
    np.testing.assert_allclose(10 * np.log10(kept.share / given.share), 0, atol=0.26)
    np.testing.assert_allclose(kept.side, given.side, atol=0.017)
    np.testing.assert_allclose(kept.tilt_db, given.tilt_db, atol=0.26)


def test_bytes_keep_the_strongest_taps() -> None:
    many = taps(*((float(i), 0.001 + 0.01 * i, 0.0) for i in range(40)))
    kept = Taps.from_bytes(many.to_bytes())
    assert len(kept) == MOST_TAPS
    np.testing.assert_allclose(kept.time_s, many.time_s[-MOST_TAPS:], atol=1.1e-5)


@pytest.mark.parametrize("data", [b"\0" * 3, b"\0" * 132])
def test_bytes_of_another_length_are_rejected(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="bytes of taps"):
        Taps.from_bytes(data)


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_taps_that_can_be_played(synthesise: Synthesiser, seed: int) -> None:
    data = np.random.default_rng(seed).bytes(128)
    ir = synthesise.unscaled(replace(exponential(0.2), taps=Taps.from_bytes(data)))
    assert np.isfinite(ir).all()


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_taps_keep_the_energy_of_the_map(synthesise: Synthesiser, width: float) -> None:
    """Thirty loud taps in the first 76 ms, drawn eight times: each octave has the energy of the
    room without taps within 0.5 dB on average, and within 1.5 dB each time. (Pulses and noise
    interfere.)"""
    plain = exponential(0.5)
    random = np.random.default_rng(4)
    irs = [synthesise.unscaled(plain, width)]
    for _ in range(8):
        share = random.uniform(0.3, 1.0, 30) * random.choice([-1, 1], 30)
        side = random.uniform(-1, 1, 30)
        drawn = taps(*((4 + 2.4 * i, share[i], side[i]) for i in range(30)))
        irs.append(synthesise.unscaled(replace(plain, taps=drawn), width))
    early = np.stack(irs)[:, :, : RATE_HZ // 10].astype(float)
    for hz in (500, 1000, 2000, 4000, 8000):
        sos = scipy.signal.butter(3, [hz / 2**0.5, hz * 2**0.5], "band", fs=RATE_HZ, output="sos")
        energy = (scipy.signal.sosfiltfilt(sos, early) ** 2).sum(axis=(1, 2))
        change_db = 10 * np.log10(energy[1:] / energy[0])
        assert abs(change_db.mean()) < 0.5, hz
        assert np.abs(change_db).max() < 1.5, hz


def test_tap_is_a_pulse_at_its_time_and_side(synthesise: Synthesiser) -> None:
    """Taps with all energy around them: within 0.3 ms, 12 dB above the noise of the other side."""
    room = replace(exponential(0.5), taps=taps((20.0, 1.0, -1.0), (40.0, -1.0, 1.0)))
    ir = synthesise.unscaled(room)
    for channel, time_s in enumerate((0.020, 0.040)):
        at = round(time_s * RATE_HZ)
        near = np.abs(ir[:, at - 200 : at + 200])
        assert abs(int(near[channel].argmax()) - 200) <= 0.0003 * RATE_HZ
        assert near[channel].max() > 4 * near[1 - channel].max()


def test_width_0_is_mono_with_taps(synthesise: Synthesiser) -> None:
    room = replace(exponential(0.5), taps=taps((20.0, 0.8, -1.0), (40.0, 0.8, 0.6)))
    mono = synthesise.unscaled(room, 0.0)
    np.testing.assert_allclose(mono[0], mono[1], atol=1e-6 * np.abs(mono).max())
    wide = synthesise.unscaled(room, 2.0)
    np.testing.assert_array_equal(synthesise.unscaled(room, -2.0), wide[::-1])


@pytest.mark.parametrize("seed", range(3))
def test_find_taps_finds_impulses_in_noise(seed: int) -> None:
    """All twelve within 0.3 ms; the strongest of what is found."""
    sound, at = room_with_reflections(seed)
    found = find_taps(sound, RATE_HZ, start=0)
    strongest = found.time_s[np.argsort(-np.abs(found.share))[:12]]
    for time in at / RATE_HZ:
        assert np.abs(strongest - time).min() < 0.0003


def test_encoded_reflections_keep_time_and_level(synthesise: Synthesiser) -> None:
    """A recording's impulses, after the byte form, in the room of its map: each within 1 ms, and
    the energy of its millisecond within 2 dB, for 9 of 10."""
    from dsp.analysis import analyse

    window = scipy.signal.windows.hann(49)
    near = []
    for seed in range(3):
        sound, at = room_with_reflections(seed)
        room = analyse(sound, RATE_HZ, start=0)
        kept = Taps.from_bytes(find_taps(sound, RATE_HZ, room, start=0).to_bytes())
        ir = synthesise.unscaled(replace(room, taps=kept), 0.0)[0]
        levels = [
            10 * np.log10(np.convolve(x.astype(float) ** 2, window, "same")) for x in (sound, ir)
        ]
        for place in at:
            around = slice(place - 48, place + 49)
            near.append(abs(levels[1][around].max() - levels[0][around].max()) < 2)
    assert np.mean(near) >= 0.9


def test_sides_of_a_stereo_recording_are_found() -> None:
    sound, at = room_with_reflections(5)
    left_only = np.stack([sound, 0.1 * sound])
    found = find_taps(left_only, RATE_HZ, start=0)
    assert found.side[np.argsort(-np.abs(found.share))[: len(at)]].max() < -0.8


def test_taps_of_two_places_are_joined_in_order() -> None:
    first, second = taps((10.0, 0.5, 0.0), (30.0, -0.5, 0.0)), taps((20.0, 0.8, 0.0))
    both = joined([first.faded(0.5), second.faded(0.25)])
    np.testing.assert_allclose(both.time_s, [0.010, 0.020, 0.030])
    np.testing.assert_allclose(both.share, [0.25, 0.2, -0.25])
