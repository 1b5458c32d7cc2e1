"""Recordings as rooms: exact without shaping, recognisable with it. The recordings are synthetic,
with closed forms."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from dsp.acoustics import OCTAVES_HZ
from dsp.energymap import Grid
from dsp.recorded import RecordedRoom, recording_grid, render, with_width
from dsp.shaping import Shape
from dsp.synthesis import Synthesiser

Floats = NDArray[np.float32]
RATE_HZ = 48000


@lru_cache(maxsize=4)
def noise(grid: Grid, seed: int) -> Synthesiser:
    return Synthesiser(RATE_HZ, grid, seed)


def recording(
    t60_s: float, channels: int = 2, seconds: float = 2.0, *, lead: int = 300, floor_db: float = -70
) -> Floats:
    """Like a measured room: a direct sound, five echoes and decaying noise, over a noise floor."""
    draw = np.random.default_rng(5)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    ir = 0.1 * draw.standard_normal((channels, len(t))) * 10 ** (-3 * t / t60_s)
    for at_s, gain in (
        (0, 1.0),
        (0.011, 0.5),
        (0.017, -0.4),
        (0.023, 0.3),
        (0.031, 0.3),
        (0.047, -0.2),
    ):
        ir[:, int(at_s * RATE_HZ)] += gain
    ir = np.pad(ir, ((0, 0), (lead, 0)))
    return (ir + 10 ** (floor_db / 20) * 0.3 * draw.standard_normal(ir.shape)).astype(np.float32)


def error_db(got: Floats, true: Floats) -> float:
    return float(
        10 * np.log10(((got.astype(float) - true) ** 2).sum() / (true.astype(float) ** 2).sum())
    )


def t30_s(ir: Floats, hz: float, start: int) -> float:
    sos = butter(3, [hz / np.sqrt(2), hz * np.sqrt(2)], "band", fs=RATE_HZ, output="sos")
    band = sosfiltfilt(sos, ir.astype(float))[:, start:]
    curve = 10 * np.log10(np.cumsum((band**2).sum(axis=0)[::-1])[::-1] + 1e-30)
    curve -= curve[0]
    part = np.flatnonzero((curve <= -5) & (curve >= -35))
    return float(-60 / np.polyfit(part / RATE_HZ, curve[part], 1)[0])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_map_and_carriers_restore_recording(channels: int) -> None:
    """Required: -60 dB; float32 transforms reach -120 dB."""
    ir = recording(0.8, channels)
    room = RecordedRoom(ir, RATE_HZ)
    got, share = room.played(room.measured(room.grid), 1.0)
    assert error_db(got, ir) < -120
    np.testing.assert_allclose(share, 1.0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_unshaped_recording_keeps_its_samples(channels: int) -> None:
    ir = recording(0.8, channels)
    got = render([(1.0, RecordedRoom(ir, RATE_HZ))], Shape(), 1.0, noise)
    scale = (got * ir).sum() / (ir**2).sum()
    assert error_db(got / scale, ir) < -120


@pytest.mark.parametrize(
    "shape", [Shape(tilt_db=0.01), Shape(early_late_db=0.01), Shape(decay=1.001)]
)
def test_small_shape_is_small_change(shape: Shape) -> None:
    """Reflections stay: -40 dB. A longer decay may need another grid with other cells: -25 dB."""
    ir = recording(0.8)
    got = render([(1.0, RecordedRoom(ir, RATE_HZ))], shape, 1.0, noise)[:, : ir.shape[1]]
    got = np.pad(got, ((0, 0), (0, ir.shape[1] - got.shape[1])))
    scale = (got * ir).sum() / (ir**2).sum()
    assert error_db(got / scale, ir) < (-25 if shape.decay > 1 else -40)


@pytest.mark.parametrize("decay", [0.5, 2.0])
def test_decay_multiplies_t30_of_recording(decay: float) -> None:
    """T30 of the tail (after the echoes, from 60 ms on) is within 10 % of the closed form; the
    echoes keep their times."""
    ir = recording(0.8)
    got = render([(1.0, RecordedRoom(ir, RATE_HZ))], Shape(decay=decay), 1.0, noise)
    for hz in (500, 1000, 2000, 4000):
        assert t30_s(got, hz, 3200) == pytest.approx(0.8 * decay, rel=0.1)
    early = slice(300, 300 + int(0.04 * RATE_HZ))
    assert abs(np.corrcoef(got[0, early], ir[0, early])[0, 1]) > 0.9


def test_decay_continues_after_end_and_below_noise() -> None:
    """A recording of 1 s with a noise floor of -50 dB and a T60 of 0.5 s, at decay 3: no step at
    its end, T30 within 15 %."""
    ir = recording(0.5, seconds=1.0, floor_db=-50)
    got = render([(1.0, RecordedRoom(ir, RATE_HZ))], Shape(decay=3), 1.0, noise)
    assert got.shape[1] > 1.5 * ir.shape[1]
    for hz in (1000, 4000):
        assert t30_s(got, hz, 3200) == pytest.approx(1.5, rel=0.15)
    around = [
        10 * np.log10((got[:, at : at + 2400].astype(float) ** 2).mean())
        for at in (ir.shape[1] - 4000, ir.shape[1] + 1600)
    ]
    assert around[0] - around[1] == pytest.approx(60 * 0.117 / 1.5, abs=2.0)


def test_size_scales_echo_times_of_recording() -> None:
    """The echo 11 ms after the direct sound comes after 22 ms at size 2, within 0.5 ms."""
    got = render([(1.0, RecordedRoom(recording(0.8), RATE_HZ))], Shape(size=2), 1.0, noise)
    envelope = np.convolve((got.astype(float) ** 2).sum(axis=0), np.ones(24) / 24, "same")
    first = int(envelope.argmax())
    second = first + 700 + int(envelope[first + 700 : first + 1400].argmax())
    assert (second - first) / RATE_HZ == pytest.approx(0.022, abs=0.0005)


def test_interpolation_between_recordings_has_mean_decay() -> None:
    """T60 0.5 and 1.5 s: the mean of two straight lines in dB has 2 / (1 / 0.5 + 1 / 1.5) = 0.75 s,
    within 10 %. At weight 1, the recording itself."""
    rooms = [RecordedRoom(recording(t, lead=lead), RATE_HZ) for t, lead in ((0.5, 100), (1.5, 900))]
    got = render([(0.5, rooms[0]), (0.5, rooms[1])], Shape(), 1.0, noise)
    for hz in (500, 1000, 4000):
        assert t30_s(got, hz, 3500) == pytest.approx(0.75, rel=0.1)
    assert int(np.abs(got).max(axis=0).argmax()) == pytest.approx(
        500, abs=24
    )  # half-way between the two delays
    near = render([(0.999, rooms[0]), (0.001, rooms[1])], Shape(), 1.0, noise)
    alone = render([(1.0, rooms[0])], Shape(), 1.0, noise)
    taps = min(near.shape[1], alone.shape[1])
    near, alone = (
        np.roll(near[:, :taps], -1, axis=1),
        alone[:, :taps],
    )  # its delay is one sample longer
    assert error_db(near, alone) < -15


def test_four_channels_keep_their_paths() -> None:
    """The cross path at a tenth of the direct path keeps its level when shaped, within 0.5 dB."""
    ir = recording(0.8, 4)
    ir[1:3] *= 0.1
    got = render([(1.0, RecordedRoom(ir, RATE_HZ))], Shape(decay=0.7, tilt_db=3), 1.0, noise)
    energy = (got.astype(float) ** 2).sum(axis=1)
    assert len(got) == 4
    assert 10 * np.log10(energy[1] / energy[0]) == pytest.approx(-20, abs=0.5)
    mixed = render(
        [(0.5, RecordedRoom(ir, RATE_HZ)), (0.5, RecordedRoom(recording(0.5, 1), RATE_HZ))],
        Shape(),
        1.0,
        noise,
    )
    assert len(mixed) == 4


def test_width_scales_the_side_signal() -> None:
    ir = recording(0.8)
    np.testing.assert_array_equal(with_width(ir, 1.0), ir)
    np.testing.assert_array_equal(with_width(ir, -1.0), ir[::-1])
    mono, wide = with_width(ir, 0.0), with_width(ir, 2.0)
    np.testing.assert_allclose(mono[0], mono[1], atol=1e-7)
    np.testing.assert_allclose(wide[0] - wide[1], 2 * (ir[0] - ir[1]), atol=1e-5)
    np.testing.assert_allclose(wide.sum(axis=0), ir.sum(axis=0), atol=1e-5)
    opposite = np.stack([ir[0], -ir[0]])
    np.testing.assert_array_equal(with_width(opposite, 0.0), opposite)
    one = ir[:1]
    assert with_width(one, 3.0) is one


def test_recording_grid_is_long_enough() -> None:
    assert [recording_grid(s).duration_s for s in (0.1, 4.0, 4.1, 7, 9.9)] == [4, 4, 6, 8, 10]


def test_very_short_recordings_can_be_shaped() -> None:
    for taps in (1, 2, 50):
        got = render(
            [(1.0, RecordedRoom(np.ones((2, taps), np.float32), RATE_HZ))],
            Shape(decay=2, size=0.5),
            0.5,
            noise,
        )
        assert np.isfinite(got).all() and np.abs(got).max() > 0


def cabinet(taps: int, silence: int = 0) -> Floats:
    draw = np.random.default_rng(2)
    ir = 0.5 * np.exp(-np.arange(taps) / 60) * draw.standard_normal(taps)
    ir[0] = 0.5
    return np.pad(ir, (0, silence)).astype(np.float32)[None]


def octave_levels(ir: Floats) -> NDArray[np.float64]:
    size = 1 << 18
    power = (np.abs(np.fft.rfft(ir, size)) ** 2).sum(axis=0)
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    return np.array(
        [10 * np.log10(power[(hz >= c / 2**0.5) & (hz < c * 2**0.5)].sum()) for c in OCTAVES_HZ]
    )


def uneven() -> Floats:
    """A room with an octave that stays loud for 0.7 s and falls within the next half second."""
    ir = recording(0.8, 1)
    time_s = np.arange(ir.shape[1]) / RATE_HZ
    low = np.sin(2 * np.pi * 125 * time_s) * np.sqrt(np.clip(1.2 - time_s, 0, 1))
    return (ir + 0.02 * low * (1 + 0.7 * np.sin(2 * np.pi * 3 * time_s))).astype(np.float32)


ONE_PERCENT = (
    Shape(tilt_db=0.12),
    Shape(early_late_db=0.24),
    Shape(decay=16**0.01),
    Shape(decay=16**-0.01),
    Shape(attack_s=0.005),
)


@pytest.mark.parametrize("shape", ONE_PERCENT)
@pytest.mark.parametrize(
    "ir",
    [
        recording(0.8, 1),
        recording(0.8, 1, floor_db=-40),
        recording(0.8, 1) + np.float32(0.003),
        recording(0.8, 1, seconds=0.4, floor_db=-200),
        0.1 * np.random.default_rng(4).standard_normal((1, 12000)).astype(np.float32),
        uneven(),
    ],
    ids=["room", "noisy", "offset", "cut", "gate", "uneven"],
)
def test_one_percent_of_a_control_is_a_tenth_of_a_decibel(ir: Floats, shape: Shape) -> None:
    """0.1 dB in each octave, 1 % of the length."""
    room = [(1.0, RecordedRoom(ir, RATE_HZ))]
    plain, got = (render(room, each, 1.0, noise) for each in (Shape(), shape))
    assert got.shape[1] == pytest.approx(ir.shape[1], rel=0.01)
    np.testing.assert_allclose(octave_levels(got), octave_levels(plain), atol=0.1)


@pytest.mark.parametrize("taps, silence", [(512, 0), (1024, 0), (3000, 0), (512, 20000)])
def test_cabinet_ends_where_it_ended(taps: int, silence: int) -> None:
    """No energy after the end of the file (or what was silent in it, -90 dB): it has no decay."""
    ir = cabinet(taps, silence)
    for shape in (Shape(tilt_db=0.1), Shape(tilt_db=12), Shape(decay=2), Shape(attack_s=0.05)):
        got = render([(1.0, RecordedRoom(ir, RATE_HZ))], shape, 1.0, noise)
        assert got.shape[1] <= taps + silence
        assert (got[:, taps:] ** 2).sum() <= 1e-9 * (got**2).sum()


def test_gate_ends_where_it_ended() -> None:
    ir = 0.1 * np.random.default_rng(4).standard_normal((1, 12000)).astype(np.float32)
    for shape in (Shape(decay=4), Shape(decay=0.5), Shape(attack_s=0.1), Shape(early_late_db=-6)):
        assert render([(1.0, RecordedRoom(ir, RATE_HZ))], shape, 1.0, noise).shape[1] <= 12000


def test_rumble_is_not_a_decay() -> None:
    """A steady tone of 10 Hz 30 dB below the direct sound: the octaves at decay 2 change as without
    it, within 1.5 dB."""
    ir = recording(0.8, 1)
    tone = 0.03 * np.sin(2 * np.pi * 10 * np.arange(ir.shape[1]) / RATE_HZ)
    changes = []
    for each in (ir, (ir + tone).astype(np.float32)):
        room = [(1.0, RecordedRoom(each, RATE_HZ))]
        plain, longer = (render(room, shape, 1.0, noise) for shape in (Shape(), Shape(decay=2)))
        changes.append(octave_levels(longer) - octave_levels(plain))
    changes = [change - change[4] for change in changes]
    np.testing.assert_allclose(changes[1], changes[0], atol=1.5)


def test_offset_is_not_a_decay() -> None:
    """The room at decay 2 is the same with an offset as without, within 0.2 dB in each octave; a
    small change keeps the offset."""
    ir = recording(0.8, 1)
    room, offset = (RecordedRoom(each, RATE_HZ) for each in (ir, ir + np.float32(0.01)))
    assert offset.subsonic.mean() == pytest.approx(0.01, rel=0.03)
    assert not RecordedRoom(cabinet(1024), RATE_HZ).subsonic.any()
    longer, same = (render([(1.0, r)], Shape(decay=2), 1.0, noise) for r in (room, offset))
    np.testing.assert_allclose(octave_levels(same), octave_levels(longer), atol=0.2)
    for shape in (Shape(tilt_db=0.01), Shape(size=1.01)):
        kept = render([(1.0, offset)], shape, 1.0, noise)
        assert kept[0, -9600:].mean() / np.abs(kept).max() == pytest.approx(0.01 / 1.01, rel=0.1)


@pytest.mark.parametrize("rate_hz", [8000, 48000, 192000])
@pytest.mark.parametrize("taps", [1, 2, 30, 700, 30000])
def test_extreme_controls_are_finite(taps: int, rate_hz: int) -> None:
    """Every control at its ends, and all together; no longer than the longest room."""
    ir = np.random.default_rng(taps).standard_normal((2, taps)).astype(np.float32)
    room = [(1.0, RecordedRoom(ir, rate_hz))]
    shapes = [
        Shape(decay=0.25),
        Shape(decay=4),
        Shape(attack_s=0.5),
        Shape(4, 2, 12, 12, 0.5, True),
        Shape(4, 0.5, -12, -12, 0.05),
        Shape(0.25, 2, 12, -12),
    ]
    for shape in shapes:
        made = lru_cache(lambda grid, seed: Synthesiser(rate_hz, grid, seed))
        got = render(room, shape, 4.0, made, longest_s=3.0)
        assert np.isfinite(got).all() and got.any() and got.shape[1] <= 3 * rate_hz


def test_pilot_tone_does_not_lengthen_shortened_room() -> None:
    """A decay of 0.8 s in a recording of 2 s, with a steady 16 kHz tone that fades out: at decay
    0.5 the room gets no longer."""
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    tail = np.random.default_rng(4).standard_normal((2, len(time_s))) * 10 ** (-3 * time_s / 0.8)
    tone = 0.03 * np.sin(2 * np.pi * 16000 * time_s) * np.clip((2 - time_s) / 0.1, 0, 1)
    room = RecordedRoom((0.1 * (tail + tone)).astype(np.float32), RATE_HZ, grid=recording_grid(2.0))
    noise = lru_cache(lambda grid, seed: Synthesiser(RATE_HZ, grid, seed))
    assert render([(1.0, room)], Shape(decay=0.5), 1.0, noise).shape[1] <= 2.0 * RATE_HZ
