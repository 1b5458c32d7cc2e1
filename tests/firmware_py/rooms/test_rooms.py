"""RoomMaker and `nverb render`: the controls shape every kind of room and --ir files."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bank.format import Bank, Waveform
from bank.format import write as write_bank
from bank.recording import weights_at
from device.controls import defaults
from dsp.energymap import EnergyMap
from dsp.errors import UserError
from dsp.loudness import ROOM_LOUDNESS, of_samples
from firmware_py.cli import main
from firmware_py.commands.use import recording_values
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import BuiltInRooms, RoomSource
from models.decoder import Decoder
from models.generator import room_at

ROOT = Path(__file__).parents[3]
RATE_HZ = 48000
KNOB_OF_LATENT = {-2.0: 0.0, 0.0: 4.5, 2.0: 9.0}


def recording(
    t60_s: float, channels: int = 2, rate_hz: int = RATE_HZ, seed: int = 1
) -> NDArray[np.float32]:
    t = np.arange(int(1.2 * t60_s * rate_hz)) / rate_hz
    return (
        np.random.default_rng(seed).standard_normal((channels, len(t))) * 10 ** (-3 * t / t60_s)
    ).astype(np.float32)


def t30_s(ir: NDArray[np.floating], rate_hz: int = RATE_HZ) -> float:
    curve = 10 * np.log10(np.cumsum((ir.astype(float) ** 2).sum(axis=0)[::-1])[::-1] + 1e-30)
    curve -= curve[0]
    part = np.flatnonzero((curve <= -5) & (curve >= -35))
    return float(-60 / np.polyfit(part / rate_hz, curve[part], 1)[0])


def values(**changed: float) -> dict[str, float]:
    return defaults() | changed


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Three recordings along x: one has four channels, one another rate."""
    path = tmp_path / "own.nvbank"
    waveforms = [
        Waveform("short", RATE_HZ, (-2.0, 0.0, 0.0), recording(0.4)),
        Waveform("middle", 44100, (0.0, 0.0, 0.0), recording(0.8, 1, 44100)),
        Waveform("long", RATE_HZ, (2.0, 0.0, 0.0), recording(1.6, 4)),
    ]
    write_bank(path, name="own", waveforms=waveforms)
    return Bank.open(path)


def same(got: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Error in dB, without the difference in level."""
    scale = (got * true).sum() / (true.astype(float) ** 2).sum()
    return float(10 * np.log10(((got / scale - true) ** 2).sum() / (true**2).sum()))


def test_recording_plays_unchanged_at_its_place(bank: Bank) -> None:
    """At its own rate sample for sample, also at a small distance: knobs are never quite still."""
    maker = RoomMaker(bank, RATE_HZ, 10 * RATE_HZ)
    for x in (0.0, 0.2):
        assert same(maker.ir(values(x=x)), bank.waveforms[0].samples) < -100
    long = maker.ir(values(x=9))
    assert long.shape[0] == 4 and same(long, bank.waveforms[2].samples) < -100
    middle = maker.ir(values())
    assert middle.shape == (1, pytest.approx(0.96 * RATE_HZ, abs=2))
    assert t30_s(middle) == pytest.approx(0.8, rel=0.05)


def test_recording_control_plays_each_wherever_the_knobs_are(bank: Bank) -> None:
    """1 to 3 in the order of the bank, then from the first again; 0 is x, y and z."""
    maker = RoomMaker(bank, RATE_HZ, 10 * RATE_HZ)
    for number, index in ((1, 0), (3, 2), (4, 0)):
        got = maker.ir(values(x=4.5, recording=number))
        assert same(got, bank.waveforms[index].samples) < -100
    away, there = (maker.fingerprint(values(x=x, recording=1)) for x in (0, 9))
    assert away == there != maker.fingerprint(values(x=0))
    built_in = RoomMaker(BuiltInRooms(), RATE_HZ, RATE_HZ)
    assert built_in.fingerprint(values(recording=5)) == built_in.fingerprint(values())


def test_recording_longer_than_the_engine_is_cut_at_full_level(bank: Bank) -> None:
    """The level is that of what is left: within 0.1 dB of every room. The cut is told."""
    maker = RoomMaker(bank, RATE_HZ, RATE_HZ // 10)
    ir = maker.ir(values(x=9))
    assert ir.shape[1] == RATE_HZ // 10
    level_db = 10 * np.log10(of_samples(ir, RATE_HZ) / ROOM_LOUDNESS)
    assert level_db == pytest.approx(0, abs=0.1) or np.abs(ir).max() > 0.89
    assert "3 of 3 recordings are longer than 0.1 s" in maker.remark


def test_use_finds_the_knobs_of_a_recording(bank: Bank) -> None:
    assert recording_values(bank.path, "middle") == {"x": 4.5, "y": 4.5, "z": 4.5, "recording": 0}
    with pytest.raises(UserError, match=r"no recording 'midle'.*middle"):
        recording_values(bank.path, "midle")


def test_four_channels_are_mixed_to_two_for_one_input(bank: Bank) -> None:
    ir = RoomMaker(bank, RATE_HZ, 10 * RATE_HZ, inputs=1).ir(values(x=9))
    samples = bank.waveforms[2].samples
    assert same(ir, samples[:2] + samples[2:]) < -100


def test_decay_is_interpolated_between_two_recordings(bank: Bank) -> None:
    """T30 rises from one to the other, in steps of at most 20 %."""
    maker = RoomMaker(bank, RATE_HZ, 10 * RATE_HZ)
    times = np.array([t30_s(maker.ir(values(x=x))) for x in np.linspace(0, 4.5, 16)])
    assert (np.diff(times) > -0.03 * times[1:]).all()
    assert (times[1:] / times[:-1] < 1.2).all()
    assert times[0] == pytest.approx(0.4, rel=0.05) and times[-1] == pytest.approx(0.8, rel=0.05)


@pytest.mark.parametrize("kind", ["grid", "built-in", "recordings"])
def test_every_control_shapes_every_kind_of_room(tmp_path: Path, bank: Bank, kind: str) -> None:
    """Decay and size change T30, tilt and early/late the energy, reverse the direction. Each
    changes the fingerprint."""
    source: Bank | BuiltInRooms = bank
    if kind == "built-in":
        source = BuiltInRooms()
    elif kind == "grid":
        from bank.build import build

        build(tmp_path / "grid.nvbank", room_at, steps=4, name="grid")
        source = Bank.open(tmp_path / "grid.nvbank")
    maker = RoomMaker(source, RATE_HZ, 10 * RATE_HZ)
    base = values(x=0.0 if kind == "recordings" else 3.0)
    plain = maker.ir(base)
    prints = {maker.fingerprint(base)}
    for name, value in (
        ("decay", 2.0),
        ("size", 1.5),
        ("tilt", 9.0),
        ("early_late", 6.0),
        ("attack", 80.0),
        ("reverse", 1.0),
    ):
        prints.add(maker.fingerprint(base | {name: value}))
        ir = maker.ir(base | {name: value})
        assert np.isfinite(ir).all()
        match name:
            case "decay" | "size":
                assert t30_s(ir) / t30_s(plain) == pytest.approx(value, rel=0.15)
            case "tilt":
                assert spectral_centre(ir) > spectral_centre(plain) + 0.2
            case "early_late":
                assert centre_s(ir) > 1.05 * centre_s(plain)
            case "attack":
                assert np.abs(ir[:, :200]).max() < 0.05 * np.abs(ir).max()
            case "reverse":
                taps = ir.shape[1]
                np.testing.assert_allclose(ir[:, ::-1][:, : taps - 500], plain[:, : taps - 500])
    assert len(prints) == 7


def spectral_centre(ir: NDArray[np.float32]) -> float:
    """The centre of the power spectrum in octaves above 1 Hz."""
    power = (np.abs(np.fft.rfft(ir)) ** 2).sum(axis=0)
    return float(
        (np.log2(np.fft.rfftfreq(ir.shape[1], 1 / RATE_HZ)[1:]) * power[1:]).sum() / power[1:].sum()
    )


def centre_s(ir: NDArray[np.float32]) -> float:
    energy = (ir.astype(float) ** 2).sum(axis=0)
    return float((np.arange(len(energy)) * energy).sum() / energy.sum() / RATE_HZ)


def test_long_room_fades_out_at_the_engine_limit() -> None:
    ir = RoomMaker(BuiltInRooms(), RATE_HZ, RATE_HZ).ir(values(x=9, decay=4))
    assert ir.shape[1] == RATE_HZ
    assert np.abs(ir[:, -5:]).max() < 1e-4 * np.abs(ir).max()


def test_colours_are_passed_to_a_decoder() -> None:
    asked: list[Sequence[float]] = []

    class Decoder(BuiltInRooms):
        colours = 5

        def energy_map(
            self, x: float, y: float, z: float, colour: Sequence[float] = ()
        ) -> EnergyMap:
            asked.append(colour)
            return super().energy_map(x, y, z)

    maker = RoomMaker(Decoder(), RATE_HZ, RATE_HZ)
    maker.ir(values(colour1=1.5, colour5=-2))
    assert asked == [[1.5, 0, 0, 0, -2]]
    assert maker.fingerprint(values()) != maker.fingerprint(values(colour3=0.1))


def test_rooms_lie_beyond_the_ends_of_the_knobs() -> None:
    """By up to 2.25 of its units, latents from -3 to 3."""
    asked: list[tuple[float, float, float]] = []

    class Source(BuiltInRooms):
        def energy_map(self, x: float, y: float, z: float) -> EnergyMap:
            asked.append((x, y, z))
            return super().energy_map(x, y, z)

    maker = RoomMaker(Source(), RATE_HZ, RATE_HZ)
    maker.ir(values(x=9, y=0, z=4.5, beyond_x=0.9, beyond_y=-2.25, beyond_z=-0.9))
    np.testing.assert_allclose(asked, [(2.4, -3.0, -0.4)])
    assert maker.fingerprint(values(x=9)) != maker.fingerprint(values(x=9, beyond_x=0.1))


def test_weights_are_continuous_and_add_to_1() -> None:
    """At a place its weight is 1. At most two are not zero. Between places they change without a
    jump."""
    chance = np.random.default_rng(3)
    places = [tuple(p) for p in chance.uniform(-2, 2, (30, 3))]
    for i, place in enumerate(places):
        assert weights_at(places, place) == [(1.0, i)]
    before = None
    for step in np.linspace(0, 1, 2001):
        point = tuple((1 - step) * np.array(places[0]) + step * np.array(places[1]))
        weights = weights_at(places, point)
        assert sum(w for w, _ in weights) == pytest.approx(1) and len(weights) <= 2
        now = np.zeros(30)
        for w, i in weights:
            now[i] = w
        if before is not None:
            assert np.abs(now - before).max() < 0.1
        before = now
    assert weights_at([(0, 0, 0)], (5, 5, 5)) == [(1.0, 0)]
    assert len(weights_at([(0, 0, 0), (0, 0, 0)], (0, 0, 0))) == 1


def impulse_through(tmp_path: Path, *arguments: str, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """The wet output of `nverb render` for an impulse."""
    click, out = tmp_path / "click.wav", tmp_path / "out.wav"
    soundfile.write(click, np.eye(1, 256, dtype=np.float32).T, rate_hz, subtype="FLOAT")
    plain = ["--set", "mix=100", "gain=0", "limiter=off"]
    words = ["render", str(click), str(out), *plain, *arguments]
    assert main(words) == 0
    return np.asarray(soundfile.read(out)[0].T)


def test_render_applies_decay_and_reverse(tmp_path: Path) -> None:
    """Decay 2 doubles T30 within 10 %, for a room and for --ir. Reverse plays --ir backwards."""
    for arguments in (["--set", "x=4"], ["--ir", str(tmp_path / "ir.wav")]):
        soundfile.write(tmp_path / "ir.wav", recording(0.6).T, RATE_HZ, subtype="FLOAT")
        plain = impulse_through(tmp_path, *arguments)
        long = impulse_through(tmp_path, *arguments, "--set", "decay=2")
        assert t30_s(long) / t30_s(plain) == pytest.approx(2, rel=0.1)
    back = impulse_through(
        tmp_path, "--ir", str(tmp_path / "ir.wav"), "--raw-ir", "--set", "reverse=on"
    )
    ir = recording(0.6)
    room = back[:, : back.shape[1] - 255]  # the file of the impulse has 256 frames
    np.testing.assert_allclose(room[:, 600:][:, ::-1], ir[:, : room.shape[1] - 600], atol=2e-3)


def test_raw_ir_is_unchanged_at_the_defaults(tmp_path: Path) -> None:
    ir = recording(0.3)
    soundfile.write(tmp_path / "ir.wav", ir.T, RATE_HZ, subtype="FLOAT")
    got = impulse_through(tmp_path, "--ir", str(tmp_path / "ir.wav"), "--raw-ir")
    np.testing.assert_allclose(got[:, : ir.shape[1]], ir, atol=1e-5)


def interleaved_bank(path: Path) -> Bank:
    one = np.ones((1, 20), np.float32)
    waveforms = [Waveform("one", RATE_HZ, (0.0, 0.0, 0.0), one)] * 16
    write_bank(path, name="plug-in", waveforms=waveforms, interleaved=2)
    return Bank.open(path)


@pytest.mark.parametrize("kind", ["maps", "recordings", "interleaved", "decoder", "built-in"])
def test_sources_and_makers_are_freed_without_the_garbage_collector(
    kind: str, bank: Bank, tmp_path: Path
) -> None:
    """A reference cycle would keep the arrays of each pushed bank until the collector runs."""
    sources: dict[str, Callable[[], RoomSource]] = {
        "maps": lambda: Bank.open(ROOT / "models/shipped/rooms.nvbank"),
        "recordings": lambda: bank,
        "interleaved": lambda: interleaved_bank(tmp_path / "plugin.nvbank"),
        "decoder": lambda: Decoder.open(ROOT / "models/shipped/decoder.nvmodel"),
        "built-in": BuiltInRooms,
    }
    first = RoomMaker(BuiltInRooms(), RATE_HZ, 2 * RATE_HZ)
    gc.disable()
    try:
        source = sources.pop(kind)()
        sources.clear()
        makers = [first.of(source), RoomMaker(source, RATE_HZ, 2 * RATE_HZ)]
        for maker in makers:
            maker.ir(values(x=3.0, decay=1.5, resampling=1.0))
            maker.prepare()
        alive = [weakref.ref(one) for one in (source, *makers, makers[1]._renderer)]
        del source, maker, makers, first
        assert [one() for one in alive[1:]] == [None] * 3
        assert kind == "recordings" or alive[0]() is None  # the fixture refers to that bank
    finally:
        gc.enable()


def test_direct_sound_is_in_the_wet_sound_only_on_request() -> None:
    """At z = 0 the built-in room has a strong direct sound. Off: in the first 2 ms is less energy
    than in the next 18; on: ten times as much as off. The rest is the same but for the level."""
    maker = RoomMaker(BuiltInRooms(), RATE_HZ, 6 * RATE_HZ)
    without, with_direct = (maker.ir(values(z=0, direct=on)).astype(float) for on in (0.0, 1.0))
    split = slice(int(0.011 * RATE_HZ), int(0.3 * RATE_HZ))
    assert same(with_direct[:, split], without[:, split]) < -40
    gain = np.sqrt((with_direct[:, split] ** 2).sum() / (without[:, split] ** 2).sum())
    first = [float((ir[:, : RATE_HZ // 500] ** 2).sum()) for ir in (gain * without, with_direct)]
    assert first[0] < float(((gain * without)[:, RATE_HZ // 500 : RATE_HZ // 50] ** 2).sum())
    assert first[1] > 10 * first[0]
