"""Small trainings from the command line to a playable model: interrupted, resumed, with own IRs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dsp.synthesis import Synthesiser
from firmware_py.base import progress
from firmware_py.cli import main
from firmware_py.rooms.source import find_source
from models import container
from models.decoder import Decoder, Encoder

pytestmark = pytest.mark.studio

SMALL = ["--rooms", "256", "--epochs", "2", "--hidden", "16", "--components", "8"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IRs: stereo at 44.1 kHz, long at 48 kHz, too short, of three channels, silent, and a text
    file.
    """
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)

    def write(name: str, seconds: float, channels: int, rate_hz: int, decay_s: float = 0.5) -> None:
        time = np.arange(int(seconds * rate_hz))[:, None] / rate_hz
        sound = random.standard_normal((len(time), channels)) * 10 ** (-3 * time / decay_s)
        soundfile.write(folder / name, sound * 0.2, rate_hz, subtype="FLOAT")

    write("stereo.wav", 1.0, 2, 44_100)
    write("long.flac.wav", 6.5, 1, 48_000, decay_s=5.0)
    write("short.wav", 0.2, 1, 48_000)
    write("three.wav", 1.0, 3, 32_000)
    (folder / "text.wav").write_text("no sound")
    soundfile.write(folder / "silent.wav", np.zeros(48_000), 48_000)
    return folder


@pytest.fixture(scope="module")
def trained(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder trained in two runs, and the output of the first one.

    The first run is interrupted in the second epoch, as by Ctrl-C; the second run resumes.
    """
    folder = tmp_path_factory.mktemp("trained") / "tiny"

    class CutOff(progress.Bar):
        def __call__(self, what: str, done: int, of: int, remark: str = "") -> None:
            if what == "training" and "epoch 1" in remark:
                raise KeyboardInterrupt
            super().__call__(what, done, of, remark)

    import contextlib
    import io

    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(progress, "Bar", CutOff)
        assert (
            main(["model", "train", "-o", str(folder), *SMALL, "--folder", str(recordings)]) == 130
        )
    assert not (folder / "decoder.nvmodel").exists()
    assert main(["model", "train", "-o", str(folder), "--resume", "--folder", str(recordings)]) == 0
    return folder, output.getvalue()


def test_resume_continues_interrupted_training(trained: tuple[Path, str]) -> None:
    history = json.loads((trained[0] / "training" / "history.json").read_text())
    assert len(history["loss"]) == 2
    assert history["loss"][1] < history["loss"][0]


def test_train_reports_each_own_recording(trained: tuple[Path, str]) -> None:
    output = trained[1]
    assert "short.wav: 0.20 s, shorter than 0.5 s; left out" in output
    assert "long.flac.wav: 6.5 s, shortened to 6 s" in output
    assert "text.wav" in output and "silent.wav" in output
    # stereo, long and three: 2 + 1 + 3 channels, each original, stretched 4 times, shifted 4 times
    assert "3 of 6 files taken (3 left out), 6 rooms, 54 with stretched and shifted ones" in output


def test_trained_model_plays_and_encodes(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    source = find_source(folder / "decoder.nvmodel")
    room = source.energy_map(0.5, -0.5, 0.0)
    ir = Synthesiser(48_000)(room)
    assert ir.shape[0] == 2 and np.isfinite(ir).all() and np.abs(ir).max() > 0.01
    decoder, encoder = (
        Decoder.open(folder / "decoder.nvmodel"),
        Encoder.open(folder / "encoder.nvmodel"),
    )
    latent, error_db = encoder.encode(room, decoder)
    assert latent.shape == (8,) and error_db < 1.0  # the decoder made this room


def test_exported_networks_are_within_the_error_bound(trained: tuple[Path, str]) -> None:
    for name in ("decoder", "encoder"):
        about = container.read(trained[0] / f"{name}.nvmodel").description
        assert about.figures["mean_error_db"] <= 0.05


def test_report_has_losses_pictures_and_octaves(trained: tuple[Path, str]) -> None:
    page = (trained[0] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert all(
        part in page
        for part in (
            "<h2>Losses",
            "<h2>Acoustics per octave",
            "<h2>Reconstructions",
            "<th>63 Hz",
            "<td>T30 %",
        )
    )


def test_eval_prints_all_octaves_and_a_folder(
    trained: tuple[Path, str], recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = trained
    plugin = str(folder / "decoder.nvmodel")
    assert (
        main(
            [
                "model",
                "eval",
                str(folder),
                "--rooms",
                "2",
                "--folder",
                str(recordings),
                "--plugin",
                plugin,
                "--json",
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert [each["rooms"] for each in report["models"]] == ["held-out rooms"] * 4 + [
        str(recordings)
    ] * 4
    assert all(len(row) == 8 for each in report["models"] for row in each["per_octave"].values())
    encoded, all_latents, knobs, _ = (each["overall"]["EDC dB"] for each in report["models"][:4])
    assert encoded < all_latents < knobs
    judged = report["models"][0]["judged"]
    assert judged["rooms within JND"] <= 2 and 0 <= judged["T30 within JND %"] <= 100
    assert set(report["synthesis"]) == {"band energy dB", "T30 %", "buzz dB", "onset rise ms"}


def test_train_rejects_bad_input_and_keeps_the_model(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = trained
    before = (folder / "decoder.nvmodel").read_bytes()
    silent = tmp_path / "silence"
    silent.mkdir()
    soundfile.write(silent / "a.wav", np.zeros(48_000), 48_000)
    refusals = {
        ("-o", str(tmp_path / "none"), "--resume"): "no training to resume",
        (
            "-o",
            str(tmp_path / "new"),
            *SMALL,
            "--folder",
            str(silent),
        ): "contains no usable recording",
        ("-o", str(tmp_path / "new"), "--rooms", "3"): "rooms = 3: must be 256",
        ("-o", str(folder), "--resume", "--rooms", "300"): "leave the other numbers out",
        ("-o", str(folder), *SMALL, "--force", "--folder", str(tmp_path / "no")): "no such folder",
        ("-o", str(folder), *SMALL): "--force replaces it",
    }
    for arguments, reason in refusals.items():
        assert main(["model", "train", *arguments]) == 1
        output = capsys.readouterr().err.strip().splitlines()
        assert reason in output[-1] and output[-1].startswith("nverb model train: ")
    assert (folder / "decoder.nvmodel").read_bytes() == before
