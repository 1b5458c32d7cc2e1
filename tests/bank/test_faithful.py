"""Banks of the plug-in's kind (Griffin-Lim, librosa): building, resampling, playback."""

from __future__ import annotations

from pathlib import Path

import dense_model
import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
from faithful_figures import difference_db, librosas

from bank.format import Bank
from bank.griffin_lim import TAPS, griffin_lim
from device.controls import defaults
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source

pytestmark = pytest.mark.studio


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("model") / "small.nvmodel"
    dense_model.write_rooms(model)
    path = tmp_path_factory.mktemp("bank") / "faithful.nvbank"
    assert (
        main(
            [
                "bank",
                "build",
                "--model",
                str(model),
                "--grid",
                "2",
                "--faithful",
                "--iterations",
                "3",
                "-o",
                str(path),
            ]
        )
        == 0
    )
    return path


def test_faithful_bank_has_plugin_layout(faithful: Path) -> None:
    bank = Bank.open(faithful)
    bank.verify()
    assert bank.interleaved == 2 and len(bank.waveforms) == 16
    for number, waveform in enumerate(bank.waveforms):
        assert waveform.rate_hz == 16_000 and waveform.samples.shape == (1, 32_512)
        assert np.abs(waveform.samples).max() == pytest.approx(10 ** (-12 / 20), rel=1e-6)
        x, y, z = (2 if number // 2 >> bit & 1 else -2 for bit in (2, 1, 0))
        assert waveform.at == (x, y, z)
    left, right = (waveform.samples[0].astype(float) for waveform in bank.waveforms[:2])
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.3  # different phases


def test_griffin_lim_approximates_the_spectrogram() -> None:
    """From the spectrogram of a sound it finds a sound with nearly that spectrogram.

    Spectral convergence below -12 dB.
    """
    decay = np.exp(-np.arange(TAPS) / 4000) * np.random.default_rng(5).standard_normal(TAPS)
    wanted = np.abs(librosa.stft(decay, n_fft=1024, hop_length=256, pad_mode="reflect"))
    wanted /= wanted.max()
    picture = 1 + 20 * np.log10(np.maximum(wanted, 1e-6)) / 120
    sound = griffin_lim(picture.astype(np.float32), 120.0, 60, seed=3)
    _, _, spectrum = scipy.signal.stft(
        sound, nperseg=1024, noverlap=768, boundary="even", padded=False
    )
    got = np.abs(spectrum)
    got *= (got * wanted).sum() / (got**2).sum()
    assert 20 * np.log10(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)) < -12


def test_griffin_lim_is_librosas() -> None:
    """-100 dB after 100 iterations from the same phases: rounding of float32."""
    draw = np.random.default_rng(4)
    picture = 0.3 * draw.random((513, 128)) + np.linspace(0.7, 0, 128)
    theirs = librosas(picture.astype(np.float32), 120.0, 100, seed=6)
    ours = griffin_lim(picture.astype(np.float32), 120.0, 100, seed=6)
    assert difference_db(ours, theirs) < -100


@pytest.mark.parametrize(
    ("rate_hz", "resampling", "converted"),
    [
        (32_000, 1, True),
        (44_100, 1, True),
        (48_000, 1, True),
        (96_000, 1, True),
        (88_200, 1, False),
        (16_000, 1, False),
        (48_000, 0, False),
    ],
)
def test_stepped_bank_resamples_only_at_listed_rates(
    faithful: Path, rate_hz: int, resampling: int, converted: bool
) -> None:
    """Converted waveforms against SciPy's polyphase resampler: -40 dB below 7 kHz.

    Otherwise the samples are unchanged. The peak is -12 dBFS in both cases.
    """
    source = find_source(faithful)
    assert isinstance(source, Bank)
    maker = RoomMaker(source, rate_hz, 480_000)
    values = defaults() | {
        "x": 9.0,
        "y": 0.0,
        "z": 0.0,
        "width": 1.0,
        "resampling": float(resampling),
    }
    ir = maker.ir(values)
    for row, waveform in zip(ir, source.waveforms[8:10], strict=True):
        assert np.abs(row).max() == pytest.approx(10 ** (-12 / 20), rel=1e-5)
        if not converted:
            np.testing.assert_allclose(row, waveform.samples[0], rtol=1e-6)
            continue
        divisor = np.gcd(rate_hz, 16_000)
        truth = scipy.signal.resample_poly(
            waveform.samples[0].astype(float), rate_hz // divisor, 16_000 // divisor
        )
        size = min(len(truth), len(row))
        assert abs(len(truth) - len(row)) <= 2
        low = slice(0, int(7000 / rate_hz * size))
        got, wanted = np.fft.rfft(row[:size])[low], np.fft.rfft(truth[:size])[low]
        gain = np.vdot(wanted, got).real / np.vdot(wanted, wanted).real
        assert 20 * np.log10(np.linalg.norm(got - gain * wanted) / np.linalg.norm(got)) < -40


def test_render_plays_faithful_bank(faithful: Path, tmp_path: Path) -> None:
    """Through the pedal's graph, a unit pulse gives the bank's waveforms."""
    pulse = np.zeros(2000, np.float32)
    pulse[0] = 1
    soundfile.write(tmp_path / "in.wav", pulse, 16_000, subtype="FLOAT")
    settings = ["x=0", "y=9", "z=9", "width=1", "mix=100", "gain=0", "limiter=off"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert (
        main(
            [
                "render",
                str(tmp_path / "in.wav"),
                str(tmp_path / "out.wav"),
                "--bank",
                str(faithful),
                *arguments,
            ]
        )
        == 0
    )
    got = soundfile.read(tmp_path / "out.wav", dtype="float32")[0].T
    for row, waveform in zip(got, Bank.open(faithful).waveforms[6:8], strict=True):
        np.testing.assert_allclose(row[: waveform.samples.shape[1]], waveform.samples[0], atol=2e-5)
