"""`nverb bank build --encode`: rooms of a folder in a bank of rooms, without their samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bank.format import Bank
from device.controls import defaults
from dsp.acoustics import measure
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker
from models.decoder import Decoder, ModelError

RATE_HZ = 48_000


def test_bank_plays_recordings_that_were_encoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bank has none of their samples; at a room's place, as `nverb bank info` prints it, the
    median T30 from 125 Hz is within 5 % of the recording's. A file that is no sound is left out."""
    try:
        Decoder.open()
    except (ModelError, OSError) as error:
        pytest.skip(f"no decoder runs here: {error}")
    folder, path = tmp_path / "irs", tmp_path / "rooms.nvbank"
    folder.mkdir()
    random = np.random.default_rng(1)
    for name, t60_s in (("dry", 0.3), ("wet", 1.8)):
        time = np.arange(int(1.2 * t60_s * RATE_HZ)) / RATE_HZ
        ir = random.standard_normal(len(time)) * 10 ** (-3 * time / t60_s)
        soundfile.write(folder / f"{name}.wav", 0.2 * ir, RATE_HZ, subtype="FLOAT")
    (folder / "notes.wav").write_text("no sound")
    build = ["bank", "build", "--model", "decoder", "--grid", "2", "-o", str(path)]
    assert main([*build, "--encode", str(folder)]) == 0
    assert "notes.wav" in capsys.readouterr().err
    assert main(["bank", "info", str(path), "--json"]) == 0
    encoded = json.loads(capsys.readouterr().out)["encoded"]
    assert [one["name"] for one in encoded] == ["dry.wav", "wet.wav"]
    bank = Bank.open(path)
    bank.verify()
    assert not bank.waveforms and path.stat().st_size < 200_000
    maker = RoomMaker(bank, RATE_HZ, 4 * RATE_HZ)
    for one, t60_s in zip(encoded, (0.3, 1.8), strict=True):
        values = defaults() | dict(zip("xyz", one["knobs"], strict=True)) | {"direct": 1.0}
        found = np.nanmedian(measure(maker.ir(values)[0], RATE_HZ, start=0).t30_s[1:])
        assert found == pytest.approx(t60_s, rel=0.05)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--encode goes with --model"),
        (["--model", "decoder", "--faithful"], "does not go with --faithful"),
    ],
)
def test_encode_needs_a_model_of_rooms(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.nvbank"
    build = ["bank", "build", "-o", str(path), "--encode", str(tmp_path), *options]
    assert main(build) == 1
    assert expected in capsys.readouterr().err and not path.exists()
