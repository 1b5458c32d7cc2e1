"""Room acoustics compared with closed forms and with a second implementation of ISO 3382-1 that
uses SciPy's filters."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from dsp import acoustics

RATE_HZ = 48_000


def decaying_noise(
    decay_s: float, seconds: float, seed: int = 0, direct: float = 0.0
) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    ir = random.standard_normal(len(time)) * 10 ** (-3 * time / decay_s)
    ir[0] += direct
    return ir.astype(np.float32)


def octave(sound: np.ndarray, centre_hz: float) -> np.ndarray:
    edges = [centre_hz / np.sqrt(2), centre_hz * np.sqrt(2)]
    return scipy.signal.sosfilt(
        scipy.signal.butter(3, edges, "bandpass", fs=RATE_HZ, output="sos"), sound
    )


def by_scipy(ir: np.ndarray, centre_hz: float) -> dict[str, float]:
    """T30, EDT, C50 and DRR of an IR that begins at its first sample: recursive filters, run
    backwards for the decay."""
    pad = RATE_HZ
    padded = np.concatenate([np.zeros(pad), ir.astype(float), np.zeros(pad)])
    backwards = octave(padded[::-1], centre_hz)[::-1]
    energy = backwards**2
    decay = np.cumsum(energy[::-1])[::-1]
    level = 10 * np.log10(decay[pad : pad + len(ir)] / decay[0])
    level[0] = 0.0
    times = {}
    for name, top, bottom in (("t30", -5.0, -35.0), ("edt", 0.0, -10.0)):
        inside = np.flatnonzero((level <= top) & (level >= bottom))
        slope = scipy.stats.linregress(inside / RATE_HZ, level[inside]).slope
        times[name] = -60.0 / slope

    def power(first: int, last: int | None) -> float:
        cut = np.concatenate([ir[first:last], np.zeros(pad)]).astype(float)
        return float(np.sum(octave(cut, centre_hz) ** 2))

    early, direct = int(0.05 * RATE_HZ), int(0.0025 * RATE_HZ)
    return times | {
        "c50": 10 * np.log10(power(0, early) / power(early, None)),
        "drr": 10 * np.log10(power(0, direct) / power(direct, None)),
    }


@pytest.mark.parametrize(("decay_s", "direct"), [(0.4, 0.0), (1.2, 40.0), (2.5, 0.0)])
def test_figures_match_second_implementation(decay_s: float, direct: float) -> None:
    ir = decaying_noise(decay_s, 1.5 * decay_s, seed=3, direct=direct)
    ours = acoustics.measure(ir, RATE_HZ, start=0)
    for row, centre in enumerate(acoustics.OCTAVES_HZ):
        truth = by_scipy(ir, centre)
        # The second implementation fits the line to all samples, ours to 256 points.
        assert ours.t30_s[row] == pytest.approx(truth["t30"], rel=0.01)
        assert ours.edt_s[row] == pytest.approx(truth["edt"], rel=0.03)
        assert ours.c50_db[row] == pytest.approx(truth["c50"], abs=0.01)
        assert ours.drr_db[row] == pytest.approx(truth["drr"], abs=0.01)


def test_octave_filters_match_scipy_butterworth() -> None:
    hz = np.geomspace(20, 20_000, 200)
    for centre in acoustics.OCTAVES_HZ:
        edges = [centre / np.sqrt(2), centre * np.sqrt(2)]
        b, a = scipy.signal.butter(3, edges, "bandpass", fs=RATE_HZ)
        sos = (
            scipy.signal.tf2sos(b, a)
            if centre > 500
            else scipy.signal.butter(3, edges, "bandpass", fs=RATE_HZ, output="sos")
        )
        _, truth = scipy.signal.sosfreqz(sos, hz, fs=RATE_HZ)
        assert np.abs(acoustics.octave_response(hz, centre, RATE_HZ) - truth).max() < 1e-4


def test_exponential_decay_has_closed_form_t30_and_c50() -> None:
    """A deterministic decay of energy, without noise. C50 of exp(-kt): 10 lg(e^(0.05 k) - 1)."""
    for decay_s in (0.3, 1.0, 4.0):
        time = np.arange(0, 1.2 * decay_s, 0.001)
        rate = np.log(1e6) / decay_s
        curve = -10 * rate * time / np.log(10)
        assert acoustics.decay_time_s(curve, time, -5, -35) == pytest.approx(decay_s, rel=1e-6)
        ir = decaying_noise(decay_s, 1.3 * decay_s, seed=1)
        found = acoustics.measure(ir, RATE_HZ, start=0)
        expected = 10 * np.log10(np.expm1(0.05 * rate))
        assert np.nanmean(found.c50_db[4:]) == pytest.approx(
            expected, abs=0.5
        )  # mean of four octaves
        assert np.nanmean(found.t30_s[4:]) == pytest.approx(decay_s, rel=0.03)


def test_background_noise_does_not_lengthen_decay() -> None:
    clean = decaying_noise(0.8, 3.0, seed=5)
    noisy = clean + 10 ** (-50 / 20) * np.random.default_rng(6).standard_normal(len(clean)).astype(
        np.float32
    )
    truth, found = (
        acoustics.measure(clean, RATE_HZ, start=0),
        acoustics.measure(noisy, RATE_HZ, start=0),
    )
    assert np.abs(found.t30_s[2:] / truth.t30_s[2:] - 1).max() < 0.05
    heard = truth.curve_db[4, :3000] > -60
    assert np.abs(found.curve_db[4, :3000] - truth.curve_db[4, :3000])[heard].max() < 2.0


def test_measure_finds_onset_and_omits_octaves_above_nyquist() -> None:
    ir = np.concatenate([np.zeros(1000, np.float32), decaying_noise(0.5, 0.8, direct=20.0)])
    assert acoustics.onset(ir) == 1000
    assert np.isnan(acoustics.measure(ir, 16_000).t30_s[-1])
    assert not np.isnan(acoustics.measure(ir, 16_000).t30_s[-3])


def test_measure_rejects_silence() -> None:
    with pytest.raises(ValueError, match="not silent"):
        acoustics.measure(np.zeros(1000, np.float32), RATE_HZ)
