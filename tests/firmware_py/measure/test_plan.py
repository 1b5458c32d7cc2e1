"""Lengths that are found for simulated loops of known decays."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_py.bench.measure import RATE_HZ, SimulatedLoop
from firmware_py.measure.plan import find_length
from firmware_py.measure.programme import Programme
from firmware_py.measure.takes import Take, understand


@pytest.mark.parametrize(("t60_s", "probes"), [(0.5, 1), (6.0, 2)])
def test_decay_is_recorded_down_to_the_wanted_range(t60_s: float, probes: int) -> None:
    """65 dB take 1.08 T60, with 10 % to spare; within 20 %, as low octaves decay by chance. A hall
    needs a second probe."""
    time_s = np.arange(int(1.5 * t60_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(1).standard_normal(len(time_s))
    loop = SimulatedLoop(noise * 10 ** (-3 * time_s / t60_s), -50.0)
    heard = []

    def play(programme: Programme) -> list[Take]:
        heard.append(programme)
        sound = programme.samples()[None]
        return [understand(loop.take(sound)[0], programme, 0.2)]

    _, decay_s = find_length(play, RATE_HZ, -40.0, 65.0, 12.0)
    assert decay_s == pytest.approx(1.1 * t60_s * 65 / 60, rel=0.2)
    assert len(heard) == probes
