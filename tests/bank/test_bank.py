"""Banks: round trips, interpolation against SciPy, damaged files, the command line."""

from __future__ import annotations

import contextlib
import os
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.interpolate import RegularGridInterpolator

from bank.build import build
from bank.format import Bank, BankError, Waveform, encode_room, write
from dsp.energymap import DEFAULT_GRID, EnergyMap
from firmware_py.cli import main
from firmware_py.install import trial
from models.latent import LATENT_HIGH, LATENT_LOW

RNG = np.random.default_rng(1)
LEVELS = RNG.uniform(-60, 0, (3, 3, 3, 64, 129)).astype(np.float32)
AXIS = np.linspace(-2, 2, 3)


def room(x: float, y: float, z: float) -> EnergyMap:
    i, j, k = (int(np.searchsorted(AXIS, v - 1e-9)) for v in (x, y, z))
    return EnergyMap(LEVELS[i, j, k, :, 1:], DEFAULT_GRID, LEVELS[i, j, k, :, 0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build(tmp_path / "rooms.nvbank", room, steps=3, name="test")
    return tmp_path / "rooms.nvbank"


def test_bank_returns_rooms_within_half_a_step(path: Path) -> None:
    bank = Bank.open(path)
    bank.verify()
    got = bank.energy_map(-2, 0, 2)
    assert got.direct_db is not None
    np.testing.assert_allclose(got.level_db, LEVELS[0, 1, 2, :, 1:], atol=0.2501)
    np.testing.assert_allclose(got.direct_db, LEVELS[0, 1, 2, :, 0], atol=0.2501)


def test_interpolation_is_trilinear_and_clamped(path: Path) -> None:
    """Against SciPy's interpolator, to the quantisation of 0.25 dB."""
    bank = Bank.open(path)
    truth = RegularGridInterpolator((AXIS, AXIS, AXIS), LEVELS)
    for point in [*RNG.uniform(-2, 2, (20, 3)), (5, -5, 0.3)]:
        expected = truth(np.clip(point, -2, 2))[0]
        np.testing.assert_allclose(bank.energy_map(*point).level_db, expected[:, 1:], atol=0.26)


def test_build_is_reproducible(path: Path, tmp_path: Path) -> None:
    build(tmp_path / "again.nvbank", room, steps=3, name="test")
    assert (tmp_path / "again.nvbank").read_bytes() == path.read_bytes()


def test_verify_detects_one_flipped_bit(path: Path) -> None:
    good = path.read_bytes()
    chance = random.Random(1)
    for at in [*range(0, 64, 7), *(chance.randrange(len(good)) for _ in range(100)), len(good) - 1]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :])
        with pytest.raises(BankError, match=r"rooms\.nvbank"):
            Bank.open(path).verify()


@pytest.mark.parametrize("floor", [np.nan, np.inf, -np.inf, 400.0, -1e30])
def test_verify_finds_any_room_that_cannot_be_played(tmp_path: Path, floor: float) -> None:
    """Its hash is right: somebody has written it so."""
    path, level = tmp_path / "rooms.nvbank", np.zeros((64, 128), np.float32)
    rooms = [encode_room(EnergyMap(level, DEFAULT_GRID))] * 27
    for bad in (1, 13, 26):
        written = [*rooms]
        written[bad] = np.float32(floor).tobytes() + rooms[bad][4:]
        write(path, name="rooms", rooms=written, steps=3)
        with pytest.raises(BankError, match=rf"rooms\.nvbank: room {bad + 1} of 27"):
            Bank.open(path).verify()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_trial_finds_any_recording_that_cannot_be_played(tmp_path: Path, value: float) -> None:
    path, good = tmp_path / "recordings.nvbank", np.ones((1, 480), np.float32)
    bad = np.zeros((2, 480), np.float32)
    bad[1, 479] = value
    written = [Waveform(f"no {n}", 48_000, (n / 10, 0.0, 0.0), good) for n in range(20)]
    written[17] = Waveform("the\x1b[31mbad one", 48_000, (1.7, 0.0, 0.0), bad)
    write(path, name="recordings", waveforms=written)
    with pytest.raises(BankError, match=r"recordings\.nvbank: recording the.*bad one") as caught:
        trial.check(path)
    assert "\x1b" not in str(caught.value)


def test_trial_turns_each_knob_to_its_ends_in_all_combinations(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[tuple[float, float, float]] = set()
    monkeypatch.setattr(Bank, "energy_map", lambda self, *at: made.add(at) or room(0, 0, 0))
    trial.check(path)
    assert made == set(product((LATENT_LOW, 0.0, LATENT_HIGH), repeat=3))


def test_open_rejects_truncated_bank(path: Path) -> None:
    good = path.read_bytes()
    for length in (0, 1, 63, 64, 96, 200, 1000, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(BankError, match=r"rooms\.nvbank"):
            Bank.open(path)


def test_damaged_bank_raises_only_bank_error(path: Path) -> None:
    """3 000 banks with changes in header and description raise nothing but BankError."""
    good = path.read_bytes()
    chance = random.Random(2)
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(420)] = chance.choice(
                [0, 0xFF, chance.randrange(256), ord("9"), ord("-")]
            )
        path.write_bytes(data)
        try:
            Bank.open(path).energy_map(0.1, 0.2, 0.3)
        except BankError:
            refused += 1
    assert refused > 1000


def test_export_returns_imported_samples(tmp_path: Path) -> None:
    source = tmp_path / "irs"
    source.mkdir()
    sounds = {f"{c}.wav": RNG.standard_normal((500, c)).astype(np.float32) for c in (1, 2, 4)}
    for name, sound in sounds.items():
        soundfile.write(source / name, sound, 44100, subtype="FLOAT")
    soundfile.write(source / "many.wav", np.ones((10, 40), np.float32), 44100)
    bank = tmp_path / "own.nvbank"
    assert main(["bank", "import", str(source), "-o", str(bank)]) == 0
    assert main(["bank", "verify", str(bank)]) == 0
    assert main(["bank", "export", str(bank), str(tmp_path / "back")]) == 0
    for name, sound in sounds.items():
        np.testing.assert_array_equal(
            soundfile.read(tmp_path / "back" / name, dtype="float32", always_2d=True)[0], sound
        )


def test_import_takes_recordings_in_subfolders(tmp_path: Path, capsys) -> None:
    source, sound = tmp_path / "irs", RNG.standard_normal((500, 2)).astype(np.float32)
    for name in ("one.wav", "Halls/two.wav", "Halls/Big/three.flac", "Plates/two.wav"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(source / name, sound, 48000)
    (source / "Halls/._two.wav").write_bytes(b"a Mac's notes on two.wav")
    (source / "loop").symlink_to(source)
    bank = tmp_path / "own.nvbank"
    assert main(["bank", "import", str(source), "-o", str(bank)]) == 0
    assert "loop: a link to a folder; left out" in capsys.readouterr().err
    names = ["Halls/Big/three.flac", "Halls/two.wav", "Plates/two.wav", "one.wav"]
    assert [waveform.name for waveform in Bank.open(bank).waveforms] == names
    (source / "coordinates.csv").write_text(
        "one.wav,0,9,4.5\nHalls/two.wav,1,9,4.5\nthree.flac,9,9,4.5"
    )
    assert main(["bank", "import", str(source), "-o", str(bank)]) == 0
    places = {waveform.name: waveform.at for waveform in Bank.open(bank).waveforms}
    assert places == {
        "one.wav": (-2, 2, 0),
        "Halls/two.wav": (pytest.approx(-2 + 4 / 9), 2, 0),
        "Halls/Big/three.flac": (2, 2, 0),
    }
    assert "Plates/two.wav: not in" in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, 64, 4096])
def test_bank_truncated_in_place_while_open_is_an_error(tmp_path: Path, size: int) -> None:
    """A mapped file would end the process with SIGBUS."""
    path, grid = tmp_path / "both.nvbank", DEFAULT_GRID
    sound = RNG.standard_normal((2, 9000)).astype(np.float32)
    room = encode_room(EnergyMap(np.zeros((grid.bands, grid.frames), np.float32), grid, None))
    write(
        path,
        name="both",
        steps=2,
        rooms=[room] * 8,
        grid=grid,
        waveforms=[Waveform("one", 48_000, (0.0, 0.0, 0.0), sound)],
    )
    bank = Bank.open(path)
    np.testing.assert_array_equal(bank.waveforms[0].samples, sound)
    bank.verify()
    os.truncate(path, size)
    readers = [lambda: bank.energy_map(0, 0, 0), lambda: bank.waveforms[0].samples, bank.verify]
    for read in readers:
        with pytest.raises(BankError, match="truncated while in use"):
            read()
    path.write_bytes(os.urandom(1 << 17))  # other bytes are other rooms, and no crash
    with contextlib.suppress(BankError):
        bank.energy_map(0, 0, 0)
    with pytest.raises(BankError):
        bank.verify()


def test_failed_build_keeps_old_bank(path: Path) -> None:
    old = path.read_bytes()

    def fails(x: float, _y: float, _z: float) -> EnergyMap:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        build(path, fails, steps=2, name="new")
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bank", "info", "nothing"], "No such file"),
        (["bank", "verify", "TEXT"], "not an nverb bank"),
        (["bank", "build", "-o", "OUT", "--grid", "65"], "1 to 64"),
        (["bank", "import", "EMPTY", "-o", "OUT"], "no usable recording"),
    ],
)
def test_command_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "text").write_text("no bank" * 100)
    (tmp_path / "empty").mkdir()
    names = {"TEXT": tmp_path / "text", "EMPTY": tmp_path / "empty", "OUT": tmp_path / "out"}
    assert main([str(names.get(word, word)) for word in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
