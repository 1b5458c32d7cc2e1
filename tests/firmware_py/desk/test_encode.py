"""`nverb encode` via the command line: finds rooms of the decoder; preset, output file, JACK."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.synthesis import Synthesiser
from firmware_py.base.paths import data_dir
from firmware_py.cli import main
from firmware_py.desk.encode import check_preset
from firmware_py.jack import server as jack
from firmware_py.state.preset_file import Preset, PresetError
from firmware_py.state.presets import Presets
from models import generator
from models.decoder import Decoder, ModelError
from models.residual import from_text

RATE_HZ = 48000
try:
    DECODER = Decoder.open()
except (ModelError, OSError) as error:
    pytest.skip(f"no decoder runs here: {error}", allow_module_level=True)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder's room at x 3, y 3, z 5 as a 44.1 kHz stereo recording after 10 ms of silence."""
    path = tmp_path_factory.mktemp("irs") / "room.wav"
    soundfile.write(path, np.pad(ir_at(3, 3, 5), ((0, 0), (441, 0))).T, 44100, subtype="FLOAT")
    return path


def ir_at(*knobs: float) -> NDArray[np.float32]:
    decoded = DECODER.energy_map(*(-2 + 4 * knob / 9 for knob in knobs))
    return Synthesiser(44100, decoded.grid)(decoded)


def test_encode_finds_room_of_decoder(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T30 within 5 % from 250 Hz to 4 kHz, decay curves within 1.5 dB, x (decay) within 0.3, width
    within 0.15; a residual that can be read."""
    assert main(["encode", str(room), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["values"]["x"] == pytest.approx(3, abs=0.3)
    errors = np.array(found["t30_error_percent"][2:7], float)
    assert np.abs(errors).max() < 5
    assert found["decay_error_db"] < 1.5
    beyond = {f"beyond_{axis}" for axis in "xyz"}
    assert not any(found["values"][name] for name in beyond)
    colours = {f"colour{n}" for n in range(1, 6)}
    assert found["values"].keys() == {"x", "y", "z", "width"} | colours | beyond
    assert found["values"]["width"] == pytest.approx(1.0, abs=0.15)
    assert from_text(found["residual"]).latent[0] == pytest.approx(-2 + 4 * 3 / 9, abs=0.15)


def test_encode_finds_rooms_beyond_the_ends_of_the_knobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drawn cathedral of 9 s: T30 within 10 % in the median of the octaves; with the knobs alone
    x is at its end, where rooms last 5 s."""
    drawn = generator.parameters(1, decay_s=9.0, size_m=20.0, bass_ratio=1.2, treble_ratio=0.3)
    level, direct = generator.energy_maps(drawn)
    room = EnergyMap(level[0], DEFAULT_GRID, direct[0])
    sound = Synthesiser(RATE_HZ)(room, width=0.0)[0]
    soundfile.write(tmp_path / "cathedral.wav", sound, RATE_HZ, subtype="FLOAT")
    found = []
    for option in ("--no-residual", "--knobs-only"):
        assert main(["encode", str(tmp_path / "cathedral.wav"), option, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    values = [each["values"] for each in found]
    assert values[0]["x"] == values[1]["x"] == 9
    assert values[0]["beyond_x"] > 0.5 and values[1]["beyond_x"] == 0
    errors = [np.median(np.abs(np.array(each["t30_error_percent"], float))) for each in found]
    assert errors[0] < 10
    assert errors[1] > 20


def test_encode_warns_of_music(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A phrase of plucked notes is no impulse response; the cut room of 10 s is one, though none of
    the model is near."""
    rate = 22050
    note = np.geomspace(1, 1e-2, rate // 2) * np.sin(np.arange(rate // 2) * 0.06)
    room = np.random.default_rng(1).standard_normal(2 * rate) * np.geomspace(1, 10**-0.6, 2 * rate)
    for name, sound, is_music in (("phrase", np.tile(note, 4), True), ("room", room, False)):
        soundfile.write(tmp_path / f"{name}.wav", 0.2 * sound, rate, subtype="FLOAT")
        assert main(["encode", f"{tmp_path / name}.wav", "--no-residual", "--json"]) == 0
        found = capsys.readouterr()
        assert ("is it an impulse" in found.err) == is_music
        assert ("is it an impulse" in json.loads(found.out)["note"]) == is_music


def test_encode_saves_preset_and_sound(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output has the recorded room, a pause of 0.5 s, and the found room."""
    click, out = tmp_path / "click.wav", tmp_path / "both.wav"
    soundfile.write(click, np.eye(1, 4800, dtype=np.float32).T, RATE_HZ)
    assert (
        main(
            [
                "encode",
                str(room),
                "--knobs-only",
                "--preset",
                "Found",
                "--play",
                str(click),
                "-o",
                str(out),
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    kept = Presets(data_dir()).load("Found").values
    assert f"x {kept['x']:.2f}" in printed and "1000 Hz" in printed
    assert all(kept[f"colour{n}"] == 0 for n in range(1, 6))
    sound, rate_hz = soundfile.read(out)
    assert rate_hz == RATE_HZ
    ir, _ = soundfile.read(room)
    first = 4800 + round(len(ir) * RATE_HZ / 44100) - 1
    pause = sound[first + 10 : first + 10 + RATE_HZ // 2 - 20]
    assert np.abs(pause).max() < 1e-4
    levels = [
        10 * np.log10((part**2).sum()) for part in (sound[:first], sound[first + RATE_HZ // 2 :])
    ]
    assert abs(levels[0] - levels[1]) < 1.5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing.wav"], "no such file"),
        (["TEXT"], "not a sound file"),
        (["ROOM", "-o", "OUT"], "--play"),
        (["ROOM", "--decoder", "TEXT"], "text"),
        (["ROOM", "--decoder", "nothing.nvmodel"], "No such file"),
    ],
)
def test_encode_reports_error_in_one_line(
    room: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    names = {"TEXT": str(text), "ROOM": str(room), "OUT": str(tmp_path / "out.wav")}
    assert main(["encode", *(names.get(word, word) for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1, error
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.live
def test_encode_plays_through_jack_without_output_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real server at the sound's rate, and one at another rate."""
    room = tmp_path / "small.wav"
    soundfile.write(room, ir_at(0, 3, 5)[:, :22050].T, 44100, subtype="FLOAT")
    click = tmp_path / "click.wav"
    soundfile.write(click, np.r_[0.5, np.zeros(999)].astype(np.float32), RATE_HZ, subtype="FLOAT")
    for rate_hz in (RATE_HZ, 44100):
        name = f"nverb-encode-{os.getpid()}"
        server = jack.dummy(name, rate_hz=rate_hz)
        monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
        try:
            assert main(["encode", str(room), "--knobs-only", "--play", str(click)]) == 0
        finally:
            print(server.log())
            server.close()


BEFORE = {
    "no sound": (["--play", "nothing.wav", "-o", "OUT"], "no such file"),
    "text for a sound": (["--play", "text.wav", "-o", "OUT"], "not a sound file"),
    "an empty sound": (["--play", "empty.wav", "-o", "OUT"], "no samples"),
    "three channels": (["--play", "three.wav", "-o", "OUT"], "3 channels"),
    "no JACK": (["--play", "click.wav"], "-o OUT.wav"),
    "an unknown ending": (["--play", "click.wav", "-o", "out.xyz"], "ends in .wav"),
    "a rate that the format lacks": (["--play", "fast.wav", "-o", "out.flac"], "choose .wav"),
    "a folder as output": (["--play", "click.wav", "-o", "folder.wav"], "is a folder"),
    "the sound as output": (["--play", "click.wav", "-o", "click.wav"], "choose another name"),
    "no folder": (["--play", "click.wav", "-o", "none/out.wav"], "no such folder"),
    "a preset without a name": (["--preset", " "], "is not a name"),
    "a preset too many": (["--preset", "New"], "512 presets already"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_encode_refuses_before_it_searches(
    room: Path,
    tmp_path: Path,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What can be known before is checked before: nothing is searched, nothing is written."""
    arguments, expected = BEFORE[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("firmware_py.desk.encode.locate", lambda *_, **__: pytest.fail("searches"))
    Path("text.wav").write_text("no sound")
    Path("folder.wav").mkdir()
    for name, channels, frames, rate_hz in (
        ("click", 1, 100, RATE_HZ),
        ("empty", 1, 0, RATE_HZ),
        ("three", 3, 100, RATE_HZ),
        ("fast", 1, 100, 700_000),
    ):
        soundfile.write(f"{name}.wav", np.full((frames, channels), 0.5), rate_hz)
    if case == "a preset too many":
        Presets(data_dir()).merge([Preset(f"{number}", {}) for number in range(512)])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/*.*")}
    assert main(["encode", str(room), *arguments]) == 1
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/*.*")} == before


def test_a_full_list_of_presets_takes_one_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    Presets(data_dir()).merge([Preset(f"Hall {number}", {}) for number in range(512)])
    check_preset("hall 7")
    with pytest.raises(PresetError, match="remove one first"):
        check_preset("hall 512")
