"""Recordings as the world has them: formats, headers, parts of files, channels, silence, offsets,
rates, and what the import does with a folder of them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bank.browse import CLIP_HZ, spectrogram
from bank.folder import export_folder, file_name, import_folder
from bank.format import Bank
from bank.found import read_one, recordings_in
from bank.places import HAND, knobs_of
from bank.placing import apart, plugin_input
from bank.recording import ReadingOptions, RecordingError, at_rate, read_recording
from device.controls import defaults
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker

Floats = NDArray[np.float32]
RATE_HZ, FRAMES = 48000, 24000


def room(channels: int = 2, frames: int = FRAMES, seed: int = 5) -> Floats:
    draw = np.random.default_rng(seed)
    decay = np.exp(-np.arange(frames) / RATE_HZ * 20)
    ir = 0.1 * decay * draw.standard_normal((channels, frames))
    ir[:, 0] = 0.8
    return ir.astype(np.float32)


IR = room()
PCM = (IR.T * 32767).astype("<i2").tobytes()
FORMAT = struct.pack("<HHIIHH", 1, 2, RATE_HZ, RATE_HZ * 4, 4, 16)


def chunk(name: bytes, data: bytes, size: int | None = None, *, pad: bool = True) -> bytes:
    filled = data + (b"\0" if pad and len(data) % 2 else b"")
    return name + struct.pack("<I", len(data) if size is None else size) + filled


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


FMT, DATA = chunk(b"fmt ", FORMAT), chunk(b"data", PCM)
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
AMBISONIC_GUID = bytes.fromhex("010000002107d3118644c8c1ca000000")


def extensible(channels: int, bits: int, valid: int, guid: bytes) -> bytes:
    bytes_each = channels * bits // 8
    about = (0xFFFE, channels, RATE_HZ, RATE_HZ * bytes_each, bytes_each, bits, 22, valid, 0)
    return chunk(b"fmt ", struct.pack("<HHIIHHHHI", *about) + guid)


PCM_32 = ((IR.T * 2.0**23).astype("<i4") << 8).tobytes()
WHOLE = {
    "24 bits in 32": riff(extensible(2, 32, 24, PCM_GUID), chunk(b"data", PCM_32)),
    "a recorder's chunks": riff(
        chunk(b"JUNK", bytes(28)),
        chunk(b"bext", bytes(602)),
        FMT,
        DATA,
        chunk(b"smpl", bytes(60)),
        chunk(b"cue ", bytes(4)),
        chunk(b"iXML", b"<BWFXML/>"),
    ),
    "a fact chunk": riff(FMT, chunk(b"fact", struct.pack("<I", FRAMES)), DATA),
    "a format of 18 bytes": riff(chunk(b"fmt ", FORMAT + bytes(2)), DATA),
    "lengths of zero": riff(FMT, chunk(b"data", PCM, 0), size=0),
    "a pipe's lengths": riff(FMT, chunk(b"data", PCM, 0xFFFFFFFF), size=0xFFFFFFFF),
    "zeros in LIST": riff(FMT, chunk(b"LIST", bytes(39316)), DATA),
    "odd chunk, no pad": riff(FMT, chunk(b"note", b"abc", pad=False), DATA),
    "odd chunk, padded": riff(FMT, chunk(b"note", b"abc"), DATA),
    "sound in two chunks": riff(FMT, chunk(b"data", PCM[:8000]), chunk(b"data", PCM[8000:])),
    "an ID3 tag behind": riff(FMT, DATA) + b"ID3\x04" + bytes(777),
    "not whole frames": riff(FMT, chunk(b"data", PCM + b"\1\2\3")),
}


@pytest.mark.parametrize("name", WHOLE)
def test_odd_headers_give_every_sample(tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(WHOLE[name])
    got = read_recording(path)
    assert got.rate_hz == RATE_HZ
    np.testing.assert_allclose(got.samples, IR, atol=1e-4)


@pytest.mark.parametrize(
    "kind, subtype, atol",
    [
        ("WAV", "PCM_U8", 0.01),
        ("WAV", "DOUBLE", 1e-6),
        ("WAV", "MS_ADPCM", 0.1),
        ("WAV", "IMA_ADPCM", 0.1),
        ("WAV", "ULAW", 0.03),
        ("WAVEX", "PCM_24", 1e-6),
        ("AIFF", "FLOAT", 1e-6),
        ("AU", "FLOAT", 1e-6),
    ],
)
def test_every_sample_format_is_read(tmp_path: Path, kind: str, subtype: str, atol: float) -> None:
    """A tone that decays, within the noise of the format."""
    time_s = np.arange(FRAMES) / RATE_HZ
    samples = np.stack([np.sin(2 * np.pi * hz * time_s) * np.exp(-9 * time_s) for hz in (90, 150)])
    path = tmp_path / "hall"
    soundfile.write(path, 0.5 * samples.T, RATE_HZ, format=kind, subtype=subtype)
    got = read_recording(path, ReadingOptions(keep_dc=True))
    np.testing.assert_allclose(got.samples[:, :FRAMES], 0.5 * samples, atol=atol)


def test_ambisonic_header_is_b_format(tmp_path: Path) -> None:
    four = np.repeat(np.frombuffer(PCM, "<i2").reshape(-1, 2), 2, axis=1)
    data = chunk(b"data", four.tobytes())
    path = tmp_path / "hall.wav"
    path.write_bytes(riff(extensible(4, 16, 16, AMBISONIC_GUID), data))
    got = read_recording(path)
    assert len(got.samples) == 2 and "fuma (its header says B-format)" in got.notes[0]
    path.write_bytes(riff(extensible(4, 16, 16, PCM_GUID), data))
    assert len(read_recording(path).samples) == 4


@pytest.mark.parametrize(
    "ending, kind, subtype",
    [
        ("w64", "W64", "PCM_24"),
        ("wav", "W64", "FLOAT"),
        ("aif", "AIFF", "PCM_24"),
        ("wav", "RF64", "PCM_24"),
        ("caf", "CAF", "PCM_24"),
        ("au", "AU", "PCM_24"),
        ("flac", "FLAC", "PCM_24"),
    ],
)
def test_half_a_file_is_refused_and_taken_when_asked(
    tmp_path: Path, ending: str, kind: str, subtype: str
) -> None:
    """Half of the bytes are about half of the sound: 12 000 frames, within 5 %."""
    whole, half = tmp_path / f"whole.{ending}", tmp_path / f"half.{ending}"
    soundfile.write(whole, IR.T, RATE_HZ, format=kind, subtype=subtype)
    np.testing.assert_allclose(read_recording(whole).samples, IR, atol=1e-6)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(RecordingError, match=r"half.*--partial"):
        read_recording(half)
    got = read_recording(half, ReadingOptions(partial=True))
    assert got.samples.shape[1] == pytest.approx(FRAMES / 2, rel=0.6 if kind == "FLAC" else 0.05)
    assert "promises" in got.notes[0]


def test_folder_takes_every_format_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    """By content, whatever the ending; also in folders of folders."""
    folder = tmp_path / "irs"
    (folder / "deep" / "er").mkdir(parents=True)
    for name, kind, subtype in (
        ("a.irs", "WAV", "FLOAT"),
        ("deep/b.w64", "W64", "PCM_24"),
        ("deep/er/c.caf", "CAF", "PCM_24"),
        ("d.aifc", "AIFF", "FLOAT"),
        ("e.bwf", "WAV", "PCM_24"),
        ("f.WAVE", "WAV", "PCM_24"),
        ("g.au", "AU", "FLOAT"),
        ("h.wav", "FLAC", "PCM_16"),
        ("i.mp3", "MP3", "MPEG_LAYER_III"),
        ("j.opus", "OGG", "OPUS"),
    ):
        if kind in soundfile.available_formats() and soundfile.check_format(kind, subtype):
            soundfile.write(folder / name, IR.T, RATE_HZ, format=kind, subtype=subtype)
    (folder / "readme.html").write_text("<p>no sound</p>")
    (folder / "lfs.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "empty.wav").touch()
    lines: list[str] = []
    found = list(recordings_in(folder, report=lines.append))
    left = {one.name for one in found if one.recording is None}
    assert left == {"readme.html", "lfs.wav", "empty.wav"}
    assert len(found) >= 11
    assert any("lfs.wav: is a pointer to a file of Git LFS" in line for line in lines)


def test_bad_recordings_are_refused_in_one_line(tmp_path: Path) -> None:
    sounds = {
        "nan": np.where(np.arange(100) == 50, np.nan, 0.5),
        "silent": np.zeros(100),
        "constant": np.full(10_000, 0.5),
        "huge": np.r_[1e30, np.zeros(99)],
        "none": np.zeros(0),
        "forty": np.ones((10, 40)),
        "slow": np.r_[1.0, 0.5],
    }
    for name, sound in sounds.items():
        rate_hz = 900 if name == "slow" else RATE_HZ
        soundfile.write(tmp_path / f"{name}.wav", sound, rate_hz, subtype="FLOAT")
        with pytest.raises(RecordingError, match=rf"{name}\.wav: [^\n]*$"):
            read_recording(tmp_path / f"{name}.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(RecordingError, match=r"pipe\.wav"):
        read_recording(tmp_path / "pipe.wav")
    with pytest.raises(RecordingError, match="no such file"):
        read_recording(tmp_path / "nothing.wav")


def write(path: Path, samples: Floats, rate_hz: int = RATE_HZ) -> Path:
    soundfile.write(path, samples.T, rate_hz, subtype="FLOAT")
    return path


def test_long_silence_in_front_is_left_out(tmp_path: Path) -> None:
    """12 s of silence, then a room; a short silence is a part of the room."""
    late = write(tmp_path / "late.wav", np.pad(IR, ((0, 0), (12 * RATE_HZ, 0))))
    got = read_recording(late)
    assert got.samples.shape[1] == pytest.approx(FRAMES, abs=RATE_HZ // 100)
    assert "12.00 s of silence" in got.notes[0]
    with pytest.raises(RecordingError, match="--keep-lead"):
        read_recording(late, ReadingOptions(keep_lead=True))
    short = np.pad(IR, ((0, 0), (4800, 0)))
    assert read_recording(write(tmp_path / "short.wav", short)).samples.shape == short.shape
    half_s = np.pad(IR, ((0, 0), (24000, 0)))
    path = write(tmp_path / "half.wav", half_s)
    assert read_recording(path, ReadingOptions(keep_lead=True)).samples.shape == half_s.shape
    assert read_recording(path).samples.shape[1] < FRAMES + 480


def test_reversed_recording_keeps_its_loud_end(tmp_path: Path) -> None:
    """11.6 s that rise: the last 10 s have 99.9 % of the energy."""
    time_s = np.arange(round(11.6 * RATE_HZ)) / RATE_HZ
    rising = 10 ** (3 * (time_s - 11.6) / 11.6) * np.random.default_rng(1).standard_normal(
        len(time_s)
    )
    samples = rising[None].astype(np.float32)
    got = read_recording(write(tmp_path / "reversed.wav", samples))
    assert 9.5 * RATE_HZ < got.samples.shape[1] <= 10 * RATE_HZ
    assert (got.samples**2).sum() > 0.999 * (samples**2).sum()


def test_large_offset_is_removed_and_small_one_is_kept(tmp_path: Path) -> None:
    small = read_recording(write(tmp_path / "small.wav", IR + np.float32(0.0003)))
    np.testing.assert_array_equal(small.samples, IR + np.float32(0.0003))
    large = read_recording(write(tmp_path / "large.wav", IR + np.float32(0.02)))
    assert "offset of 0.02" in large.notes[0]
    np.testing.assert_allclose(large.samples, IR, atol=2e-4)


def b_format(azimuth: float, *, fuma: bool) -> Floats:
    """A plane wave from this azimuth (0 is in front, left is positive), and diffuse sound."""
    draw = np.random.default_rng(3)
    direct = np.zeros(8000)
    direct[100:130] = np.hanning(30)
    diffuse = 0.02 * draw.standard_normal((4, 8000)) * np.exp(-np.arange(8000) / 2000)
    diffuse[:, :200] = 0
    diffuse[1:] /= np.sqrt(3)  # a figure of eight hears a third of what comes from all sides
    omni, front, left, up = (
        direct * gain + noise
        for gain, noise in zip((1, np.cos(azimuth), np.sin(azimuth), 0), diffuse, strict=True)
    )
    rows = [omni / np.sqrt(2), front, left, up] if fuma else [omni, left, up, front]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("fuma", [False, True])
def test_b_format_of_a_source_in_front_is_known(tmp_path: Path, fuma: bool) -> None:
    """Only X hears the direct sound beside W; the room tells the rest."""
    got = read_recording(write(tmp_path / "hall.wav", b_format(0.0, fuma=fuma)))
    assert len(got.samples) == 2 and ("fuma" if fuma else "ambix") in got.notes[0]


@pytest.mark.parametrize("fuma", [False, True])
def test_b_format_is_known_by_its_sound_and_decoded_to_cardioids(
    tmp_path: Path, fuma: bool
) -> None:
    """A wave from 45 degrees left: 1 in the left cardioid (45 degrees), 0.5 in the right one."""
    path = write(tmp_path / "hall.wav", b_format(np.pi / 4, fuma=fuma))
    got = read_recording(path)
    assert ("fuma" if fuma else "ambix") in got.notes[0]
    peaks = np.abs(got.samples[:, :140]).max(axis=1)
    np.testing.assert_allclose(peaks, [1, 0.5], atol=0.02)
    wide = read_recording(path, ReadingOptions(channels="fuma" if fuma else "ambix", angle_deg=180))
    peaks = np.abs(wide.samples[:, :140]).max(axis=1)
    np.testing.assert_allclose(peaks, [0.5 + 0.25 * 2**0.5, 0.5 - 0.25 * 2**0.5], atol=0.02)


def test_true_stereo_stays_true_stereo(tmp_path: Path) -> None:
    """Also where the cross paths are copies of the direct ones, or silent."""
    left, right = room(2, seed=8)
    for number, rows in enumerate(
        (
            room(4, seed=9),
            np.stack([left, 0.3 * np.roll(left, 20), 0.3 * np.roll(right, 20), right]),
            np.stack([left, 0 * left, 0 * right, right]),
            np.stack([left, 0.5 * right, 0.5 * left, right]),
            room(4, seed=9) * np.array([[1], [0.7], [0.7], [1]], np.float32),
        )
    ):
        got = read_recording(write(tmp_path / f"{number}.wav", rows))
        np.testing.assert_array_equal(got.samples, rows)


@pytest.mark.parametrize(
    "names, channels",
    [
        (("hall_L", "hall_R"), 2),
        (("hall-l", "hall-r"), 2),
        (("hall Left", "hall Right"), 2),
        (("hall_LL", "hall_LR", "hall_RL", "hall_RR"), 4),
    ],
)
def test_files_of_one_channel_each_are_one_recording(
    tmp_path: Path, names: tuple[str, ...], channels: int
) -> None:
    rows = room(channels, seed=7)
    for name, row in zip(names, rows, strict=True):
        write(tmp_path / f"{name}.wav", row[None])
    (found,) = recordings_in(tmp_path, report=lambda line: None)
    assert found.recording is not None
    np.testing.assert_array_equal(found.recording.samples, rows)
    one = read_one(tmp_path / f"{names[-1]}.wav", ReadingOptions(channels="lr-files"))
    np.testing.assert_array_equal(one.samples, rows)


def test_numbered_files_are_rooms_unless_asked(tmp_path: Path) -> None:
    for number, row in enumerate(room(4, seed=7), 1):
        write(tmp_path / f"hall_{number}.wav", row[None])
    assert len(list(recordings_in(tmp_path, report=lambda line: None))) == 4
    (found,) = recordings_in(tmp_path, ReadingOptions("lr-files"), report=lambda line: None)
    assert found.recording is not None and len(found.recording.samples) == 4


@pytest.mark.parametrize("first", [0, 64])
@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 88200, 96000, 192000])
def test_resampled_pulse_has_its_energy(rate_hz: int, first: int) -> None:
    """0.05 dB in each octave below 0.9 of the lower Nyquist frequency."""
    pulse = np.zeros((1, rate_hz // 10), np.float32)
    pulse[0, first] = 0.5
    got = at_rate(pulse, rate_hz, RATE_HZ)
    power = np.abs(np.fft.rfft(got[0], 1 << 17)) ** 2
    hz = np.fft.rfftfreq(1 << 17, 1 / RATE_HZ)
    for centre in (63, 125, 250, 500, 1000, 2000, 4000, 8000, 14000):
        if centre * 2**0.5 < 0.45 * min(rate_hz, RATE_HZ):
            band = (hz >= centre / 2**0.5) & (hz < centre * 2**0.5)
            assert 10 * np.log10(power[band].mean() / 0.25) == pytest.approx(0, abs=0.05)


def test_recordings_at_one_place_are_moved_apart() -> None:
    places = [(-2.0, -2.0, -2.0)] * 30 + [(0.0, 0.0, 0.0)] * 2 + [(1.0, 1.0, 1.0)]
    moved, by = apart(places)
    away = np.linalg.norm(np.array(moved)[:, None] - np.array(moved)[None], axis=2)
    assert away[~np.eye(len(moved), dtype=bool)].min() > HAND * 4 / 9
    assert by[0] == by[30] == by[32] == 0 and max(by) < 0.6
    assert np.abs(moved).max() <= 2


def test_cabinets_of_an_import_are_all_heard(tmp_path: Path) -> None:
    """The encoder puts all at the shortest room: at its place each plays alone, as it is."""
    folder, bank = tmp_path / "cabs", tmp_path / "cabs.nvbank"
    folder.mkdir()
    for number in range(3):
        cabinet = room(1, 1024, number) * np.exp(-np.arange(1024) / (50 + 20 * number))
        write(folder / f"cab {number}.wav", cabinet.astype(np.float32))
    assert main(["bank", "import", str(folder), "-o", str(bank)]) == 0
    source = Bank.open(bank)
    maker = RoomMaker(source, RATE_HZ, RATE_HZ)
    for waveform in source.waveforms:
        knobs = dict(zip("xyz", knobs_of(waveform.at), strict=True))
        ir = maker.ir(defaults() | knobs)[0]
        heard, cabinet = ir / np.linalg.norm(ir), waveform.samples[0]
        np.testing.assert_allclose(heard[:1024], cabinet / np.linalg.norm(cabinet), atol=1e-5)
        assert not heard[1024:].any()


def test_crowded_place_is_spread() -> None:
    moved, _ = apart([(-2.0, -2.0, -2.0)] * 1000)
    assert len(set(moved)) == 1000


def test_export_and_import_again_change_nothing(tmp_path: Path) -> None:
    """Names (also long ones and of other formats), samples and places."""
    source = tmp_path / "irs"
    (source / "Halls").mkdir(parents=True)
    for name in ("one.wav", "Halls/two.flac", "y" * 251 + ".wav"):
        soundfile.write(source / name, room(1, 2000, len(name)).T, RATE_HZ)

    def imported(folder: Path, name: str) -> list[tuple[str, tuple[float, ...], bytes]]:
        import_folder(folder, tmp_path / name, coordinates=None, report=lambda line: None)
        bank = Bank.open(tmp_path / name)
        return sorted((w.name, w.at, w.samples.tobytes()) for w in bank.waveforms)

    first = imported(source, "a.nvbank")
    for turn in ("b", "c"):
        export_folder(Bank.open(tmp_path / "a.nvbank"), tmp_path / turn, rate_hz=RATE_HZ)
        again = imported(tmp_path / turn, f"{turn}.nvbank")
        assert [(name, data) for name, _, data in again] == [(n, d) for n, _, d in first]
        np.testing.assert_allclose(
            [at for _, at, _ in again], [at for _, at, _ in first], atol=1e-4
        )  # four digits of a knob


def test_export_names_are_legal_and_unlike() -> None:
    used: set[str] = set()
    for name in ("a.wav", "A.flac", "../../etc/x.wav", ".hidden.wav", "é" * 300, "a\0b.wav", ""):
        got = file_name(name, used)
        assert got.casefold() not in used and got.endswith(".wav")
        assert not got.startswith(("/", ".")) and ".." not in got.split("/")
        assert max(len(part.encode()) for part in got.split("/")) <= 255
        used.add(got.casefold())


def test_plugin_encoder_hears_neither_silence_nor_level_nor_polarity() -> None:
    quiet = -0.001 * np.pad(IR, ((0, 0), (RATE_HZ, 0)))
    np.testing.assert_allclose(
        plugin_input(quiet, RATE_HZ)[:4000], plugin_input(IR, RATE_HZ)[:4000], atol=1e-3
    )


def test_browse_page_has_pictures_and_players(tmp_path: Path) -> None:
    """The player's sound is the clip through the recording: a click gives the recording itself."""
    (tmp_path / "irs").mkdir()
    write(tmp_path / "irs" / "a <b>.wav", IR)
    click = np.zeros((2, CLIP_HZ), np.float32)
    click[:, 100] = 1
    write(tmp_path / "click.wav", click)
    page = tmp_path / "page"
    arguments = ["bank", "browse", str(tmp_path / "irs"), "-o", str(page)]
    assert main([*arguments, "--clip", str(tmp_path / "click.wav")]) == 0
    text = (page / "index.html").read_text()
    assert "a &lt;b&gt;.wav" in text and "data:image/png" in text and "00001.flac" in text
    picture = spectrogram(IR[0], RATE_HZ)
    assert picture[:, :20].mean() > picture[:, -20:].mean() + 40  # it decays
    sound, rate_hz = soundfile.read(page / "00001.flac", dtype="float32")
    assert rate_hz == CLIP_HZ and sound.shape[1] == 2
    begin = int(np.argmax(np.abs(sound[:, 0]))) + 1
    wet = sound[begin : begin + 4000, 0]
    assert np.corrcoef(wet, IR[0, 1:4001])[0, 1] > 0.99


def test_import_says_what_it_took_and_moved(tmp_path: Path, capsys) -> None:
    (tmp_path / "irs").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "irs" / f"{name}.wav", IR)
    (tmp_path / "irs" / "page.html").write_text("no sound")
    assert main(["bank", "import", str(tmp_path / "irs"), "-o", str(tmp_path / "o.nvbank")]) == 0
    out = capsys.readouterr().out
    assert "2 recordings, 1 file left out" in out
    assert "1 of them were at the place of another" in out
