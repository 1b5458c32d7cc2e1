"""IRs of measuring programs: MATLAB's .mat, and SOFA files that `sofar` writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from bank.found import recordings_in
from bank.recording import ReadingOptions, RecordingError, read_recording
from firmware_py.cli import main

Floats = NDArray[np.float32]
RATE_HZ = 44100


def room(channels: int, frames: int = 4000) -> Floats:
    draw = np.random.default_rng(channels)
    decay = np.exp(-np.arange(frames) / 600)
    ir = 0.1 * decay * draw.standard_normal((channels, frames))
    ir[:, 0] = 0.5
    return ir.astype(np.float32)


STEREO = room(2)
MATS: dict[str, tuple[dict[str, Any], Floats]] = {
    "one channel": ({"ir": room(1)[0], "fs": RATE_HZ}, room(1)),
    "a column for each channel": ({"h": STEREO.T, "Fs": float(RATE_HZ)}, STEREO),
    "a row for each channel": ({"h": STEREO, "sampleRate": RATE_HZ}, STEREO),
    "true stereo": ({"h": room(4).T.astype(float), "fs": np.uint16(RATE_HZ)}, room(4)),
    "smaller variables and text beside it": (
        {"t": np.arange(4000.0), "ir": STEREO.T, "fs": RATE_HZ, "room": "a hall"},
        STEREO,
    ),
    "16 bits": ({"ir": np.rint(STEREO * 32767).astype(np.int16), "fs": RATE_HZ}, STEREO),
}


@pytest.mark.parametrize("name", MATS)
def test_mat_file_gives_its_samples_by_content(tmp_path: Path, name: str) -> None:
    variables, wanted = MATS[name]
    path = tmp_path / "measured.dat"
    with path.open("wb") as file:
        scipy.io.savemat(file, variables)
    got = read_recording(path)
    assert got.rate_hz == RATE_HZ
    scale = 32767 if name == "16 bits" else 1
    np.testing.assert_allclose(got.samples / scale, wanted, atol=2e-5)
    assert any("variable" in note for note in got.notes)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ir": STEREO}, "no sampling rate"),
        ({"fs": RATE_HZ}, "no impulse response"),
        ({"ir": STEREO, "fs": 0}, "0 Hz"),
        ({"ir": STEREO, "fs": np.nan}, "cannot be read"),
        ({"ir": np.zeros((2, 100)), "fs": RATE_HZ}, "silent"),
        ({"ir": np.where(np.arange(100) == 7, np.nan, 0.5), "fs": RATE_HZ}, "sample 7"),
        ({"ir": np.ones((3, 100)), "fs": RATE_HZ}, "3 channels"),
        ({"ir": np.ones(61_000), "fs": 1000}, "at most 60 s"),
    ],
)
def test_mat_file_without_a_room_is_refused_in_one_line(
    tmp_path: Path, variables: dict[str, Any], says: str
) -> None:
    path = tmp_path / "bad.mat"
    scipy.io.savemat(path, variables)
    with pytest.raises(RecordingError, match=rf"bad\.mat: [^\n]*{says}[^\n]*$"):
        read_recording(path)


def test_cut_mat_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.mat"
    scipy.io.savemat(path, {"fs": RATE_HZ, "ir": STEREO})
    for size in (8, 20, 140, 1000):
        (tmp_path / "cut.mat").write_bytes(path.read_bytes()[:size])
        with pytest.raises(RecordingError, match=r"cut\.mat: [^\n]*$"):
            read_recording(path)
        scipy.io.savemat(path, {"fs": RATE_HZ, "ir": STEREO})


def test_folder_import_takes_mat_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, bank = tmp_path / "irs", tmp_path / "o.nvbank"
    folder.mkdir()
    scipy.io.savemat(folder / "hall.mat", {"fs": RATE_HZ, "ir": STEREO})
    assert main(["bank", "import", str(folder), "-o", str(bank)]) == 0
    capsys.readouterr()
    assert main(["bank", "info", str(bank), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["recordings"]
    assert row["name"] == "hall.mat" and row["channels"] == 2 and row["rate_hz"] == RATE_HZ


@pytest.mark.parametrize(
    ("start", "module"), [(b"MATLAB 5.0 MAT-file", "scipy.io"), (b"\x89HDF\r\n\x1a\n", "sofar")]
)
def test_without_the_studio_packages_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes, module: str
) -> None:
    path = tmp_path / "measured.sofa"
    path.write_bytes(start + bytes(200))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecordingError, match=r"measured\.sofa: this needs .*studio"):
        read_recording(path)
    lines: list[str] = []
    (left,) = recordings_in(tmp_path, report=lines.append)
    assert left.recording is None and "studio" in lines[0]


def write_sofa(path: Path, rows: NDArray[np.float64], convention: str) -> Path:
    """`rows`: measurements, receivers, samples, for FIR-E with emitters at the end."""
    import sofar

    file = sofar.Sofa(convention)
    file.Data_IR, file.Data_SamplingRate = rows, RATE_HZ
    file.ReceiverPosition = np.zeros((rows.shape[1], 3))
    if rows.ndim == 4:
        file.EmitterPosition = np.zeros((rows.shape[3], 3))
    file.Data_Delay = np.zeros((1, rows.shape[1], *rows.shape[3:]))
    sofar.write_sofa(str(path), file)
    return path


@pytest.mark.studio
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("measurements", [1, 3])
def test_sofa_file_gives_its_first_measurement(
    tmp_path: Path, channels: int, measurements: int
) -> None:
    data = room(channels * measurements).reshape(measurements, channels, -1).astype(np.float64)
    path = write_sofa(tmp_path / "hall.sofa", data, "GeneralFIR")
    path = path.rename(tmp_path / "hall.dat")
    got = read_recording(path)
    assert got.rate_hz == RATE_HZ
    np.testing.assert_allclose(got.samples, data[0], atol=1e-6)
    assert any("measurements" in note for note in got.notes) == (measurements > 1)


@pytest.mark.studio
@pytest.mark.parametrize(("receivers", "emitters", "channels"), [(2, 2, 4), (2, 5, 2), (1, 3, 1)])
def test_sofa_file_with_emitters_is_true_stereo_or_the_first_of_them(
    tmp_path: Path, receivers: int, emitters: int, channels: int
) -> None:
    """In FIR-E the emitters are the last axis, after the samples."""
    rows = room(receivers * emitters).reshape(emitters, receivers, -1).astype(np.float64)
    emitters_last = np.moveaxis(rows, 0, -1)[None]
    path = write_sofa(tmp_path / "hall.sofa", emitters_last, "GeneralFIR-E")
    got = read_recording(path)
    wanted = rows.reshape(-1, rows.shape[-1])[:channels]
    np.testing.assert_allclose(got.samples, wanted, atol=1e-6)


@pytest.mark.studio
def test_sofa_file_without_impulse_responses_is_refused(tmp_path: Path) -> None:
    import sofar

    path = tmp_path / "tf.sofa"
    sofar.write_sofa(str(path), sofar.Sofa("GeneralTF"))
    with pytest.raises(RecordingError, match=r"tf\.sofa: .*no impulse responses"):
        read_recording(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RecordingError, match=r"tf\.sofa: [^\n]*copy it again[^\n]*$"):
        read_recording(path)


@pytest.mark.studio
def test_mat_file_of_version_7_3_is_read(tmp_path: Path) -> None:
    """HDF5 behind MATLAB's header of 512 bytes; MATLAB stores the axes in reverse."""
    import h5py

    path = tmp_path / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["ir"] = STEREO  # in MATLAB: a column for each channel
        file["fs"] = np.array([[float(RATE_HZ)]])
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(116))
    got = read_recording(path, ReadingOptions())
    assert got.rate_hz == RATE_HZ
    np.testing.assert_array_equal(got.samples, STEREO)
