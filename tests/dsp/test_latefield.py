"""The late field: rooms longer than their IR, and hold, measured on the engine's output."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, sosfiltfilt, sosfreqz

from dsp import _engine
from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.latefield import Decay, Seam, late_room, tail_s
from dsp.synthesis import Synthesiser

Floats = NDArray[np.float32]
RATE_HZ = 48000
MAX_TAPS = int(3.4 * RATE_HZ)
SEAM = Seam.of(RATE_HZ, MAX_TAPS)
OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)
LOUD = {name: row.default for name, row in _engine.PARAMS.items()} | {
    "gain_db": 0.0,
    "mix": 1.0,
    "limiter_on": 0.0,
}


class Pedal:
    """The engine without pyo: block in, block out."""

    def __init__(self, block: int = 256, max_taps: int = MAX_TAPS) -> None:
        layout = _engine.plan(block, max_taps, 2)
        self.port = _engine.Port(
            mmap.mmap(-1, _engine.port_bytes(layout, 2)),
            layout=layout,
            ir_channels=2,
            rate_hz=RATE_HZ,
        )
        self.block = block
        self.port.set_params(LOUD)
        self.buffers = {
            name: [np.zeros(block, np.float32) for _ in range(2)]
            for name in ("inputs", "wet", "dry", "mixed", "out")
        }
        self.engine = _engine.Engine(self.port, **self.buffers)

    def play(self, sound: Floats) -> Floats:
        """(2, frames) -> the wet sound, (2, whole blocks)."""
        frames = sound.shape[1] // self.block * self.block
        out = np.empty((2, frames), np.float32)
        for at in range(0, frames, self.block):
            for side in range(2):
                self.buffers["inputs"][side][:] = sound[side, at : at + self.block]
            self.engine.begin()
            self.engine.process()
            for side in range(2):
                out[side, at : at + self.block] = self.buffers["wet"][side]
                self.buffers["mixed"][side][:] = self.buffers["wet"][side]
            self.engine.finish()
        return out

    def rest(self, seconds: float) -> Floats:
        return self.play(np.zeros((2, int(seconds * RATE_HZ)), np.float32))

    def set(self, **params: float) -> None:
        self.port.set_params(LOUD | params)


def click(seconds: float) -> Floats:
    sound = np.zeros((2, int(seconds * RATE_HZ)), np.float32)
    sound[:, 0] = 1
    return sound


def noise(seconds: float, level: float = 0.1) -> Floats:
    rng = np.random.default_rng(1)
    return (level * rng.standard_normal((2, int(seconds * RATE_HZ)))).astype(np.float32)


def octave_filter(hz: float) -> NDArray[np.float64]:
    edges = [hz / math.sqrt(2), min(hz * math.sqrt(2), 0.49 * RATE_HZ)]
    return np.asarray(butter(3, edges, "bandpass", fs=RATE_HZ, output="sos"))


def octave(sound: Floats, hz: float) -> NDArray[np.float64]:
    return np.asarray(sosfiltfilt(octave_filter(hz), sound.astype(np.float64)))


def levels_db(sound: NDArray[np.floating], step_s: float = 0.1) -> NDArray[np.float64]:
    step = int(step_s * RATE_HZ)
    parts = sound[: len(sound) // step * step].astype(np.float64).reshape(-1, step)
    return np.asarray(10 * np.log10((parts**2).mean(axis=1) + 1e-30))


def room_of(t60_s: Iterable[float]) -> EnergyMap:
    """A room that falls along straight lines; T60 at 63, 125 ... 16 000 Hz."""
    hz = DEFAULT_GRID.centre_hz
    octaves = 63 * 2.0 ** np.arange(9)
    t60 = np.exp(np.interp(np.log(hz), np.log(octaves), np.log(list(t60_s))))
    level = -60 / t60[:, None] * DEFAULT_GRID.frame_centre_s
    return EnergyMap(level.astype(np.float32))


ROOMS = {
    "even 6 s": [6] * 9,
    "even 20 s": [20] * 9,
    "even 60 s": [60] * 9,
    "a hall": [9, 9, 9, 8.5, 8, 7, 6, 5, 4],
    "a cathedral": [20, 20, 19, 18, 16, 13, 10, 7, 5],
}


@pytest.fixture(scope="module")
def rooms() -> dict[str, Floats]:
    """What a click leaves in each room, 9 s of it."""
    made = {}
    synthesiser = Synthesiser(RATE_HZ, longest_s=MAX_TAPS / RATE_HZ)
    for name, t60_s in ROOMS.items():
        found = synthesiser.until(room_of(t60_s), 1.0, SEAM)
        assert found is not None
        ir, decay = found
        assert ir.shape[1] == SEAM.frames + SEAM.fade_frames
        pedal = Pedal()
        pedal.port.load_ir(ir, late=late_room(decay, SEAM))
        pedal.rest(0.2)
        made[name] = pedal.play(click(9))
    return made


def map_octave_db(room: EnergyMap, hz: float, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The level of an octave of a room that falls along straight lines: the bands of an octave fall
    differently, and it goes on as the slowest."""
    gain = abs(sosfreqz(octave_filter(hz), 2 * np.pi * room.grid.centre_hz / RATE_HZ)[1]) ** 4
    rate = -room.level_db[:, -1] / room.grid.frame_centre_s[-1]
    power = gain[:, None] * 10 ** (-rate[:, None] * at_s / 10)
    return np.asarray(10 * np.log10(power.sum(axis=0)))


def off_the_map(sound: Floats, room: EnergyMap, hz: float) -> tuple[NDArray[np.float64], ...]:
    """At each 0.1 s: the time, the level of an octave, and the same over the map's."""
    level = np.mean([levels_db(octave(side, hz)) for side in sound], axis=0)
    at_s = (np.arange(len(level)) + 0.5) * 0.1
    return at_s, level, level - map_octave_db(room, hz, at_s)


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_fall_on_as_their_map(rooms: dict[str, Floats], name: str) -> None:
    """T60 after the seam within 5 % of the map's in each octave. A line is fitted to levels that
    scatter as noise does; twice its own uncertainty is allowed for."""
    room = room_of(ROOMS[name])
    for hz in OCTAVES_HZ:
        at_s, level, off = off_the_map(rooms[name], room, hz)
        late = (at_s > SEAM.end_s + 0.1) & (level > level.max() - 90)
        length_s = float(np.ptp(at_s[late]))
        rate = -np.polyfit(at_s[late], (level - off)[late], 1)[0]
        error = np.polyfit(at_s[late], off[late], 1)[0]
        scatter_db = 4.34 / math.sqrt(2 * hz * 0.7 * 0.1)
        chance = scatter_db * math.sqrt(12 / late.sum()) / length_s
        assert abs(error) < 0.05 * rate + 2 * chance, (hz, rate, error)


@pytest.mark.parametrize("name", ROOMS)
def test_no_step_at_the_seam(rooms: dict[str, Floats], name: str) -> None:
    """The level along the seam is within 1 dB of the map's in each octave. Levels of 100 ms vary by
    chance: means of both sides and of 300 ms are compared, and three deviations allowed for."""
    room = room_of(ROOMS[name])
    for hz in OCTAVES_HZ:
        at_s, _, off = off_the_map(rooms[name], room, hz)
        before = off[(at_s > 1.5) & (at_s < 2.95)].mean()
        smooth = np.convolve(off - before, np.full(3, 1 / 3), "same")
        seam = (at_s > 2.9) & (at_s < 3.8)
        chance_db = 4.34 / math.sqrt(2 * 2 * hz * 0.7 * 0.3)
        assert abs(smooth[seam]).max() < 1 + 3 * chance_db, (hz, smooth[seam].round(1))
        assert abs((off - before)[seam].mean()) < 1 + chance_db, hz


def test_the_seam_is_as_dense_as_noise(rooms: dict[str, Floats]) -> None:
    """Echo density (Abel & Huang 2006), of both sides and 0.1 s: nearly that of noise while the
    late field takes over, where its first echoes are not many yet, and that of noise after it."""
    sound, window = rooms["even 20 s"], 2048
    weight = np.hanning(window) / np.hanning(window).sum()
    found = []
    for begin in range(int(2.8 * RATE_HZ), int(4.2 * RATE_HZ), window // 2):
        for side in sound:
            part = side[begin : begin + window].astype(np.float64)
            deviation = math.sqrt((weight * part**2).sum())
            found.append((weight * (abs(part) > deviation)).sum() / math.erfc(1 / math.sqrt(2)))
    echoes = np.array(found).reshape(-1, 2).mean(axis=1)
    echoes = np.convolve(echoes, np.full(4, 0.25), "valid")
    at_s = 2.8 + (np.arange(len(echoes)) + 2.5) * window / 2 / RATE_HZ
    assert echoes.min() >= 0.8
    assert echoes[at_s > SEAM.end_s + 0.2].min() >= 0.95


def test_the_late_field_varies_as_noise(rooms: dict[str, Floats]) -> None:
    """The intensity of a Gaussian sound in a narrow band varies by its mean."""
    sound, size = rooms["even 60 s"][0][int(3.1 * RATE_HZ) :].astype(np.float64), 2048
    spectra = np.array(
        [
            abs(np.fft.rfft(sound[at : at + size] * np.hanning(size)))[8:400] ** 2
            for at in range(0, len(sound) - size, size // 2)
        ]
    )
    spectra /= spectra.mean(axis=1, keepdims=True)  # as it falls
    spectra /= np.convolve(spectra.mean(axis=0), np.full(31, 1 / 31), "same")  # and its spectrum
    spectra = spectra[:, 16:-16]
    assert 0.9 < spectra.var() < 1.1


def test_rooms_that_fit_are_not_changed() -> None:
    """Bit for bit, with and without values for the late field."""
    ir = noise(0.5)
    sound = noise(1.0)
    decay = Decay(np.array([20.0, 20e3]), np.full(2, 30.0))
    outputs = []
    for late in (None, late_room(decay, SEAM)):
        pedal = Pedal()
        pedal.port.load_ir(ir, late=late)
        outputs.append(pedal.play(sound))
    assert np.array_equal(*outputs)
    synthesiser = Synthesiser(RATE_HZ, longest_s=MAX_TAPS / RATE_HZ)
    assert synthesiser.until(room_of([1] * 9), 1.0, SEAM) is None


def test_what_rings_outlives_a_change_to_a_short_room() -> None:
    hz = np.array([20.0, 20e3])
    long = late_room(Decay(hz, np.full(2, 6.0), np.full(2, -40.0)), SEAM)
    short = late_room(Decay(hz, np.full(2, 200.0)), SEAM)
    pedal = Pedal()
    silent = np.zeros((2, 64), np.float32)
    pedal.port.load_ir(silent, late=long)
    pedal.rest(0.2)
    pedal.play(noise(0.2))
    pedal.rest(4)
    pedal.port.load_ir(silent, late=short)
    level = levels_db(pedal.rest(4)[0])
    assert np.polyfit(np.arange(len(level)) * 0.1, level, 1)[0] == pytest.approx(-6, rel=0.05)


def test_an_old_input_does_not_come_back() -> None:
    """A long room, then for a while a short one, then a long one: while the lines ring."""
    hz = np.array([20.0, 20e3])
    long = late_room(Decay(hz, np.full(2, 1.0), np.full(2, -40.0)), SEAM)
    short = late_room(Decay(hz, np.full(2, 200.0)), SEAM)
    silent = np.zeros((2, 64), np.float32)
    pedal = Pedal()
    pedal.port.load_ir(silent, late=long)
    pedal.rest(0.2)
    pedal.play(noise(3.0))
    pedal.port.load_ir(silent, late=short)
    pedal.rest(9)
    pedal.port.load_ir(silent, late=long)
    level = levels_db(pedal.rest(5)[0], 0.5)
    assert level.max() < level[0] + 1


@pytest.fixture(scope="module")
def held() -> tuple[Pedal, float]:
    """A pedal that holds what rang, and the level in dB that that had."""
    pedal = Pedal(block=1024)
    ir = noise(3.0, 0.01) * np.exp(-np.arange(int(3 * RATE_HZ)) / RATE_HZ * 3.45).astype(np.float32)
    decay = Decay(np.array([20.0, 20e3]), np.full(2, 30.0))
    pedal.port.load_ir(ir, late=late_room(decay, SEAM))
    pedal.rest(0.2)
    before = pedal.play(noise(1.0))
    pedal.set(hold=1)
    pedal.rest(1.5)
    return pedal, float(levels_db(before[0], 0.2)[-1])


def test_hold_keeps_level_for_ten_minutes_and_has_no_period(held: tuple[Pedal, float]) -> None:
    """10 minutes: the first and the last 5 s are measured, and played at the speed of the test."""
    pedal, before_db = held
    first = pedal.rest(5)
    pedal.rest(590)
    last = pedal.rest(5)
    for side in range(2):
        start_db, end_db = (10 * math.log10((each[side] ** 2).mean()) for each in (first, last))
        assert abs(end_db - start_db) < 0.5
        assert abs(start_db - before_db) < 3
        level = (last[side].astype(np.float64) ** 2)[: 480 * 480].reshape(-1, 480).mean(axis=1)
        level -= level.mean()
        repeats = np.correlate(level, level, "full")[len(level) - 1 :]
        assert (repeats[5 : len(level) // 2] / repeats[0]).max() < 0.2


def test_hold_is_closed_in_freeze_and_open_in_layer(held: tuple[Pedal, float]) -> None:
    pedal, _ = held
    start = (pedal.rest(1) ** 2).mean()
    pedal.play(noise(1.0))
    assert (pedal.rest(1) ** 2).mean() == pytest.approx(start, rel=0.2)
    pedal.set(hold=1, hold_mode=1)
    pedal.play(noise(1.0))
    pedal.rest(3)
    assert (pedal.rest(1) ** 2).mean() > 1.5 * start
    pedal.set(hold=0, hold_mode=1)
    pedal.rest(0.1)
    level = levels_db(pedal.rest(1.5)[0])
    rate = np.polyfit(np.arange(len(level)) * 0.1, level, 1)[0]
    assert rate == pytest.approx(-30, rel=0.1)  # the room's own decay


def tone(seconds: float) -> Floats:
    """110 Hz, with soft ends."""
    at = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    edges = np.minimum(1, 4 * np.minimum(at, seconds - at))
    return np.repeat((0.1 * np.sin(2 * np.pi * 110 * at) * edges)[None], 2, 0).astype(np.float32)


def clicks(*parts: Floats) -> float:
    """Of a tone: what is above 15 kHz, where a click has its energy, over the peak of all."""
    sound = np.concatenate(parts, axis=1).astype(np.float64)
    high = sosfilt(butter(8, 15e3, "high", fs=RATE_HZ, output="sos"), sound)[:, RATE_HZ:]
    return float(abs(high).max() / abs(sound).max())


def steep_room(fall_db_s: float, level_db: float = -20.0, width: float = 1.0) -> Floats:
    """Whose treble falls twice as fast."""
    falls = np.array([fall_db_s, 2 * fall_db_s])
    return late_room(Decay(np.array([20.0, 20e3]), falls, np.full(2, level_db)), SEAM, width)


def dense_ir() -> Floats:
    ir = noise(3.0, 0.01)
    return ir * np.exp(-np.arange(ir.shape[1]) / RATE_HZ * 3.45).astype(np.float32)


@pytest.mark.parametrize("fall_db_s", [1.0, 10.0, 60.0])
def test_hold_and_its_end_are_heard_as_no_click(fall_db_s: float) -> None:
    """Twice: hold lasts, and it ends while the sound is caught."""
    pedal = Pedal(block=64)
    pedal.port.load_ir(dense_ir(), late=steep_room(fall_db_s))
    pedal.rest(0.2)
    parts = [pedal.play(tone(4))]
    for hold, seconds in ((1, 2), (0, 0.5), (1, 0.4), (0, 0.5)):
        pedal.set(hold=hold)
        parts.append(pedal.rest(seconds))
    assert clicks(*parts) < 3e-4


@pytest.mark.parametrize("tails", range(3))
@pytest.mark.parametrize("change", [(60, -20, 1), (10, -50, 1), (10, 0, 1), (10, -20, 4)])
def test_change_of_a_long_room_is_heard_as_no_click(
    change: tuple[float, float, float], tails: int
) -> None:
    """Of its decay, its level and its width, until the new room's first sound has come."""
    pedal = Pedal(block=64)
    pedal.set(tails=tails)
    pedal.port.load_ir(dense_ir(), late=steep_room(10))
    pedal.rest(0.2)
    sound = tone(8)
    before = pedal.play(sound[:, : 4 * RATE_HZ])
    pedal.port.load_ir(dense_ir(), late=steep_room(*change))
    assert clicks(before, pedal.play(sound[:, 4 * RATE_HZ :])) < 3e-4


def test_infinite_rooms_stay() -> None:
    decay = Decay(np.array([20.0, 20e3]), np.full(2, 3.0), np.full(2, -40.0), lasting=True)
    assert tail_s(decay, SEAM) == 60
    pedal = Pedal()
    pedal.port.load_ir(np.zeros((2, 64), np.float32), late=late_room(decay, SEAM))
    pedal.rest(0.2)
    pedal.play(noise(0.2))
    pedal.rest(4)
    level = levels_db(pedal.rest(20)[0], 2.0)
    assert np.ptp(level) < 0.5


@pytest.mark.parametrize("fault", ["nan", "large", "louder", "louder bass"])
def test_values_that_no_room_has_are_not_used(fault: str) -> None:
    """They come from shared memory."""
    decay = Decay(np.array([20.0, 20e3]), np.full(2, 3.0), np.full(2, -40.0))
    values = late_room(decay, SEAM)
    at = {"nan": 40, "large": 5, "louder": 13, "louder bass": 13 + 4 * 16}[fault]
    values[at] = {"nan": np.nan, "large": 1e9, "louder": 2.0, "louder bass": -2.0}[fault]
    pedal = Pedal()
    pedal.port.load_ir(np.zeros((2, 64), np.float32), late=values)
    pedal.rest(0.2)
    pedal.play(noise(0.5))
    assert not pedal.rest(5).any()


def test_changes_do_not_click_and_stay_finite() -> None:
    """Rooms, hold and tails at random, with a soft low sound: no jump from frame to frame is
    larger than those of the sound itself by much."""
    rng = np.random.default_rng(2)
    pedal = Pedal(block=64)
    hz = np.array([20.0, 20e3])
    for _ in range(150):
        level = np.full(2, -50.0) if rng.random() < 0.6 else None
        decay = Decay(hz, np.full(2, rng.uniform(1, 60)), level, bool(rng.random() < 0.2))
        width = rng.uniform(-4, 4)
        ir = np.zeros((2, 64), np.float32)
        pedal.port.load_ir(ir, late=late_room(decay, SEAM, width))
        pedal.set(
            hold=float(rng.random() < 0.3),
            hold_mode=float(rng.random() < 0.3),
            tails=rng.integers(3),
        )
        at = np.arange(int(0.2 * RATE_HZ)) / RATE_HZ
        sound = np.repeat((0.1 * np.sin(2 * np.pi * 60 * at))[None], 2, 0).astype(np.float32)
        out = pedal.play(sound * rng.integers(2))
        assert np.isfinite(out).all()
        assert abs(out).max() < 30
