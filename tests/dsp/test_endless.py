"""Rooms beyond the end of their map."""

from __future__ import annotations

import numpy as np
import pytest

from dsp.endless import END_DB, endless
from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid, longer
from dsp.shaping import Shape, shape_map
from dsp.synthesis import Synthesiser

RATE_HZ = 48_000


def room(t60_s: np.ndarray | float, second_s: float = 0.0, second_db: float = 0.0) -> EnergyMap:
    """One slope in each band, or a second one that begins `second_db` lower."""
    centre = DEFAULT_GRID.frame_centre_s
    rates = np.broadcast_to(60 / np.asarray(t60_s, float), (DEFAULT_GRID.bands,))
    energy = 10 ** (-rates[:, None] * centre / 10)
    if second_s:
        energy = energy + 10 ** ((second_db - 60 / second_s * centre) / 10)
    return EnergyMap((10 * np.log10(np.maximum(energy, 1e-12))).astype(np.float32))


def curve_db(ir: np.ndarray) -> np.ndarray:
    left = np.cumsum((ir.astype(float) ** 2).sum(axis=0)[::-1])[::-1]
    return np.asarray(10 * np.log10(np.maximum(left / left[0], 1e-14)))


@pytest.mark.parametrize(
    "grid", [DEFAULT_GRID, Grid(frames=40, duration_s=2.0), Grid(4, 8, 50, 900, 0.1, 0.8)]
)
def test_longer_grid_begins_like_the_grid(grid: Grid) -> None:
    long = longer(grid, 6.0)
    np.testing.assert_allclose(
        long.frame_edge_s[: grid.frames + 1], grid.frame_edge_s, rtol=1e-6, atol=1e-9
    )
    assert long.frame_edge_s[-2] < 6.0 <= long.duration_s + 1e-9
    assert longer(grid, 0.5) is grid


def test_room_that_ends_within_its_map_does_not_change() -> None:
    short = room(0.8)
    same, length_s = endless(short, 6.0)
    assert same is short
    assert length_s == pytest.approx(0.8 * 90 / 60, abs=0.1)


def test_bands_go_on_along_their_own_slopes() -> None:
    """T60 from 3 to 9 s by band, and a second slope of 8 s: each band falls at its last rate."""
    t60_s = np.linspace(3.0, 9.0, DEFAULT_GRID.bands)
    for source, wanted_s in ((room(t60_s), t60_s), (room(1.5, 8.0, -25.0), 8.0)):
        after, _ = endless(source, 60.0)
        at = after.grid.frame_centre_s
        beyond = slice(DEFAULT_GRID.frames, int(np.searchsorted(at, 6.0)))
        rate = -np.gradient(after.level_db[:, beyond], at[beyond], axis=1)
        np.testing.assert_allclose(60 / rate.mean(axis=1), wanted_s * np.ones(64), rtol=0.05)
        np.testing.assert_array_equal(after.level_db[:, : DEFAULT_GRID.frames], source.level_db)


@pytest.mark.parametrize("t60_s", [4.0, 6.0, 20.0])
@pytest.mark.parametrize("longest_s", [2.0, 6.0])
def test_room_closes_exponentially_before_the_longest_time(t60_s: float, longest_s: float) -> None:
    """The IR falls to -65 dB by its end, its first 60 % stay as they are, and nowhere is a cut: it
    falls by less than 6 dB in each 50 ms (the steepest close, from -6 to -65 dB in 0.8 s, by 4)."""
    ir = Synthesiser(RATE_HZ, longest_s=longest_s)(room(t60_s))
    curve = curve_db(ir)
    step = RATE_HZ // 20
    assert ir.shape[1] <= longest_s * RATE_HZ
    if ir.shape[1] > 0.9 * longest_s * RATE_HZ:  # not ended by itself
        before_fade = curve[: -2 * step]
        assert before_fade[-1] < END_DB + 7
        assert np.diff(before_fade[::step]).min() > -6
    levels = [
        10 * np.log10((ir[:, at : at + step].astype(float) ** 2).mean())
        for at in (int(0.1 * RATE_HZ), int(0.5 * longest_s * RATE_HZ))
    ]
    assert levels[0] - levels[1] == pytest.approx(60 * (0.5 * longest_s - 0.1) / t60_s, abs=1.5)


def test_shaped_room_closes_too() -> None:
    """`decay` 4 of a room of 5 s."""
    shaped = shape_map(room(5.0), Shape(decay=4.0), 6.0)
    curve = curve_db(Synthesiser(RATE_HZ, longest_s=6.0)(shaped))
    assert len(curve) == pytest.approx(6.0 * RATE_HZ, rel=0.02)
    assert curve[-RATE_HZ // 10] < END_DB + 7
