"""Rooms in true stereo: which rooms have four paths, and when the control process asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bank.build import build
from bank.format import Bank, Waveform
from bank.format import write as write_bank
from device.controls import defaults
from dsp.graph import OfflineGraph
from firmware_py.cli import main
from firmware_py.link.params import engine_params
from firmware_py.rooms.feed import RoomFeed
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import BuiltInRooms, RoomSource
from models.decoder import Decoder
from models.generator import room_at

Floats = NDArray[np.float32]
RATE_HZ = 48000
TAPS = 24000
BLOCK = 256
VALUES = defaults() | {"x": 1.0, "mix": 100.0, "gain": 0.0, "limiter": 0.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RoomSource]:
    folder = tmp_path_factory.mktemp("banks")
    recording = np.random.default_rng(1).standard_normal((2, 4800)).astype(np.float32)
    waveform = Waveform("own", RATE_HZ, (0.0, 0.0, 0.0), recording)
    write_bank(folder / "own.nvbank", name="own", waveforms=[waveform])
    build(folder / "rooms.nvbank", room_at, steps=2, name="rooms")
    return {
        "built-in": BuiltInRooms(),
        "decoder": Decoder.open(),
        "bank of rooms": Bank.open(folder / "rooms.nvbank"),
        "recordings": Bank.open(folder / "own.nvbank"),
    }


@pytest.mark.parametrize("kind", ["built-in", "decoder", "bank of rooms"])
def test_rooms_of_maps_have_four_paths_for_two_sources(
    sources: dict[str, RoomSource], kind: str
) -> None:
    """With an engine of one input: two, always."""
    maker = RoomMaker(sources[kind], RATE_HZ, TAPS)
    two, mark = maker.ir(VALUES), maker.fingerprint(VALUES)
    maker.is_true_stereo = True
    four = maker.ir(VALUES)
    assert (len(two), len(four)) == (2, 4)
    assert maker.fingerprint(VALUES) != mark
    maker.is_true_stereo = False
    assert maker.fingerprint(VALUES) == mark
    np.testing.assert_array_equal(maker.ir(VALUES), two)
    mono = RoomMaker(sources[kind], RATE_HZ, TAPS, inputs=1)
    mono.is_true_stereo = True
    np.testing.assert_array_equal(mono.ir(VALUES), two)


def test_recordings_keep_their_own_paths(sources: dict[str, RoomSource]) -> None:
    maker = RoomMaker(sources["recordings"], RATE_HZ, TAPS)
    two, mark = maker.ir(VALUES), maker.fingerprint(VALUES)
    maker.is_true_stereo = True
    np.testing.assert_array_equal(maker.ir(VALUES), two)
    assert maker.fingerprint(VALUES) == mark


def test_image_ears_is_one_sound_in_the_bass(sources: dict[str, RoomSource]) -> None:
    """From 40 to 100 Hz the sides of `ears` correlate by over 0.9, of `spaced` by less than 0.8."""
    maker = RoomMaker(sources["built-in"], RATE_HZ, 96000)
    alike = []
    for image in (0.0, 1.0):
        spectra = np.fft.rfft(maker.ir(VALUES | {"x": 7.0, "image": image}), 1 << 17)
        low = spectra[:, (1 << 17) * 40 // RATE_HZ : (1 << 17) * 100 // RATE_HZ]
        power = (np.abs(low) ** 2).sum(axis=1)
        alike.append(float((low[0] * low[1].conj()).real.sum() / np.sqrt(power.prod())))
    assert alike[0] > 0.9
    assert alike[1] < 0.8


class FeedRig:
    """A RoomFeed and the engine that plays its rooms."""

    def __init__(self, true_stereo: str) -> None:
        self.graph = OfflineGraph(rate_hz=RATE_HZ, block_frames=BLOCK, max_taps=TAPS, ir_channels=4)
        self.graph.port.set_params(engine_params(VALUES))
        self.graph.start()
        self.graph.route(automatic_inputs=True)
        self.values = dict(VALUES)
        self.feed = RoomFeed(BuiltInRooms(), "", self.values, true_stereo)
        self.now = 0.0

    def play(self, first: Floats, second: Floats) -> Floats:
        """The output; the feed works after each block."""
        out = np.zeros((len(first) // BLOCK * BLOCK, 2), np.float32)
        for at in range(0, len(out), BLOCK):
            block = np.stack([first[at : at + BLOCK], second[at : at + BLOCK]], axis=1)
            out[at : at + BLOCK] = self.graph.process(block)
            self.feed.follow_inputs(self.graph.port)
            self.now += BLOCK / RATE_HZ
            self.feed.work(self.graph.port, self.values, self.now)
        return out


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[FeedRig]:
    made = FeedRig(getattr(request, "param", "auto"))
    yield made
    made.graph.close()


def tone(seconds: float, hz: float = 1000.0) -> Floats:
    at = np.arange(int(seconds * RATE_HZ))
    rise = np.minimum(at / (0.05 * RATE_HZ), 1)
    return np.asarray(0.3 * rise * np.sin(2 * np.pi * hz * at / RATE_HZ), np.float32)


def noise(seconds: float, seed: int = 1) -> Floats:
    sound = 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE_HZ))
    return sound.astype(np.float32)


def silence(seconds: float) -> Floats:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


def level_db(sound: Floats) -> float:
    return float(10 * np.log10(np.mean(sound.astype(float) ** 2) + 1e-30))


def test_second_input_makes_the_room_true_stereo(rig: FeedRig) -> None:
    """One source: both sides have its room. Two: and then each alone still sounds on both sides,
    equally loud within 3 dB. Locked, the room stays until it is unlocked."""
    rig.play(silence(0.6), silence(0.6))
    alone = rig.play(noise(1), silence(1))[-RATE_HZ // 2 :]
    assert abs(level_db(alone[:, 0]) - level_db(alone[:, 1])) < 3
    assert not rig.feed.is_true_stereo
    rig.values["lock"] = 1.0
    rig.play(noise(3), noise(3, 2))
    assert rig.feed.is_true_stereo and rig.feed.stale
    first = rig.play(noise(1.5), silence(1.5))[-RATE_HZ // 2 :]
    assert level_db(first[:, 0]) - level_db(first[:, 1]) > 30
    rig.values["lock"] = 0.0
    rig.play(silence(1), silence(1))
    for side, sound in enumerate([(noise(1), silence(1)), (silence(1), noise(1))]):
        out = rig.play(*sound)[-RATE_HZ // 2 :]
        assert abs(level_db(out[:, 0]) - level_db(out[:, 1])) < 3, side


def test_room_of_two_sources_plays_on_under_the_next_control_process(rig: FeedRig) -> None:
    rig.play(silence(0.6), silence(0.6))
    rig.play(noise(3), noise(3, 2))
    assert rig.feed.is_true_stereo
    playing = rig.graph.port.newest_room()
    rig.feed = RoomFeed(BuiltInRooms(), "", rig.values, "auto")
    rig.feed.work(rig.graph.port, rig.values, rig.now)
    assert rig.graph.port.newest_room() == playing and rig.feed.is_true_stereo


@pytest.mark.parametrize(("rig", "expected"), [("off", False), ("on", True)], indirect=["rig"])
def test_setting_decides_whatever_the_inputs_are(rig: FeedRig, expected: bool) -> None:
    rig.play(silence(0.6), silence(0.6))
    assert rig.feed.is_true_stereo is expected
    rig.play(tone(0.3), tone(0.3, 700))
    assert rig.feed.is_true_stereo is expected


def test_change_to_true_stereo_does_not_click(rig: FeedRig) -> None:
    """Tones on both inputs from the start. After the room has filled, what is not a tone is below
    -50 dB of the sound while the room changes."""
    first, second = tone(5), tone(5, 1000)
    second *= np.float32(0.5)
    out = rig.play(first, second)
    assert rig.feed.is_true_stereo
    y = out[RATE_HZ:].astype(float)
    rest = y[2:] - 2 * np.cos(2 * np.pi * 1000 / RATE_HZ) * y[1:-1] + y[:-2]
    assert np.abs(rest).max() < 10 ** (-50 / 20) * np.abs(y).max()


def test_render_of_a_stereo_file_is_true_stereo(tmp_path: Path) -> None:
    """A click on the left sounds on both sides; a mono file as before."""
    click = np.zeros((4800, 2), np.float32)
    click[100, 0] = 0.5
    soundfile.write(tmp_path / "in.wav", click, RATE_HZ, subtype="FLOAT")
    out = tmp_path / "out.wav"
    assert main(["render", str(tmp_path / "in.wav"), str(out), "--built-in"]) == 0
    sound, _ = soundfile.read(out)
    late = sound[200:]
    assert abs(level_db(late[:, 0]) - level_db(late[:, 1])) < 6
