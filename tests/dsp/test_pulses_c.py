"""The single reflections of rooms in C: compared with NumPy (tests/reference/pulses.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import pulses as reference

from dsp import _engine, pulses
from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid, longer
from dsp.taps import Taps
from models import generator

Floats = NDArray[np.float32]
GRIDS = (DEFAULT_GRID, longer(DEFAULT_GRID, 10.0), Grid(bands=9, frames=23))
RATES_HZ = (8000, 44100, 48000, 192000)


def drawn(rng: np.random.Generator, count: int) -> Taps:
    return Taps(
        *(
            np.asarray(values, np.float32)
            for values in (
                np.sort(rng.uniform(0, 0.3, count)),
                rng.choice([-1, 1], count) * 10 ** rng.uniform(-2.4, 0.6, count),
                rng.uniform(-1, 1, count),
                rng.uniform(-7.5, 7.5, count),
            )
        )
    )


def a_room(grid: Grid, seed: int) -> EnergyMap:
    rng = np.random.default_rng([seed, 23])
    (level,), _ = generator.energy_maps(generator.draw(1, seed), grid)
    return EnergyMap(level, grid, taps=drawn(rng, int(rng.integers(1, 50))))


def error_db(made: Floats, expected: Floats) -> float:
    off = np.linalg.norm(made.astype(float) - expected) / np.linalg.norm(expected.astype(float))
    return 20 * float(np.log10(max(off, 1e-9)))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.frames} frames")
def test_taps_of_drawn_rooms(grid: Grid, rate_hz: int) -> None:
    """What taps take within 0.001 dB, pulses and the room with them within -100 dB."""
    for seed in range(4):
        room = a_room(grid, seed)
        assert room.taps is not None
        left, energy_db = pulses.split(room.level_db, grid, room.taps, rate_hz)
        left2, energy2_db = reference.split(room.level_db, grid, room.taps)
        np.testing.assert_allclose(left, left2, rtol=0, atol=1e-3)
        heard = energy2_db > energy2_db.max() - 100
        np.testing.assert_allclose(energy_db[heard], energy2_db[heard], rtol=0, atol=2e-3)
        made = pulses.pulses(energy2_db, grid, rate_hz)
        assert error_db(made, reference.pulses(energy2_db, grid, rate_hz)) <= -100
        noise = replace(room, level_db=left2)
        rng = np.random.default_rng([seed, 24])
        level = 10 ** (float(left2.max()) / 20) / np.sqrt(rate_hz)
        sound = (level * rng.standard_normal((2, rate_hz // 4))).astype(
            np.float32
        )  # some are later
        for width in (0.0, 1.0, -3.0):
            ours, theirs = sound.copy(), sound.copy()
            pulses.add(ours, noise, energy2_db, width, rate_hz)
            reference.add(theirs, noise, energy2_db, width, rate_hz)
            assert error_db(ours - sound, theirs - sound) <= -80
            assert error_db(ours, theirs) <= -100


def test_pulse_of_a_direct_sound() -> None:
    """One pulse alone is that of five, within -110 dB: lanes that are not used change nothing."""
    energy_db = np.random.default_rng(3).uniform(-90, 0, (5, 64)).astype(np.float32)
    five = pulses.pulses(energy_db, DEFAULT_GRID, 48000)
    for row, expected in zip(energy_db, five, strict=True):
        assert error_db(pulses.pulses(row[None], DEFAULT_GRID, 48000)[0], expected) <= -110


def test_arrays_that_do_not_fit_are_rejected() -> None:
    grid = GRIDS[-1]
    of = pulses.spectrum_of(grid, 8000)
    bands, frames = np.zeros(9, np.float32), np.zeros(23, np.float32)
    good = [8000, 9, frames, frames, bands, bands, of.share, bands, of.fade, bands, of.node]
    for place, bad in (
        (0, 0),
        (1, 0),
        (1, 10),
        (2, frames[:-1]),
        (3, frames[:1]),
        (4, bands[:-1]),
        (5, bands[:-1]),
        (6, of.share[:-1]),
        (7, bands.astype(float)),
        (8, of.fade[:-1]),
        (10, of.node + 9),
        (10, of.node - 9),
        (10, of.node.astype(np.int64)),
    ):
        with pytest.raises((ValueError, TypeError)):
            _engine.Pulses(*good[:place], bad, *good[place + 1 :])  # type: ignore[arg-type]
    made = _engine.Pulses(*good)  # type: ignore[arg-type]
    taps, level = np.zeros((4, 3), np.float32), np.zeros((9, 23), np.float32)
    energy, sound = np.zeros((3, 9), np.float32), np.zeros((2, 50), np.float32)
    calls = (
        (made.split, (taps, level, level.copy(), energy), (0, 1, 2, 3)),
        (made.make, (energy, np.zeros((3, len(of.fade)), np.float32)), (0, 1)),
        (made.add, (taps, level, energy, 1.0, sound), (0, 1, 2, 4)),
    )
    for call, arrays, places in calls:
        call(*arrays)  # type: ignore[operator]
        for place in places:
            bad = list(arrays)
            bad[place] = np.zeros((5, 1), np.float32)
            with pytest.raises(ValueError, match=r"fit|1 to"):
                call(*bad)  # type: ignore[operator]
