"""Import of the plug-in's networks: small ones of its layout, with outputs computed in NumPy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import librosa
import numpy as np
import pytest
import small_plugin
import soundfile

from device.controls import defaults
from dsp.synthesis import Synthesiser
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source
from models import container, reference
from models.decoder import Decoder, PluginEncoder

pytestmark = pytest.mark.studio

LAYERS = small_plugin.decoder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    small_plugin.write(folder / "decoder.hdf5", LAYERS, (1, 1, 3))
    small_plugin.write(folder / "encoder.hdf5", small_plugin.encoder(), (513, 128, 1))
    return folder


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Path:
    path = folder / "decoder.nvmodel"
    assert main(["model", "import", str(folder / "decoder.hdf5"), "-o", str(path)]) == 0
    return path


def test_decode_matches_float_network(decoder: Path, tmp_path: Path) -> None:
    """Against NumPy in float64: mean error within 0.05 dB of the 120 dB that the values span."""
    points = [*np.random.default_rng(2).uniform(-2, 2, (5, 3)), (-2.0, 2.0, -2.0)]
    for point in points:
        z = [f"{value:.6f}" for value in point]
        assert (
            main(["model", "decode", str(decoder), "--z", *z, "-o", str(tmp_path / "map.npy")]) == 0
        )
        got = np.load(tmp_path / "map.npy")
        assert got.shape == (513, 128)
        truth = small_plugin.decode(LAYERS, np.array(z, np.float64))
        assert np.ptp(truth) > 0.2
        assert 120 * np.abs(got - truth).mean() <= 0.05


def test_import_takes_smallest_quantisation_within_bounds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "again.nvmodel"
    assert (
        main(
            [
                "model",
                "import",
                str(folder / "decoder.hdf5"),
                "-o",
                str(path),
                "--db-range",
                "80",
                "--no-repair",
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    rows = re.findall(r"^(\S.*?) +(\d+) +([\d.]+) dB +[\d.]+ dB(.*)$", out, re.MULTILINE)
    assert {row[0] for row in rows} >= {"int8", "int8 weights", "float16", "float32"} and not err
    within = {name: int(size) for name, size, error, _ in rows if float(error) <= 0.05}
    assert all(("too far" in remark) == (name not in within) for name, _, _, remark in rows)
    about = container.read(path).description
    assert about.network_bytes == min(within.values()) == within[about.quantisation]
    assert (about.kind, about.db_range, about.repaired) == ("plug-in", 80, False)


def test_room_maker_plays_imported_decoder(decoder: Path) -> None:
    """An imported decoder is a room source: IRs at the engine's rate that decay like the map.

    Within 2 dB of mean level.
    """
    source = find_source(decoder)
    maker = RoomMaker(source, 48_000, 480_000)
    ir = maker.ir(defaults())
    assert ir.dtype == np.float32 and ir.shape[0] == 2 and np.isfinite(ir).all()
    room = source.energy_map(0, 0, 0)
    assert room.grid == reference.GRID
    energy = (10 ** (room.level_db / 10)).sum(axis=0)
    frames = np.arange(0, ir.shape[1] - 768, 768)
    got = np.array([(ir[:, at : at + 768].astype(float) ** 2).sum() for at in frames])
    got, wanted = got[: len(energy)], energy[: len(got)]  # the room goes on after the map
    offset = 10 * np.log10(got.sum() / wanted.sum())
    assert np.abs(10 * np.log10(got / wanted) - offset).mean() < 2
    other = defaults() | {"x": 9.0}
    assert maker.fingerprint(other) != maker.fingerprint(defaults())
    assert not np.array_equal(maker.ir(other)[:, :1000], ir[:, :1000])


def test_spectrogram_matches_librosa() -> None:
    """The plug-in prepared its pictures with librosa: power in dB, 80 dB deep, scaled to 0 .. 1.

    Equal to 1e-4 of the range.
    """
    ir = Synthesiser(16_000)(find_source().energy_map(0.3, 0.2, -0.5))[0][: 127 * 256]
    ir = np.pad(ir, (0, 127 * 256 - len(ir)))
    db = librosa.power_to_db(
        np.abs(librosa.stft(ir, n_fft=1024, hop_length=256, pad_mode="reflect")) ** 2
    )
    truth = (db - db.min()) / np.ptp(db)
    assert np.abs(reference.spectrogram(ir) - truth).max() < 1e-4


def test_imported_encoder_encodes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "encoder.nvmodel"
    assert main(["model", "import", str(folder / "encoder.hdf5"), "-o", str(path)]) == 0
    tone = np.exp(-np.arange(48_000) / 9000) * np.random.default_rng(1).standard_normal(48_000)
    soundfile.write(tmp_path / "ir.wav", 0.1 * tone, 48_000)
    capsys.readouterr()
    assert main(["model", "encode", str(path), str(tmp_path / "ir.wav")]) == 0
    printed = [
        float(value)
        for value in re.findall(r"-?\d+\.\d+", capsys.readouterr().out.rpartition("latent")[2])
    ]
    latent = PluginEncoder.open(path).encode(
        librosa.resample(0.1 * tone, orig_sr=48_000, target_sr=16_000).astype(np.float32)
    )
    np.testing.assert_allclose(printed, latent, atol=0.02)  # another resampler, 16-bit samples
    with pytest.raises(container.ModelError, match="not a room decoder"):
        Decoder.open(path)


def _lambda(config: dict[str, object]) -> None:
    config["config"]["layers"][2]["class_name"] = "Lambda"  # type: ignore[index]


def _huge(config: dict[str, object]) -> None:
    config["config"]["layers"][1]["config"]["filters"] = 10**9  # type: ignore[index]


def _no_layers(config: dict[str, object]) -> None:
    del config["config"]["layers"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("text", "not an HDF5 file"),
        ("short", "not an HDF5 file"),
        ("weights", "no model_config"),
        ("shape", r"takes \(None, 1, 1, 2\)"),
        ("nan", "not finite"),
        ("missing weights", "Keras cannot read it"),
        (_lambda, "Lambda"),
        (_huge, "at most 16384"),
        (_no_layers, "damaged"),
        ("lfs", "git lfs pull"),
        ("keras", "save the network as HDF5"),
        ("absent", "No such file"),
        ("folder", "a folder"),
    ],
)
def test_import_rejects_unsuitable_file_in_one_line(
    spoil: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "bad.hdf5", tmp_path / "out.nvmodel"
    output.write_bytes(b"the model that was there")
    layers = small_plugin.decoder()
    if spoil == "nan":
        layers[0].weights["bias"][0] = np.nan
    if spoil == "shape":
        layers[0].weights["kernel"] = layers[0].weights["kernel"][..., :2]
    small_plugin.write(path, layers, (1, 1, 2 if spoil == "shape" else 3))
    if spoil == "text":
        path.write_text("no network" * 100)
    elif spoil == "short":
        path.write_bytes(path.read_bytes()[:3000])
    elif spoil in ("lfs", "keras"):
        path.write_bytes(b"version https://git-lfs" if spoil == "lfs" else b"PK\3\4")
    elif spoil in ("absent", "folder"):
        path.unlink()
        if spoil == "folder":
            path.mkdir()
    elif spoil == "weights":
        with h5py.File(path, "r+") as file:
            del file.attrs["model_config"]
    elif spoil == "missing weights":
        with h5py.File(path, "r+") as file:
            del file["model_weights/conv2d_transpose_4"]
    elif callable(spoil):
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            spoil(config)
            file.attrs["model_config"] = json.dumps(config)
    assert main(["model", "import", str(path), "-o", str(output)]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1, error
    assert output.read_bytes() == b"the model that was there"
    assert len(list(tmp_path.iterdir())) <= 2
