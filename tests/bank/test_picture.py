"""Pictures of the cube and the walk: their values for rooms of known decay, and the files."""

from __future__ import annotations

from pathlib import Path

import dense_model
import numpy as np
import pytest
import soundfile
from PIL import Image

from bank.build import build
from bank.folder import import_folder
from bank.format import Bank
from bank.picture import POINTS, SLICES, draw_cube, figures, walk
from dsp.energymap import DEFAULT_GRID, EnergyMap
from firmware_py.cli import main
from models import container, reference


def room(x: float, y: float, z: float) -> EnergyMap:
    """Straight decays: T60 is 2 ** (x / 2) s at mid frequencies, times 2 ** (y / 2) from 2.8 kHz
    on.

    z is the level in dB.
    """
    t60 = 2 ** (x / 2) * np.where(DEFAULT_GRID.centre_hz > 2830, 2 ** (y / 2), 1.0)
    level = z - 60 * DEFAULT_GRID.frame_centre_s / t60[:, None]
    return EnergyMap(np.maximum(level, level.max() - 120).astype(np.float32), DEFAULT_GRID)


def _format(path: Path) -> str | None:
    with Image.open(path) as image:
        assert image.size[0] > 800
        return image.format


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, -1), (-2, 1), (0.5, 0.5)])
def test_figures_match_straight_decays(x: float, y: float) -> None:
    """T30 and the ratio of high to mid decay are within 5 % and 8 %; frames are 4 % long."""
    seen = figures(room(x, y, 0))
    assert seen.t30_s == pytest.approx(2 ** (x / 2), rel=0.05)
    assert seen.brightness == pytest.approx(2 ** (y / 2), rel=0.08)
    assert seen.level_db - figures(room(x, y, -7)).level_db == pytest.approx(7, abs=0.01)


def test_draw_cube_matches_straight_decays(tmp_path: Path) -> None:
    build(tmp_path / "rooms.nvbank", room, steps=5, name="straight")
    table = draw_cube(Bank.open(tmp_path / "rooms.nvbank"), tmp_path / "cube.png")
    assert _format(tmp_path / "cube.png") == "PNG"
    t30, brightness, level = table.values()
    assert t30.shape == (SLICES, POINTS, POINTS)
    wanted = 2 ** (np.linspace(-2, 2, POINTS) / 2)
    # The 4 kHz octave starts within a band of the rooms' step at 2830 Hz, which brings extreme
    # values 16 % nearer to the middle.
    for seen, tolerance in ((t30[2, POINTS // 2], 0.1), (brightness[2, :, POINTS // 2], 0.2)):
        assert np.all(np.diff(seen) > 0)
        np.testing.assert_allclose(seen, wanted, rtol=tolerance)
    np.testing.assert_allclose(
        np.diff(level[:, 3, 3]), 1.0, atol=0.01
    )  # z from -2 to 2 in five slices: 1 dB each


def test_map_decode_and_traverse_write_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bank.picture.POINTS", 3)  # to save time
    model = tmp_path / "small.nvmodel"
    dense_model.write_rooms(model)
    picture, gif = tmp_path / "cube.png", tmp_path / "walk.gif"
    assert main(["bank", "map", str(picture), "--bank", str(model)]) == 0
    assert _format(picture) == "PNG"
    assert (
        main(["model", "decode", str(model), "--z", "0", "1", "0", "-o", str(tmp_path / "map.png")])
        == 0
    )
    with Image.open(tmp_path / "map.png") as image:
        assert image.format == "PNG"
    for source in (["--model", str(model)], []):
        assert main(["model", "traverse", str(gif), *source, "--frames", "5", "--fps", "10"]) == 0
        with Image.open(gif) as moving:
            assert (moving.format, moving.n_frames, moving.info["duration"]) == ("GIF", 5, 100)
    assert main(["model", "traverse", str(gif), "--frames", "1"]) == 1
    assert main(["bank", "map", str(tmp_path / "nowhere" / "cube.png")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_walk_reaches_both_ends_of_each_axis_at_even_steps() -> None:
    points = walk(73)
    assert np.abs(points).max() == pytest.approx(2, abs=0.1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.max() <= 24 / 73 + 1e-9
    for axis in range(3):
        assert points[:, axis].max() > 1.7 and points[:, axis].min() < -1.7


def _recordings(folder: Path) -> dict[str, float]:
    folder.mkdir()
    decays = {"short.wav": 0.3, "middle.wav": 0.9, "long.wav": 2.0}
    rng = np.random.default_rng(3)
    for name, t60 in decays.items():
        time = np.arange(int(1.2 * t60 * 16_000)) / 16_000
        soundfile.write(
            folder / name,
            0.2 * 10 ** (-3 * time / t60) * rng.standard_normal(len(time)),
            16_000,
            subtype="FLOAT",
        )
    return decays


def test_draw_cube_shows_recordings(tmp_path: Path) -> None:
    decays = _recordings(tmp_path / "irs")
    import_folder(
        tmp_path / "irs", tmp_path / "own.nvbank", coordinates=None, report=lambda line: None
    )
    bank = Bank.open(tmp_path / "own.nvbank")
    seen = draw_cube(bank, tmp_path / "own.png")["T30 (s)"]
    np.testing.assert_allclose(
        seen, [decays[waveform.name] for waveform in bank.waveforms], rtol=0.1
    )
    assert _format(tmp_path / "own.png") == "PNG"


def test_import_places_recordings_with_own_encoder(tmp_path: Path) -> None:
    """X = 2 log(T60) / log 5, within a quarter of a knob step (4 / 9) of each known decay."""
    decays = _recordings(tmp_path / "irs")
    assert main(["bank", "import", str(tmp_path / "irs"), "-o", str(tmp_path / "own.nvbank")]) == 0
    for waveform in Bank.open(tmp_path / "own.nvbank").waveforms:
        assert waveform.at[0] == pytest.approx(
            2 * np.log(decays[waveform.name]) / np.log(5), abs=0.11
        )
        assert max(map(abs, waveform.at)) <= 2


def test_import_without_encoder_places_by_decay_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> None:
        raise container.NoRuntime("no TFLite runtime here")

    monkeypatch.setattr("models.decoder.Encoder.open", none)
    _recordings(tmp_path / "irs")
    assert main(["bank", "import", str(tmp_path / "irs"), "-o", str(tmp_path / "own.nvbank")]) == 0
    assert "no encoder to place the recordings (no TFLite runtime here)" in capsys.readouterr().err
    places = {
        waveform.name: waveform.at for waveform in Bank.open(tmp_path / "own.nvbank").waveforms
    }
    assert places == {"short.wav": (-2, 0, 0), "middle.wav": (0, 0, 0), "long.wav": (2, 0, 0)}


def test_import_places_recordings_with_plugin_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an encoder of known output: the means of three parts of the picture."""
    weights = np.zeros((reference.BINS, reference.FRAMES, 3), np.float32)
    for axis, rows in enumerate((slice(0, 171), slice(171, 342), slice(342, 513))):
        weights[rows, :, axis] = 1 / (171 * reference.FRAMES)
    probes = np.random.default_rng(1).random((2, reference.BINS * reference.FRAMES))
    dense_model.write(
        tmp_path / "means.nvmodel",
        weights.reshape(-1, 3),
        np.zeros(3),
        probes,
        name="means",
        kind="plug-in encoder",
        golden=1,
        golden_outputs=3,
    )
    _recordings(tmp_path / "irs")
    arguments = [
        "bank",
        "import",
        str(tmp_path / "irs"),
        "-o",
        str(tmp_path / "own.nvbank"),
        "--encoder",
        str(tmp_path / "means.nvmodel"),
    ]
    assert main(arguments) == 0
    for waveform in Bank.open(tmp_path / "own.nvbank").waveforms:
        picture = reference.spectrogram(waveform.samples[0])
        np.testing.assert_allclose(
            waveform.at, [part.mean() for part in np.split(picture, 3)], atol=1e-4
        )
    (tmp_path / "bad.nvmodel").write_bytes(b"NVMODEL\0")
    old = (tmp_path / "own.nvbank").read_bytes()
    capsys.readouterr()
    assert main([*arguments[:-1], str(tmp_path / "bad.nvmodel")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "own.nvbank").read_bytes() == old
