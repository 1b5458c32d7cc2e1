"""How the bands of a room fall, in C: compared with NumPy (tests/reference/shaping.py)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import shaping as reference

from dsp import _engine, shaping
from dsp.energymap import DEFAULT_GRID, Grid, longer
from dsp.recorded import recording_grid
from dsp.shaping import blur_matrix, slope_matrix
from models import generator
from models.kinds import KINDS

Floats = NDArray[np.float32]
GRIDS = (DEFAULT_GRID, longer(DEFAULT_GRID, 10.0), recording_grid(9), Grid(bands=9, frames=23))


def falls_of(grid: Grid) -> _engine.Falls:
    return _engine.Falls(*shaping.tables_of(grid))


def found(grid: Grid, level: Floats, direct: Floats | None, decay: float) -> tuple[Floats, Floats]:
    fall, share = np.empty((grid.bands, grid.frames + 1), np.float32), np.empty(grid.bands, "f4")
    falls_of(grid)(level, direct, decay, fall, share)
    return fall, share


def agree(grid: Grid, level: Floats, direct: Floats | None, decay: float) -> None:
    """The falls within 0.02 dB or 0.01 %, and what they add to the map; where a round of the search
    ends is a matter of rounding, so of the shares 2 % may differ."""
    fall, share = found(grid, level, direct, decay)
    expected = reference.smooth_fall(level, grid)
    np.testing.assert_allclose(fall, expected, rtol=1e-4, atol=0.02)
    shares = reference.rate_share(level, direct, expected, decay, grid)[:, 0]
    off = np.abs(share / shares - 1)
    assert np.count_nonzero(off > 1e-3) <= 0.02 * grid.bands
    assert off.max() < 0.05


def lines_agree(grid: Grid, level: Floats) -> None:
    """Of the last frames 2 % may differ, by rounding; the lines up to the same frames, and the map
    on other grids, within 0.01 dB and 0.1 % of the rates."""
    last, expected = shaping.last_reliable(level, grid), reference.last_reliable(level, grid)
    assert np.count_nonzero(last != expected) <= 0.02 * grid.bands
    start, rate = reference.lines(level, grid, last.astype(np.intp))
    found_start, found_rate = np.empty((2, grid.bands), np.float32)
    falls_of(grid).lines(level, last, found_start, found_rate)
    np.testing.assert_allclose(found_rate, rate, rtol=1e-3)
    np.testing.assert_allclose(found_start, start, rtol=1e-3, atol=0.01)
    for target, size in ((grid, 0.5), (grid, 1.03), (grid, 2.0), (longer(grid, 12.0), 1.0)):
        if (target, size) != (grid, 1.0):
            made = shaping.on_grid(level, grid, target, size)
            expected_map = reference.stretched(level, grid, target, size, shaping.DEPTH_DB)
            np.testing.assert_allclose(made, expected_map, rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_every_kind_of_room(kind: str) -> None:
    """Also with a floor of noise and with hum in some bands."""
    rng = np.random.default_rng(5)
    for grid in GRIDS:
        for level in generator.energy_maps(generator.draw(3, 8, kind), grid)[0]:
            lines_agree(grid, level)
            noise = level.max() - 50 + rng.uniform(-1, 1, level.shape)
            lines_agree(grid, np.maximum(level, noise).astype(np.float32))
            hum = level.copy()
            hum[3:5] = level.max() - 20
            lines_agree(grid, hum)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decay", [0.25, 0.8, 1.0, 1.3, 4.0, 64.0])
def test_falls_of_every_kind_of_room(kind: str, decay: float) -> None:
    for grid in GRIDS:
        rooms = generator.energy_maps(generator.draw(2, 7, kind), grid)
        for level, direct in zip(*rooms, strict=True):
            agree(grid, level, direct, decay)
            agree(grid, level, None, decay)


def test_falls_of_odd_maps() -> None:
    """Silence after a while, levels that rise or stay, a drop of thousands of dB, one cell."""
    grid = DEFAULT_GRID
    time = np.broadcast_to(grid.frame_centre_s, (grid.bands, grid.frames))
    lonely = np.full_like(time, -120.0)
    lonely[:, 40] = 0
    for level in (
        np.where(time > 0.2, -120.0, -20 * time),
        10 * time,
        0 * time,
        -5000 * time,
        lonely,
    ):
        for decay in (0.5, 2.0):
            agree(grid, np.ascontiguousarray(level, np.float32), None, decay)


def test_levels_that_do_not_fit_are_rejected() -> None:
    grid = GRIDS[-1]
    edges, centres = (x.astype(np.float32) for x in (grid.frame_edge_s, grid.frame_centre_s))
    arrays = [edges, centres, blur_matrix(grid, 5), slope_matrix(grid)]
    for place, bad in (
        (0, edges[:-1]),
        (1, centres[:3].copy()),
        (2, np.zeros((5, 4), np.float32)),
        (2, np.zeros((24, 24), np.float32)),
        (3, slope_matrix(grid)[:-1]),
        (3, slope_matrix(grid).astype(np.float64)),
    ):
        with pytest.raises((ValueError, TypeError)):
            _engine.Falls(*arrays[:place], bad, *arrays[place + 1 :])
    falls = _engine.Falls(*arrays)
    level, direct = np.zeros((9, 23), np.float32), np.zeros(9, np.float32)
    good = [level, direct, 1.5, np.empty((9, 24), np.float32), np.empty(9, np.float32)]
    falls(*good)
    frames, beyond = np.zeros(6 * 23, np.int32), np.zeros(6 * 23, np.float32)
    last, out = np.zeros(9, np.int32), np.empty((9, 23), np.float32)
    for call, right, wrong in (
        (falls.reliable, [level, last], [(0, level[:, :-1].copy()), (1, last[:-1])]),
        (
            falls.lines,
            [level, last, direct.copy(), direct.copy()],
            [(1, last + 23), (1, last - 1), (2, direct[:-1].copy())],
        ),
        (
            falls.stretch,
            [level, direct, frames, beyond, 0.0, 300.0, out],
            [(1, direct[:-1]), (2, frames + 23), (2, frames[:-1]), (3, beyond[:-1]), (6, out[1:])],
        ),
    ):
        call(*right)  # type: ignore[operator]
        for place, bad in wrong:
            with pytest.raises((ValueError, TypeError)):
                call(*right[:place], bad, *right[place + 1 :])  # type: ignore[operator]
    for place, bad in (
        (0, level[:, :-1].copy()),
        (0, level[:8]),
        (1, direct[:-1]),
        (2, 0.0),
        (2, float("nan")),
        (3, np.empty((9, 23), np.float32)),
        (4, np.empty(8, np.float32)),
    ):
        with pytest.raises((ValueError, TypeError)):
            falls(*good[:place], bad, *good[place + 1 :])
