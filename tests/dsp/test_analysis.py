"""Maps of recordings: they restore synthesised rooms, agree with SciPy's energies, and ignore noise
and infrasound."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from dsp.analysis import analyse
from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.synthesis import Synthesiser

RATE_HZ = 48_000


def drawn(decay_s: float, direct: bool) -> EnergyMap:
    grid = DEFAULT_GRID
    level = -60 * grid.frame_centre_s / decay_s + 10 * np.log10(np.diff(grid.edge_hz))[:, None]
    pulse = (10 * np.log10(np.diff(grid.edge_hz)) - 20).astype(np.float32)
    return EnergyMap(
        np.maximum(level, level.max() - 120).astype(np.float32), grid, pulse if direct else None
    )


def energy(room: EnergyMap) -> np.ndarray:
    return 10 ** (room.level_db / 10) * room.grid.frame_s


@pytest.mark.parametrize("direct", [False, True])
def test_analysis_restores_synthesised_room(direct: bool) -> None:
    room = drawn(1.0, direct)
    ir = Synthesiser(RATE_HZ)(room, width=0.0)[0]
    again = analyse(ir, RATE_HZ, start=0, clean=False)
    assert (again.direct_db is not None) == direct
    # Means over eight bands of an ERB or less and sixteen frames: the random error is below 2 dB.
    coarse = [energy(each).reshape(8, 8, 8, 16).sum(axis=(1, 3)) for each in (room, again)]
    level = [10 * np.log10(np.maximum(each / each.sum(), 1e-12)) for each in coarse]
    heard = level[0] > -50
    heard[:2] = False  # the lowest bands are as long as their filters
    assert np.abs(level[1] - level[0])[heard].max() < 2.0


def test_analysis_conserves_energy() -> None:
    sos = scipy.signal.butter(4, [60, 15_000], "bandpass", fs=RATE_HZ, output="sos")
    noise = np.random.default_rng(0).standard_normal(RATE_HZ) * np.exp(
        -6 * np.arange(RATE_HZ) / RATE_HZ
    )
    ir = scipy.signal.sosfilt(sos, noise).astype(np.float32)
    assert energy(analyse(ir, RATE_HZ, start=0, clean=False)).sum() == pytest.approx(
        np.sum(ir.astype(float) ** 2), rel=0.01
    )


def test_tone_is_in_its_band_and_frame() -> None:
    time = np.arange(RATE_HZ) / RATE_HZ
    ir = (np.sin(2 * np.pi * 1000 * time) * (np.abs(time - 0.5) < 0.05)).astype(np.float32)
    found = energy(analyse(ir, RATE_HZ, start=0, clean=False))
    band, frame = np.unravel_index(found.argmax(), found.shape)
    assert DEFAULT_GRID.edge_hz[band] <= 1000 <= DEFAULT_GRID.edge_hz[band + 1]
    assert 0.44 < DEFAULT_GRID.frame_centre_s[frame] < 0.56


def test_analysis_subtracts_noise_and_extrapolates_decay() -> None:
    clean = Synthesiser(RATE_HZ)(drawn(0.8, direct=False), width=0.0)[0]
    clean = np.pad(clean, (0, 3 * RATE_HZ - len(clean)))
    noisy = clean + 1e-4 * np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    maps = [analyse(ir, RATE_HZ, start=0) for ir in (clean, noisy)]
    left = [10 * np.log10(np.cumsum(energy(each).sum(axis=0)[::-1])[::-1]) for each in maps]
    down = left[0] - left[0][0]
    # 3 dB at -60 dB, where the subtracted noise had thirty times the remaining energy.
    assert np.abs((left[1] - left[1][0]) - down)[down > -60].max() < 3.0


def test_analysis_ignores_infrasound() -> None:
    ir = Synthesiser(RATE_HZ)(drawn(0.5, direct=False), width=0.0)[0]
    rumble = 0.002 * np.sin(2 * np.pi * 4 * np.arange(len(ir)) / RATE_HZ).astype(np.float32)
    quiet, loud = (energy(analyse(each, RATE_HZ, start=0))[0].sum() for each in (ir, ir + rumble))
    assert loud == pytest.approx(quiet, rel=0.5)


def test_map_does_not_depend_on_rate() -> None:
    room = drawn(0.6, direct=True)
    maps = [
        analyse(Synthesiser(rate)(room, width=0.0)[0], rate, start=0) for rate in (44_100, 96_000)
    ]
    coarse = [energy(each)[8:56].reshape(6, 8, 8, 16).sum(axis=(1, 3)) for each in maps]
    level = [10 * np.log10(each / each.sum()) for each in coarse]
    assert np.abs(level[0] - level[1])[level[0] > -40].max() < 1.5
