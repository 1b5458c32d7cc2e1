"""What a report says of octaves that the noise masks: nothing rather than something wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp.acoustics import measure
from firmware_py.measure.report import figures

RATE_HZ = 48000
Doubles = NDArray[np.float64]


def room(t60_s: float, below_hz: float) -> Doubles:
    """Decaying noise without frequencies above `below_hz`."""
    time_s = np.arange(int(2 * t60_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(1).standard_normal(len(time_s))
    spectrum = np.fft.rfft(noise * np.exp(-3 * np.log(10) / t60_s * time_s))
    hz = np.fft.rfftfreq(len(time_s), 1 / RATE_HZ)
    return np.asarray(np.fft.irfft(spectrum * np.exp(-((hz / below_hz) ** 4)), len(time_s)))


def told(ir: Doubles, noise_db: float) -> dict[str, Doubles]:
    random, amplitude = np.random.default_rng(2), 10 ** (noise_db / 20)
    heard = np.pad(ir, (0, RATE_HZ)) + amplitude * random.standard_normal(len(ir) + RATE_HZ)
    noise = amplitude * random.standard_normal(1 << 16)
    return figures(measure(heard.astype(np.float32), RATE_HZ, start=0, noise=noise))


def test_octaves_without_sound_have_no_figures() -> None:
    """Nothing above 2 kHz: 8 kHz is all noise. T30 below within 5 %, C50 within 0.3 dB."""
    ir = room(0.8, 2000.0)
    found, true = told(ir, -58.0), measure(ir.astype(np.float32), RATE_HZ, start=0)
    assert found["range_db"][-1] < 20
    for name in ("t30_s", "edt_s", "c50_db"):
        assert np.isnan(found[name][-1])
    assert np.abs(found["t30_s"][2:5] / true.t30_s[2:5] - 1).max() < 0.05
    assert np.abs(found["c50_db"][2:5] - true.c50_db[2:5]).max() < 0.3


def test_a_cable_has_no_c50() -> None:
    """Its late sound is less than the noise."""
    found = told(np.pad([1.0], (0, RATE_HZ)), -80.0)
    assert np.isnan(found["c50_db"]).all()


@pytest.mark.parametrize(("direct_db", "is_told"), [(-20.0, True), (9.0, False)])
def test_a_curve_with_a_step_has_no_edt(direct_db: float, is_told: bool) -> None:
    """A direct sound 9 dB above all of the decay: the curve falls by 9.5 dB at once, and reaches
    -10 dB where a little more or less noise decides."""
    ir = room(0.8, 30_000.0)
    ir[0] += np.sqrt(10 ** (direct_db / 10) * np.sum(ir**2))
    found = told(ir, -60.0)
    assert np.isfinite(found["edt_s"][3:]).all() == is_told
    assert np.isnan(found["edt_s"][3:]).all() != is_told


def test_a_decay_of_two_slopes_has_no_t30() -> None:
    """1.5 s, 20 dB below a decay of 0.3 s."""
    short, ir = room(0.3, 30_000.0), 0.1 * room(1.5, 30_000.0)
    ir[: len(short)] += short
    found = told(ir, -80.0)
    assert np.isnan(found["t30_s"][3:]).all() and np.isfinite(found["edt_s"][3:]).all()
