"""Synthesised IRs compared with their maps, measured with SciPy's filters, not our own bands."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from dsp.diffuse_field import EARS_M, SPACED_M, correlation
from dsp.endless import endless
from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid
from dsp.loudness import PEAK_BOUND, ROOM_LOUDNESS, of_samples
from dsp.synthesis import Synthesiser
from models import evaluate, generator

MAKES_NOISE = True  # see conftest.py
RATE_HZ = 48000
OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)


@pytest.fixture(scope="module")
def synthesise() -> Synthesiser:
    return Synthesiser(RATE_HZ)


def exponential(t60_s: float, *, direct_db: float | None = None) -> EnergyMap:
    """White noise that decays: the energy of a band is proportional to its width and to 10^(-6 t /
    T60), averaged over each frame."""
    grid = DEFAULT_GRID
    rate = np.log(1e6) / t60_s
    edges = grid.frame_edge_s
    frames = (np.exp(-rate * edges[:-1]) - np.exp(-rate * edges[1:])) / (rate * np.diff(edges))
    energy = np.diff(grid.edge_hz)[:, None] * frames
    level = np.maximum(10 * np.log10(np.maximum(energy, 1e-30)), 10 * np.log10(energy.max()) - 120)
    direct = None
    if direct_db is not None:
        tail = (energy * grid.frame_s).sum()
        direct = (
            10 * np.log10(tail * np.diff(grid.edge_hz) / np.diff(grid.edge_hz).sum()) + direct_db
        )
    return EnergyMap(
        level.astype(np.float32), grid, None if direct is None else direct.astype(np.float32)
    )


def octave(ir: NDArray[np.float32], hz: float) -> NDArray[np.float64]:
    sos = butter(3, [hz / np.sqrt(2), hz * np.sqrt(2)], "band", fs=RATE_HZ, output="sos")
    return np.asarray(sosfiltfilt(sos, ir.astype(float), padtype=None))


def t30_s(ir: NDArray[np.float64]) -> float:
    """Line fit of the backward-integrated energy from -5 to -35 dB (ISO 3382-1)."""
    curve = 10 * np.log10(np.cumsum(ir[::-1] ** 2)[::-1])
    curve -= curve[0]
    part = np.flatnonzero((curve <= -5) & (curve >= -35))
    return float(-60 / np.polyfit(part / RATE_HZ, curve[part], 1)[0])


@pytest.mark.parametrize("t60_s", [0.3, 1.0, 2.5])
def test_t30_follows_map(synthesise: Synthesiser, t60_s: float) -> None:
    """T30 over octaves: 3 % on average over both channels: noise with few degrees of freedom."""
    ir = synthesise(exponential(t60_s))
    ratios = [t30_s(octave(channel, hz)) / t60_s for channel in ir for hz in OCTAVES_HZ[2:]]
    assert abs(np.mean(ratios) - 1) < 0.03
    assert max(abs(np.array(ratios) - 1)) < 0.12


def test_band_energies_follow_map(synthesise: Synthesiser) -> None:
    """A tilt of 6 dB per octave is 6 dB per octave in the IR: within 0.7 dB in each octave from 250
    Hz (below, a second of noise has too few degrees of freedom to tell)."""
    flat = exponential(1.0)
    tilt = EnergyMap(
        (flat.level_db - 20 * np.log10(DEFAULT_GRID.centre_hz / 1000)[:, None]).astype(np.float32)
    )
    ir = synthesise(tilt)
    energy = np.array(
        [
            10 * np.log10(sum((octave(channel, hz) ** 2).sum() for channel in ir))
            for hz in OCTAVES_HZ
        ]
    )
    # White noise rises by 3 dB per octave, the tilt falls by 6 dB.
    expected = -3.01 * np.log2(np.array(OCTAVES_HZ) / 1000)
    assert np.abs((energy - energy[3]) - expected)[1:].max() < 0.7


def test_synthesis_is_deterministic() -> None:
    room = exponential(0.5)
    np.testing.assert_array_equal(Synthesiser(RATE_HZ)(room), Synthesiser(RATE_HZ)(room))
    assert not np.array_equal(Synthesiser(RATE_HZ, seed=2)(room), Synthesiser(RATE_HZ)(room))


ROOM_AFTER_SHORTER_ONES = """
import sys
from dataclasses import replace
from dsp.energymap import DEFAULT_GRID
from dsp.synthesis import Synthesiser
from models import generator
for seconds in map(float, sys.argv[1:]):
    grid = replace(DEFAULT_GRID, duration_s=min(seconds, 4.0))
    synthesiser = Synthesiser(16000, grid, longest_s=seconds)
    while synthesiser.prepare():
        pass
last = Synthesiser(16000, longest_s=seconds)
sys.stdout.buffer.write(last(generator.room_at(-0.5, 0.5, 0)).tobytes())
"""


def test_room_does_not_depend_on_limits_or_what_was_made_before() -> None:
    """Maps and limits of other lengths share the noise; pedal and renderer have different ones."""
    made = [
        subprocess.run(
            [sys.executable, "-c", ROOM_AFTER_SHORTER_ONES, *lengths_s],
            check=True,
            capture_output=True,
        ).stdout
        for lengths_s in (["10"], ["0.5", "4"], ["6"])
    ]
    assert len(made[0]) > 16000 and made[0] == made[1] == made[2]


def test_room_beyond_the_limit_is_the_same_after_shorter_ones() -> None:
    """A recording that is longer than the limit is filled with noise of its own length."""
    limited, fresh = (Synthesiser(8000, longest_s=0.5) for _ in range(2))
    limited(exponential(0.1))
    made = [each.unscaled(exponential(3.0), goes_on=False) for each in (limited, fresh)]
    assert made[0].shape[1] > 8000
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("rate_hz", [16000, 32000, 44100, 48000, 96000])
def test_decay_does_not_depend_on_rate(rate_hz: int) -> None:
    ir = Synthesiser(rate_hz)(exponential(0.5))
    curve = 10 * np.log10(np.cumsum((ir.astype(float) ** 2).sum(axis=0)[::-1])[::-1])
    curve -= curve[0]
    fall = (np.searchsorted(-curve, 35) - np.searchsorted(-curve, 5)) / rate_hz
    assert fall == pytest.approx(0.25, rel=0.04)


@pytest.mark.parametrize("width", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_width_sets_correlation(synthesise: Synthesiser, width: float) -> None:
    """Measured between 2 and 8 kHz, where the target changes little: within 0.05. Left and right
    are equally loud, within 0.3 dB."""
    left, right = (octave(channel, 4000) for channel in synthesise(exponential(2.0), width))
    rho = (left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum())
    band = np.linspace(2800, 5600, 200)
    assert rho == pytest.approx(correlation(band, width).mean(), abs=0.05)
    assert abs(10 * np.log10((left**2).sum() / (right**2).sum())) < 0.3


def test_width_0_is_mono_and_negative_width_exchanges_sides(synthesise: Synthesiser) -> None:
    room = exponential(0.5, direct_db=0)
    mono = synthesise(room, 0.0)
    np.testing.assert_allclose(mono[0], mono[1], atol=1e-6)
    np.testing.assert_array_equal(synthesise(room, -2.0), synthesise(room, 2.0)[::-1])


@pytest.mark.parametrize("spacing_m", [EARS_M, SPACED_M])
def test_sides_correlate_as_two_points_of_a_room(synthesise: Synthesiser, spacing_m: float) -> None:
    """In each octave, after the decay is taken out: within three standard deviations of what noise
    can. The mean of both sides has the energy that follows from it: it loses 3 dB at most."""
    seconds, t60_s = 3.0, 6.0
    ir = synthesise(exponential(t60_s), 1.0, spacing_m=spacing_m)[:, : int(seconds * RATE_HZ)]
    steady = ir * 10 ** (3 * np.arange(ir.shape[1]) / RATE_HZ / t60_s)
    for hz in (63, 125, 250, 500, 1000, 2000, 4000, 8000):
        left, right = (octave(side, hz) for side in steady)
        energy = (left**2).sum(), (right**2).sum()
        rho = float((left * right).sum() / np.sqrt(energy[0] * energy[1]))
        kd = 2 * np.pi * np.linspace(hz / 2**0.5, hz * 2**0.5, 500) * spacing_m / 343.0
        wanted = float(np.maximum(np.sin(kd) / kd, 0).mean())
        tolerance = 0.03 + 3 / np.sqrt(seconds * hz * 0.7)
        assert rho == pytest.approx(wanted, abs=tolerance), hz
        mono = float((((left + right) / 2) ** 2).sum() / (0.5 * sum(energy)))
        assert mono == pytest.approx((1 + wanted) / 2, abs=tolerance), hz


@pytest.mark.parametrize(("hz", "spaced", "ears"), [(100, 0.26, 0.98), (200, 0.04, 0.94)])
def test_spaced_is_as_recorded_and_ears_are_as_a_head(
    hz: float, spaced: float, ears: float
) -> None:
    """28 stereo recordings of rooms have 0.26 and 0.04 in the mean: within 0.05."""
    at = np.array([float(hz)])
    assert correlation(at, 1.0, SPACED_M)[0] == pytest.approx(spaced, abs=0.05)
    assert correlation(at, 1.0, EARS_M)[0] == pytest.approx(ears, abs=0.02)


def test_direct_sound_rises_within_half_a_millisecond(synthesise: Synthesiser) -> None:
    """The 0.1 ms envelope rises from -20 dB to its peak in at most 0.5 ms."""
    ir = synthesise(exponential(1.0, direct_db=3), 0.0)[0].astype(float)
    envelope = np.convolve(ir**2, np.ones(5) / 5, "same")[:960]
    peak = int(envelope.argmax())
    rise = peak - int(np.flatnonzero(envelope[: peak + 1] > envelope[peak] / 100)[0])
    assert rise <= 0.0005 * RATE_HZ
    assert peak < 0.001 * RATE_HZ


@pytest.mark.parametrize("t60_s", [0.1, 1.0, 6.0])
def test_rooms_are_equally_loud(synthesise: Synthesiser, t60_s: float) -> None:
    """By `dsp.loudness`, within 0.4 dB (see tests/dsp/test_loudness.py)."""
    ir = synthesise(exponential(t60_s))
    assert of_samples(ir, RATE_HZ) == pytest.approx(ROOM_LOUDNESS, rel=0.1)
    assert np.abs(ir).max() <= PEAK_BOUND
    faithful = synthesise(exponential(t60_s), faithful_level=True)
    assert np.abs(faithful).max() == pytest.approx(10 ** (-12 / 20), rel=1e-5)


def test_synthesiser_rejects_map_on_another_grid(synthesise: Synthesiser) -> None:
    from dataclasses import replace

    grid = replace(DEFAULT_GRID, duration_s=2.0)
    with pytest.raises(ValueError, match="grid"):
        synthesise(EnergyMap(np.zeros((64, 128), np.float32), grid))


def test_rooms_are_continuous_across_transform_lengths(synthesise: Synthesiser) -> None:
    """Two rooms that differ by a percent are similar even if the second needs a longer transform:
    the correlation of their first 200 ms is above 0.99, at lengths all over the grid."""
    rooms = [exponential(float(t60_s)) for t60_s in 0.15 * 1.01 ** np.arange(250)]
    lengths = [synthesise._steps(endless(room, 10.0)[1]) for room in rooms]
    borders = [i for i in range(1, len(rooms)) if lengths[i] != lengths[i - 1]]
    assert len(borders) >= 6
    for i in borders:
        before, after = (synthesise(room)[0, :9600].astype(float) for room in rooms[i - 1 : i + 1])
        assert before @ after / np.sqrt((before @ before) * (after @ after)) > 0.99


def test_longer_carriers_begin_like_shorter_ones() -> None:
    """A room is the same, within -40 dB, with carriers made for 4 s or extended to 10 s."""
    room, rate_hz = exponential(0.8), 16000
    before = Synthesiser(rate_hz, seed=9)(room).astype(float)
    longer = Synthesiser(rate_hz, Grid(duration_s=10.0), seed=9)
    while longer.prepare():
        pass
    after = Synthesiser(rate_hz, seed=9)(room).astype(float)
    assert ((after - before) ** 2).sum() < 1e-4 * (before**2).sum()


def test_synthesis_meets_its_limits() -> None:
    """For 30 random rooms of the generator: band energy within 0.7 dB, T30 within 1 %, no more
    than 0.5 dB of buzz at the frame rate, and a direct sound that rises within 0.5 ms (measured by
    `models.evaluate.synthesis`)."""
    figures = np.array([evaluate.synthesis(generator.draw(10, seed)) for seed in (1, 5, 77)])
    band_energy_db, t30_percent, buzz_db, _ = figures.mean(axis=0)
    assert band_energy_db <= 0.7
    assert t30_percent <= 1.0
    assert buzz_db <= 0.5
    assert figures[:, 3].max() <= 0.5
