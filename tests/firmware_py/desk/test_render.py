"""`nverb render` via the command line: output against scipy, and errors of bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from device.controls import defaults
from firmware_py.base.paths import data_dir
from firmware_py.cli import main
from firmware_py.state.presets import Presets

RATE_HZ = 48000
EXACT = ("--raw-ir", "--set", "gain=0", "mix=100", "limiter=off")


def noise(frames: int, channels: int, seed: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(
        np.float32
    )


def write(path: Path, sound: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    soundfile.write(path, sound, rate_hz, subtype="FLOAT")
    return path


@pytest.fixture
def guitar(tmp_path: Path) -> Path:
    return write(tmp_path / "in.wav", noise(20000, 2, 1))


def reference(sound: np.ndarray, ir: np.ndarray) -> np.ndarray:
    """Convolution of (n, channels) with (taps, channels) by the channel rules of the pedal."""
    sound, ir = sound.astype(float), ir.astype(float)
    if ir.shape[1] == 4:
        left, right = sound[:, 0], sound[:, -1]
        return np.stack(
            [fftconvolve(left, ir[:, o]) + fftconvolve(right, ir[:, 2 + o]) for o in range(2)],
            axis=1,
        )
    return np.stack(
        [fftconvolve(sound[:, o % sound.shape[1]], ir[:, o % ir.shape[1]]) for o in range(2)],
        axis=1,
    )


@pytest.mark.parametrize("block", [16, 128, 1024])
@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_render_equals_scipy(tmp_path: Path, block: int, inputs: int, channels: int) -> None:
    """Error below -110 dB of the peak, no time offset, length of input and tail."""
    sound, ir = noise(20011, inputs, 1), noise(7001, channels, 2)
    out = tmp_path / "out.wav"
    arguments = [
        "render",
        str(write(tmp_path / "in.wav", sound)),
        str(out),
        "--ir",
        str(write(tmp_path / "ir.wav", ir)),
    ]
    assert main([*arguments, *EXACT, "--block", str(block)]) == 0
    got, rate_hz = soundfile.read(out, dtype="float64")
    expected = reference(sound, ir)
    assert rate_hz == RATE_HZ
    assert got.shape == expected.shape
    assert 20 * np.log10(np.abs(got - expected).max() / np.abs(expected).max()) < -110


@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000, 192000])
def test_render_is_exact_at_every_rate(tmp_path: Path, rate_hz: int) -> None:
    """-120 dB of rms: the gain of pyo's server is taken out."""
    sound, ir, out = noise(20011, 2, 1), noise(7001, 2, 2), tmp_path / "out.wav"
    files = [
        str(write(tmp_path / name, x, rate_hz)) for name, x in (("in.wav", sound), ("ir.wav", ir))
    ]
    assert main(["render", files[0], str(out), "--ir", files[1], *EXACT]) == 0
    expected, error = reference(sound, ir), soundfile.read(out)[0] - reference(sound, ir)
    assert 10 * np.log10(np.mean(error**2) / np.mean(expected**2)) < -120


def test_render_accepts_shortest_and_longest_ir(tmp_path: Path, guitar: Path) -> None:
    sound = soundfile.read(guitar)[0]
    for frames in (1, 10 * RATE_HZ):
        ir = noise(frames, 2, 3) * np.exp(-np.arange(frames) / 60000)[:, None].astype(np.float32)
        out = tmp_path / "out.wav"
        assert (
            main(
                [
                    "render",
                    str(guitar),
                    str(out),
                    "--ir",
                    str(write(tmp_path / "ir.wav", ir)),
                    *EXACT,
                ]
            )
            == 0
        )
        expected = reference(sound, ir.astype(np.float32))
        got = soundfile.read(out)[0]
        assert got.shape == expected.shape
        assert 20 * np.log10(np.abs(got - expected).max() / np.abs(expected).max()) < -110


def test_render_resamples_ir_and_reports_it(
    tmp_path: Path, guitar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A band-limited IR at 96 kHz is the same filter at 48 kHz within -60 dB, the stop band."""
    t = np.arange(9600) / 96000
    tone = (np.sin(2 * np.pi * 3000 * t) * np.exp(-t / 0.01) * np.minimum(1, t / 0.002)).astype(
        np.float32
    )
    high, low = (
        write(tmp_path / "high.wav", tone[:, None], 96000),
        write(tmp_path / "low.wav", 2 * tone[::2, None]),
    )
    outs = []
    for ir in (high, low):
        assert (
            main(["render", str(guitar), str(tmp_path / "out.wav"), "--ir", str(ir), *EXACT]) == 0
        )
        outs.append(soundfile.read(tmp_path / "out.wav")[0][:20000])
    assert "resampled from 96000 to 48000" in capsys.readouterr().err
    assert np.abs(outs[0] - outs[1]).max() < 1e-3 * np.abs(outs[1]).max()


def test_render_resamples_input_and_reports_it(
    tmp_path: Path, guitar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["render", str(guitar), str(tmp_path / "out.wav"), "--rate", "44100", "--set", "x=1"])
        == 0
    )
    assert "resampled" in capsys.readouterr().err
    assert soundfile.info(tmp_path / "out.wav").samplerate == 44100


@pytest.mark.parametrize("switch", ["lowpass", "highpass"])
def test_a_filter_that_is_only_switched_on_is_heard(
    tmp_path: Path, guitar: Path, switch: str
) -> None:
    """Its cutoff is at its default. Noise in a room: a tenth of its energy or more is gone."""
    energy = []
    for state in ("off", "on"):
        words = ["render", str(guitar), str(tmp_path / "out.wav")]
        assert main([*words, "--set", "mix=100", f"{switch}={state}"]) == 0
        energy.append(float((soundfile.read(tmp_path / "out.wav")[0] ** 2).sum()))
    assert energy[1] < 0.9 * energy[0]


def test_render_tail_grows_with_x(tmp_path: Path, guitar: Path) -> None:
    lengths = []
    for x in (0, 9):
        assert (
            main(
                [
                    "render",
                    str(guitar),
                    str(tmp_path / "out.wav"),
                    "--set",
                    f"x={x}",
                    "--set",
                    "mix=100",
                ]
            )
            == 0
        )
        lengths.append(soundfile.info(tmp_path / "out.wav").frames)
    assert lengths[1] > lengths[0] > 20000


def test_render_plays_what_the_pedal_plays(
    tmp_path: Path,
    guitar: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No pedal runs: the startup preset, with --preset another one, with --built-in none."""
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    presets = Presets(data_dir())
    presets.save("Dry", defaults() | {"mix": 0.0, "gain": 0.0})
    presets.save("Wet", defaults() | {"mix": 100.0, "gain": 0.0})

    def rendered(*words: str) -> tuple[np.ndarray, str]:
        assert main(["render", str(guitar), str(tmp_path / "out.wav"), *words]) == 0
        return soundfile.read(tmp_path / "out.wav")[0], capsys.readouterr().out

    plain, told = rendered()
    assert "default controls" in told
    presets.set_startup("Dry")
    dry, told = rendered()
    assert "preset Dry" in told
    np.testing.assert_allclose(dry[:20000], soundfile.read(guitar)[0], atol=1e-6)
    np.testing.assert_array_equal(rendered("--built-in")[0], plain)
    wet = rendered("--preset", "wet")[0]
    np.testing.assert_array_equal(rendered("--set", "mix+=100", "x=4.5")[0], wet)
    assert np.abs(wet[:20000] - dry[:20000]).max() > 0.01


BAD_IRS = {
    "nan": (np.full((10, 2), np.nan), "NaN|finite"),
    "inf": (np.full((10, 1), np.inf), "NaN|finite"),
    "zero length": (np.zeros((0, 2)), "no samples|empty|length"),
    "zero energy": (np.zeros((100, 2)), "silen|energy"),
    "forty channels": (np.ones((10, 40)), "40 channels"),
    "eleven seconds": (np.ones((11 * RATE_HZ, 1)), "11.0 s"),
}


@pytest.mark.parametrize("name", BAD_IRS)
def test_render_rejects_bad_ir(
    tmp_path: Path, guitar: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    import re

    samples, expected = BAD_IRS[name]
    ir = write(tmp_path / "bad.wav", samples.astype(np.float32))
    fails(tmp_path, capsys, ["render", str(guitar), "OUT", "--ir", str(ir)], "bad.wav")
    main(["render", str(guitar), str(tmp_path / "out.wav"), "--ir", str(ir)])
    assert re.search(expected, capsys.readouterr().err)


def fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    """Expect one line with `expected` on stderr, a nonzero exit status, and unchanged files."""
    out = tmp_path / "out.wav"
    out.write_bytes(b"old")
    before = sorted(path.name for path in tmp_path.iterdir())
    try:
        status = main([str(out) if word == "OUT" else word for word in arguments])
    except SystemExit as leave:
        status = leave.code
    error = capsys.readouterr().err
    assert status not in (0, None)
    assert expected in error and error.count("\n") == 1, error
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    out.unlink()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["render", "nothing.wav", "OUT"], "no such file"),
        (["render", "TEXT", "OUT"], "not a sound file"),
        (["render", "FOLDER", "OUT"], "folder"),
        (["render", "IN", "OUT", "--set", "mux=3"], "mix"),
        (["render", "IN", "OUT", "--set", "mix=300"], "0 to 100"),
        (["render", "IN", "OUT", "--block", "100"], "multiple of 16"),
        (["render", "IN", "OUT", "--block", "8192"], "16 to 4096"),
        (["render", "IN", "OUT", "--rate", "1"], "8000"),
        (["render", "IN", "OUT", "--bank", "TEXT"], "bank"),
        (["render", "IN", "OUT", "--bank", "nothing.nvbank"], "No such file"),
        (["render", "IN", "/nowhere/at/all.wav"], "no such folder"),
        (["render", "IN", "IN"], "is the input"),
        (["render", "IN"], "OUT.wav"),
        (["rendr"], "rendr"),
    ],
)
def test_render_rejects_bad_arguments(
    tmp_path: Path,
    guitar: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    names = {"IN": str(guitar), "TEXT": str(text), "FOLDER": str(tmp_path)}
    fails(tmp_path, capsys, [names.get(word, word) for word in arguments], expected)


def test_render_rejects_five_channel_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = write(tmp_path / "many.wav", noise(100, 5, 1))
    fails(tmp_path, capsys, ["render", str(many), "OUT"], "5 channels")
