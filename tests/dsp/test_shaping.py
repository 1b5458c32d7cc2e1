"""IRs of shaped maps, measured with SciPy's filters and the figures of ISO 3382-1, compared with
the definitions of the controls."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, hilbert, sosfiltfilt

from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid
from dsp.shaping import Shape, backwards, cut, shape_map
from dsp.synthesis import Synthesiser
from models.generator import room_at

RATE_HZ = 48000
MIDDLE_HZ = (500, 1000, 2000, 4000)
_synthesisers: dict[Grid, Synthesiser] = {}


def ir_of(room: EnergyMap, shape: Shape) -> NDArray[np.float64]:
    shaped = shape_map(room, shape)
    synthesise = _synthesisers.setdefault(shaped.grid, Synthesiser(RATE_HZ, shaped.grid))
    return synthesise(shaped).astype(float)


def exponential(t60_s: float) -> EnergyMap:
    """White noise that decays by 60 dB in t60_s, averaged over each frame; floor at -120 dB, as in
    banks."""
    rate, edges = np.log(1e6) / t60_s, DEFAULT_GRID.frame_edge_s
    frames = (np.exp(-rate * edges[:-1]) - np.exp(-rate * edges[1:])) / (rate * np.diff(edges))
    level = 10 * np.log10(np.maximum(np.diff(DEFAULT_GRID.edge_hz)[:, None] * frames, 1e-30))
    return EnergyMap(np.maximum(level, level.max() - 120).astype(np.float32))


def octave(sound: NDArray[np.float64], hz: float) -> NDArray[np.float64]:
    sos = butter(3, [hz / np.sqrt(2), hz * np.sqrt(2)], "band", fs=RATE_HZ, output="sos")
    quiet = np.zeros((len(sound), RATE_HZ // 4))
    return np.asarray(sosfiltfilt(sos, np.concatenate([quiet, sound, quiet], axis=1), padtype=None))


def t30_s(ir: NDArray[np.float64], hz: float) -> float:
    curve = 10 * np.log10(np.cumsum((octave(ir, hz) ** 2).sum(axis=0)[::-1])[::-1] + 1e-30)
    curve -= curve[0]  # only the filter rings before the onset
    part = np.flatnonzero((curve <= -5) & (curve >= -35))
    return float(-60 / np.polyfit(part / RATE_HZ, curve[part], 1)[0])


@pytest.mark.parametrize("decay", [0.25, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("t60_s", [0.6, 1.5])
def test_decay_multiplies_t30_of_exponential_decay(decay: float, t60_s: float) -> None:
    """The ratio of T30 to that at decay 1: within 8 % in each octave (noise; 15 % for a T60 of 0.15
    s), the mean within 4 %. A T60 of 6 s needs more than the map's 4 s."""
    plain, shaped = (
        ir_of(exponential(t60_s), Shape()),
        ir_of(exponential(t60_s), Shape(decay=decay)),
    )
    ratios = np.array([t30_s(shaped, hz) / t30_s(plain, hz) for hz in MIDDLE_HZ]) / decay
    assert abs(ratios - 1).max() < (0.15 if t60_s * decay < 0.2 else 0.08)
    assert abs(ratios.mean() - 1) < 0.04


@pytest.mark.parametrize("decay", [0.5, 2.0])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, -1, 1), (-0.5, 1, -1)])
def test_decay_multiplies_t30_of_rooms_with_reflections(
    decay: float, place: tuple[float, float, float]
) -> None:
    """12 % in each octave, 6 % for the mean: T30 of a decay that is not straight depends on the
    fitted line."""
    room = room_at(*place)
    plain, shaped = ir_of(room, Shape()), ir_of(room, Shape(decay=decay))
    ratios = np.array([t30_s(shaped, hz) / t30_s(plain, hz) for hz in MIDDLE_HZ]) / decay
    assert abs(ratios - 1).max() < 0.12
    assert abs(ratios.mean() - 1) < 0.06


def test_decay_keeps_gate() -> None:
    """A plateau of 0.3 s, then silence: at decay 4 the gate still closes, by 40 dB within 0.1 s."""
    level = (
        np.where(DEFAULT_GRID.frame_centre_s < 0.3, 0.0, -120.0) - 5 * DEFAULT_GRID.frame_centre_s
    )
    room = EnergyMap(
        (level + 10 * np.log10(np.diff(DEFAULT_GRID.edge_hz))[:, None]).astype(np.float32)
    )
    ir = ir_of(room, Shape(decay=4))
    open_, closed = (
        (ir[:, int(a * RATE_HZ) : int(b * RATE_HZ)] ** 2).mean()
        for a, b in ((0.1, 0.25), (0.42, 0.6))
    )
    assert 10 * np.log10(open_ / closed) > 40


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_size_scales_reflections_and_decay(size: float) -> None:
    """An echo at 80 ms, 12 dB above an exponential decay: its time scales with the size, within 4
    ms, and T30 too."""
    room = exponential(0.8)
    level = room.level_db.copy()
    level[:, np.abs(DEFAULT_GRID.frame_centre_s - 0.08).argmin()] += 12
    ir = ir_of(EnergyMap(level), Shape(size=size))
    envelope = np.convolve((ir**2).sum(axis=0), np.hanning(288), "same")
    late = slice(int(0.05 * size * RATE_HZ), int(0.3 * RATE_HZ))
    peak_s = (late.start + envelope[late].argmax()) / RATE_HZ
    assert peak_s == pytest.approx(0.08 * size, abs=0.004)
    assert t30_s(ir, 1000) / t30_s(ir_of(room, Shape()), 1000) == pytest.approx(size, rel=0.08)


@pytest.mark.parametrize("tilt_db", [-12.0, 6.0])
def test_tilt_is_a_straight_line_over_octaves(tilt_db: float) -> None:
    """SciPy's octaves, shaped minus plain: within 0.35 dB of tilt / 9.4 octaves (30 Hz to 20 kHz)
    each."""
    plain, shaped = (ir_of(exponential(1.0), Shape(tilt_db=t)) for t in (0.0, tilt_db))
    hz = np.array([125, 250, 500, 1000, 2000, 4000, 8000])
    change = [
        10 * np.log10((octave(shaped, f) ** 2).sum() / (octave(plain, f) ** 2).sum()) for f in hz
    ]
    expected = tilt_db * np.log2(hz / 1000) / np.log2(20000 / 30)
    assert abs(np.array(change) - change[3] - expected).max() < 0.35


@pytest.mark.parametrize("balance_db", [-12.0, -3.0, 6.0, 12.0])
def test_early_late_lowers_c50(balance_db: float) -> None:
    """Broadband C50 (ISO 3382-1): within 15 % or 0.3 dB; at 50 ms a frame of the map lasts 3 ms."""
    early = int(0.05 * RATE_HZ)

    def c50_db(ir: NDArray[np.float64]) -> float:
        return float(10 * np.log10((ir[:, :early] ** 2).sum() / (ir[:, early:] ** 2).sum()))

    for room in (exponential(0.7), room_at(0, 0, 0)):
        plain, shaped = (c50_db(ir_of(room, Shape(early_late_db=b))) for b in (0.0, balance_db))
        assert shaped - plain == pytest.approx(-balance_db, rel=0.15, abs=0.3)


@pytest.mark.parametrize("attack_s", [0.02, 0.1, 0.5])
def test_attack_sets_rise_time_and_keeps_decay(attack_s: float) -> None:
    """The envelope (20 ms means) crosses half of its peak's amplitude at half the attack, within 15
    % + 5 ms, and peaks at its end, within 20 % + 20 ms; T30 stays within 8 %."""
    plain, ir = ir_of(exponential(1.2), Shape()), ir_of(exponential(1.2), Shape(attack_s=attack_s))
    window = np.hanning(int(min(0.02, attack_s / 3) * RATE_HZ))
    power = (np.abs(hilbert(ir[:, : 2 * RATE_HZ])) ** 2).sum(axis=0)
    envelope = np.convolve(power, window / window.sum(), "same")
    peak = int(envelope.argmax())
    # The peak of noise is random: use the level of the decay, extrapolated to the end of the
    # attack.
    at_end = np.sqrt(np.mean(envelope[int(attack_s * RATE_HZ) :][: RATE_HZ // 20]))
    half = int(np.flatnonzero(np.sqrt(envelope[: peak + 1]) < 0.5 * at_end)[-1])
    assert half / RATE_HZ == pytest.approx(attack_s / 2, rel=0.15, abs=0.005)
    assert peak / RATE_HZ == pytest.approx(attack_s, rel=0.2, abs=0.02)
    late = int((attack_s + 0.02) * RATE_HZ)
    assert t30_s(ir[:, late:], 1000) == pytest.approx(t30_s(plain, 1000), rel=0.08)


def test_reverse_reverses_samples() -> None:
    """Sample for sample, except the silence below -60 dB and a rise of 10 ms."""
    ir = ir_of(exponential(0.5), Shape()).astype(np.float32)
    reversed_ = backwards(ir, RATE_HZ)
    back = reversed_[:, ::-1]
    np.testing.assert_array_equal(back[:, :-500], ir[:, : back.shape[1] - 500])
    assert 0.45 < back.shape[1] / RATE_HZ < 0.7
    assert np.abs(reversed_[:, 0]).max() < 1e-5 * np.abs(ir).max()


def test_cut_ends_in_silence() -> None:
    ir = np.ones((2, 48000), np.float32)
    assert cut(ir, 48000, RATE_HZ) is ir
    short = cut(ir, 24000, RATE_HZ)
    assert short.shape == (2, 24000)
    assert np.abs(np.diff(short[0])).max() < 1e-3 and short[0, -1] < 1e-3


def test_default_shape_changes_nothing() -> None:
    room = room_at(0.3, -1, 0.5)
    assert shape_map(room, Shape()) is room
    assert shape_map(room, Shape(reverse=True)) is room


def test_small_change_of_control_is_small_change_of_map() -> None:
    """No cell of the room's upper 60 dB jumps when a control moves off its default: at most 0.6 dB
    for a thousandth of its range."""
    room = room_at(0, 0, 0)
    heard = room.level_db > room.level_db.max() - 60
    for shape in (
        Shape(decay=1.003),
        Shape(decay=0.997),
        Shape(size=1.0015),
        Shape(tilt_db=0.024),
        Shape(attack_s=1e-4),
    ):
        shaped = shape_map(room, shape)
        assert shaped.grid == room.grid
        assert np.abs(shaped.level_db - room.level_db)[heard].max() < 0.6


@pytest.mark.parametrize("decay", [0.25, 4.0])
@pytest.mark.parametrize("size", [0.5, 2.0])
@pytest.mark.parametrize("attack_s", [0.0, 0.5])
def test_extreme_shapes_give_valid_irs(decay: float, size: float, attack_s: float) -> None:
    """Finite, not silent and not too long; also for flat, empty and swelling maps."""
    grid = DEFAULT_GRID
    falling = np.repeat(-60 * grid.frame_centre_s[None], grid.bands, axis=0)
    maps = [
        falling,
        np.zeros_like(falling),
        np.full_like(falling, -120),
        -falling / 2,
        np.where(falling < -9, -120, 0),
    ]
    for level in maps:
        shape = Shape(decay, size, 12, -12, attack_s)
        shaped = shape_map(EnergyMap(level.astype(np.float32)), shape, longest_s=6.0)
        assert np.isfinite(shaped.level_db).all()
        assert shaped.grid.frame_edge_s[-2] < 6.0
