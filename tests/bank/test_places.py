"""Places in values of the knobs: the CSV file, what commands print, presets of a bank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bank.format import Bank, BankError
from bank.places import HAND, knobs_of, neighbours, point_of, read_places, text_of, to_csv
from device.controls import find
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import rooms_named
from firmware_py.state.presets import Presets

RNG = np.random.default_rng(7)
RATE_HZ = 48000


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "places.csv"
    path.write_text(text)
    return path


def test_knobs_and_points_agree_with_the_law_of_the_plug_in() -> None:
    """latent = -2 + 4 k / 9, docs/plugin.md."""
    for k in np.linspace(0, 9, 19):
        assert point_of((k, 9 - k, 0)) == pytest.approx((-2 + 4 * k / 9, 2 - 4 * k / 9, -2))
        assert knobs_of(point_of((k, 9 - k, 0))) == pytest.approx((k, 9 - k, 0))
    assert text_of((0.0, -2.0, 2.0)) == "x 4.50  y 0.00  z 9.00"


def test_a_csv_file_has_values_of_the_knobs(tmp_path: Path) -> None:
    said: list[str] = []
    path = written(tmp_path, "name,x,y,z\na,0,4.5,9\nb,9,0,1\n")
    assert read_places(path, said.append) == {"a": (-2, 0, 2), "b": (2, -2, pytest.approx(-14 / 9))}
    path.write_bytes(to_csv({"a": (-2.0, 0.5, 2.0), "far": (-5.0, 5.0, 0.0)}.items()))
    again = read_places(path, said.append)
    assert again["a"] == pytest.approx((-2, 0.5, 2), abs=1e-4)  # four digits of a knob
    assert again["far"] == (-2, 2, 0)
    assert said == []


def test_a_csv_file_of_nverb_0_2_is_read_as_before_and_reported(tmp_path: Path) -> None:
    said: list[str] = []
    path = written(tmp_path, "name,x,y,z\na,-2,0.5,2\nb,0,0,0\n")
    assert read_places(path, said.append) == {"a": (-2, 0.5, 2), "b": (0, 0, 0)}
    assert len(said) == 1 and "0 to 9" in said[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a,9.1,0,0", "line 1: a at 9.1: the knobs run from 0 to 9"),
        ("a,-1,5,0", "line 1: a at -1"),
        ("a,nan,0,0", "line 1: a at nan"),
        ("a,1,2", "line 1"),
        ("a,x,y,z", "line 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(BankError, match=says):
        read_places(written(tmp_path, line), print)


def test_places_nearer_than_a_hand_can_turn_are_named() -> None:
    step = 4 / 9
    near, far = 0.9 * HAND * step, 1.1 * HAND * step
    places = [("a", (0.0, 0.0, 0.0)), ("b", (near, 0.0, -near)), ("c", (0.0, far, 0.0))]
    [pair, advice] = neighbours(places)
    assert pair == "a and b are 0.18 of a knob apart" and "--presets" in advice
    assert neighbours(places[::2]) == [] and neighbours([]) == []
    many = neighbours([(str(n), (0.0, 0.0, 0.0)) for n in range(8)])
    assert "18 more pairs" in many[-2]


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank of two recordings side by side and a third one elsewhere, with presets."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path / "data"))
    folder = tmp_path / "irs"
    (folder / "Halls").mkdir(parents=True)
    for name in ("one.wav", "two.wav", "Halls/one.wav"):
        sound = RNG.standard_normal((2000, 2)) * np.exp(-np.arange(2000) / 300)[:, None]
        soundfile.write(folder / name, sound, RATE_HZ, subtype="FLOAT")
    (folder / "coordinates.csv").write_text(
        "one.wav,1,2,3\ntwo.wav,1.1,2,3\nHalls/one.wav,7.25,8,9\n"
    )
    path = tmp_path / "mine.nvbank"
    assert main(["bank", "import", str(folder), "-o", str(path), "--presets"]) == 0
    return path


def test_import_and_info_print_places_on_the_knobs(
    capsys: pytest.CaptureFixture[str], bank: Path
) -> None:
    said = capsys.readouterr()
    assert "x 7.25  y 8.00  z 9.00  Halls/one.wav" in said.out
    assert "one.wav and two.wav are 0.10 of a knob apart" in said.err
    assert main(["bank", "info", str(bank)]) == 0
    lines = capsys.readouterr().out
    assert "3 recordings" in lines and "0 rooms" not in lines
    assert "x 1.10  y 2.00  z 3.00  two.wav: 2 channels" in lines
    assert main(["bank", "info", str(bank), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["axis"] == [-2, 2], "latent space, as in the file"
    first = facts["recordings"][0]
    assert first["knobs"] == [7.25, 8, 9]
    assert first["at"] == pytest.approx([4 / 9 * knob - 2 for knob in first["knobs"]], abs=1e-6)
    assert main(["bank", "export", str(bank), str(bank.with_name("back"))]) == 0
    rows = (bank.with_name("back") / "coordinates.csv").read_text().splitlines()
    assert "Halls/one.wav,7.2500,8.0000,9.0000" in rows


def test_presets_of_an_import_play_each_recording_once_both_are_installed(
    bank: Path, tmp_path: Path
) -> None:
    for file in (bank, bank.with_name("mine.presets.json")):
        assert main(["install", str(file)]) == 0
    presets = Presets(tmp_path / "data")
    assert sorted(presets.names()) == ["one", "one 2", "two"]
    recordings = {waveform.name: waveform for waveform in Bank.open(bank).waveforms}
    preset = presets.load("two")
    maker = RoomMaker(rooms_named(preset.bank), RATE_HZ, RATE_HZ)
    ir = maker.ir({name: find(name).default for name in ("fade",)} | preset.values)
    wanted = recordings["two.wav"].samples
    heard = ir[:, : wanted.shape[1]] / np.sqrt((ir**2).sum())
    assert np.abs(heard - wanted / np.sqrt((wanted**2).sum())).max() < 1e-4


def test_an_import_writes_as_many_presets_as_a_pedal_may_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_py.state.preset_file.MAX_PRESETS", 2)
    (tmp_path / "irs").mkdir()
    for name in "abc":
        soundfile.write(tmp_path / f"irs/{name}.wav", RNG.standard_normal(500) * 0.1, RATE_HZ)
    bank = tmp_path / "many.nvbank"
    assert main(["bank", "import", str(tmp_path / "irs"), "-o", str(bank), "--presets"]) == 0
    said = capsys.readouterr()
    assert "the other 1 recording of the bank" in said.err and "2 presets" in said.out
    content = json.loads((tmp_path / "many.presets.json").read_text())
    assert [preset["name"] for preset in content["presets"]] == ["a", "b"]


def test_a_picture_needs_the_name_of_one(tmp_path: Path) -> None:
    assert main(["bank", "map", str(tmp_path / "cube.xyz")]) == 1
