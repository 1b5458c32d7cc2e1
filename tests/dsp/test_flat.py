"""Flat carriers: a steady room is steady in SciPy's third-octaves, unlike noise of the same
bandwidth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.synthesis import Synthesiser

RATE_HZ, BLOCK_S = 48_000, 0.1


def ripple_db(sound: np.ndarray, centre_hz: float) -> float:
    """Standard deviation of a third-octave's level in blocks of BLOCK_S, dB."""
    edges = [centre_hz * 2 ** (-1 / 6), centre_hz * 2 ** (1 / 6)]
    band = scipy.signal.sosfiltfilt(
        scipy.signal.butter(3, edges, "bandpass", fs=RATE_HZ, output="sos"), sound
    )
    size = int(BLOCK_S * RATE_HZ)
    blocks = (band[2 * size : 30 * size] ** 2).reshape(28, size).mean(axis=1)
    return float(np.std(10 * np.log10(blocks)))


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_steady_room_is_steady_in_every_band(width: float) -> None:
    level = np.repeat(
        10 * np.log10(np.diff(DEFAULT_GRID.edge_hz))[:, None], DEFAULT_GRID.frames, axis=1
    )
    ir = Synthesiser(RATE_HZ)(EnergyMap(level.astype(np.float32)), width=width)
    noise = np.random.default_rng(0).standard_normal(ir.shape[1])
    for centre in (250.0, 500.0, 1000.0, 2000.0, 4000.0):
        for channel in ir:
            # The level of random noise in a third-octave varies by 4.34 / sqrt(bandwidth * BLOCK_S)
            # dB: 1.8 dB at 250 Hz, 0.45 dB at 4 kHz.
            assert ripple_db(channel, centre) < 0.6 * ripple_db(noise, centre)


def test_prepared_carriers_equal_carriers_made_on_demand() -> None:
    level = np.repeat(
        (-60 * DEFAULT_GRID.frame_centre_s / 0.8)[None], DEFAULT_GRID.bands, axis=0
    ).astype(np.float32)
    room = EnergyMap(np.maximum(level, -120))
    at_once, prepared = Synthesiser(RATE_HZ), Synthesiser(RATE_HZ)
    assert sum(1 for _ in iter(prepared.prepare, False)) > 10  # number of lengths
    assert np.array_equal(at_once(room), prepared(room))
