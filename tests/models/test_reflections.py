"""Drawn reflections: Z moves the echo density, smoothly, and rooms keep their decay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erfc
from scipy.stats import kurtosis

from dsp.acoustics import measure
from dsp.synthesis import Synthesiser
from dsp.taps import NO_TAPS
from models.generator import room_at
from models.reflections import with_reflections

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def synthesise() -> Synthesiser:
    return Synthesiser(RATE_HZ, longest_s=6.0)


def ir_at(synthesise: Synthesiser, x: float, z: float) -> NDArray[np.float64]:
    """Mono, without the direct sound, as the pedal plays it."""
    room = replace(with_reflections(room_at(x, 0.0, z), x, z), direct_db=None)
    return synthesise.unscaled(room, 0.0)[0].astype(float)


def dense_after_ms(ir: NDArray[np.float64]) -> int:
    """When the normalised echo density (Abel & Huang 2006) reaches 0.9: the share of samples in a
    Hann window of 20 ms beyond its standard deviation, over that of Gaussian noise. The window
    begins at the onset."""
    half = RATE_HZ // 100
    window = np.hanning(2 * half + 1)
    for ms in range(300):
        at = ms * RATE_HZ // 1000
        weight = window[max(half - at, 0) :]
        sound = ir[max(at - half, 0) : at + half + 1]
        weight = weight[: len(sound)] / weight[: len(sound)].sum()
        beyond = np.abs(sound) > np.sqrt(weight @ sound**2)
        if weight @ beyond >= 0.9 * erfc(1 / np.sqrt(2)):
            return ms
    return 300


def test_z_moves_the_echo_density(synthesise: Synthesiser) -> None:
    """In a medium and a large room: 25 to 120 ms at the lowest Z, below 12 ms at the highest, and
    each unit of Z sooner."""
    for x in (0.0, 2.0):
        dense_ms = [dense_after_ms(ir_at(synthesise, x, z)) for z in (-2.0, -1.0, 0.0, 1.0)]
        assert 25 < dense_ms[0] < 120
        assert dense_ms == sorted(dense_ms, reverse=True)
        assert dense_after_ms(ir_at(synthesise, x, 2.0)) < 12


def test_reflections_stand_out(synthesise: Synthesiser) -> None:
    """The kurtosis of the first 50 ms is that of real rooms (3.3 to 7.8 and more), not of noise."""
    early = [
        kurtosis(ir_at(synthesise, x, -1.0)[: RATE_HZ // 20], fisher=False) for x in (0.0, 2.0)
    ]
    assert min(early) > 4.0


def test_small_steps_move_reflections_a_little() -> None:
    """Steps of 0.1 of a knob: each reflection that is heard in both rooms moves by at most 0.4 ms,
    its share changes by at most 0.06, and one that is heard in one room only is below -15 dB."""
    places = np.linspace(-2.0, 2.0, 91)
    for points in ([(x, 0.3) for x in places], [(0.3, z) for z in places]):
        before = None
        for x, z in points:
            room = with_reflections(room_at(float(x), 0.0, float(z)), float(x), float(z))
            assert room.taps is not None
            if before is not None:
                both = min(len(before), len(room.taps))
                time_s = [taps.time_s[:both] for taps in (before, room.taps)]
                share = [np.abs(taps.share[:both]) for taps in (before, room.taps)]
                assert np.abs(time_s[1] - time_s[0]).max(initial=0) < 0.0004
                assert np.abs(share[1] - share[0]).max(initial=0) < 0.06
                rest = [np.abs(taps.share[both:]) for taps in (before, room.taps)]
                assert max(each.max(initial=0) for each in rest) < 0.03
            before = room.taps


@pytest.mark.parametrize("z", [-2.0, 0.0, 2.0])
def test_reflections_leave_the_decay(synthesise: Synthesiser, z: float) -> None:
    """T30 of the octaves within 3 %, C50 within 1 dB from 500 Hz, of the same room without."""
    found = []
    for taps in (NO_TAPS, None):
        room = with_reflections(replace(room_at(0.5, 0.0, z), taps=taps), 0.5, z)
        found.append(measure(synthesise(room, 0.0)[0], RATE_HZ, start=0))
    np.testing.assert_allclose(found[1].t30_s[1:], found[0].t30_s[1:], rtol=0.03)
    np.testing.assert_allclose(found[1].c50_db[3:], found[0].c50_db[3:], atol=1.0)


def test_rooms_with_reflections_of_their_own_keep_them() -> None:
    room = replace(room_at(0.0, 0.0, 0.0), taps=NO_TAPS)
    assert with_reflections(room, 0.0, 0.0) is room
