"""The synthesis in C, compared with float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp import _engine
from dsp.bands import Curves, smooth_number
from dsp.energymap import DEFAULT_GRID

Floats = NDArray[np.float32]
NODES = 40


@dataclass(frozen=True)
class Band:
    curve: int
    first: int
    carrier: Floats  # (samples, 4): middle re, side re, middle im, side im
    window: Floats
    node: NDArray[np.int32]
    share: Floats

    @property
    def row(self) -> tuple[int, int, Floats, Floats, NDArray[np.int32], Floats]:
        return self.curve, self.first, self.carrier, self.window, self.node, self.share


def drawn(rng: np.random.Generator, frames: int, curves: int) -> Iterator[Band]:
    for _ in range(6):
        size = smooth_number(int(rng.integers(2, frames // 8 + 3)))
        at = np.abs(np.linspace(-3, NODES + 2, size, endpoint=False))  # mirrored; beyond the curve
        node = at.astype(np.int32)
        yield Band(
            int(rng.integers(curves)),
            int(rng.integers(0, frames // 2 + 2 - size)),
            rng.standard_normal((size, 4)).astype(np.float32),
            rng.uniform(0, 1, size).astype(np.float32),
            node,
            (at - node).astype(np.float32),
        )


def exact(
    bands: list[Band], frames: int, curves: Floats, middle: Floats, side: Floats
) -> NDArray[np.float64]:
    spectrum = np.zeros((2, frames // 2 + 1), complex)
    for band in bands:
        curve = curves[band.curve].astype(float)
        gain = np.interp(band.node + band.share.astype(float), np.arange(NODES), curve)
        carrier = band.carrier[:, :2].T + 1j * band.carrier[:, 2:].T.astype(float)
        bins = np.fft.fft(gain * carrier) * band.window
        spectrum[:, band.first : band.first + len(band.window)] += bins
    both = spectrum * np.stack([middle, side])
    return np.fft.irfft([both.sum(axis=0), both[0] - both[1]], frames)


@pytest.mark.parametrize("seed", range(24))
def test_samples_equal_float64(seed: int) -> None:
    """Drawn lengths, bands, curves and gains; -120 dB rms."""
    rng = np.random.default_rng([seed, 21])
    frames = 2 * smooth_number(int(rng.choice([8, 100, 2000, 30_000]) * rng.uniform(1, 4)))
    curves = np.exp(rng.uniform(-6, 0, (3, NODES))).astype(np.float32)
    curves[:, -1] = 0  # what is beyond the curve is silent
    curves[2] = 1e-9  # unheard: below -122 dB of the others
    middle, side = rng.uniform(-1, 1, (2, frames // 2 + 1)).astype(np.float32)
    bands = list(drawn(rng, frames, len(curves)))
    bands[0] = Band(0, *bands[0].row[1:])
    out = np.empty((2, frames), np.float32)
    synthesis = _engine.Synthesis(frames, tuple(band.row for band in bands))
    expected = exact(bands, frames, curves, middle, side)
    for taps in (frames, frames // 3, 0):
        out = np.empty((2, taps), np.float32)
        synthesis(curves, middle, side, out)
        error = out - expected[:, :taps]
        assert np.sqrt((error**2).sum()) <= 1e-6 * np.sqrt((expected**2).sum())


@pytest.mark.parametrize("seed", range(4))
def test_curves_have_the_energy_of_the_map(seed: int) -> None:
    """As with NumPy, to 0.001 dB; also steep edges, and silence."""
    rng = np.random.default_rng([seed, 22])
    grid = replace(DEFAULT_GRID, frames=int(rng.integers(20, 200)))
    curves = Curves(grid)
    level = -np.cumsum(rng.uniform(0, 3, (9, grid.frames)), axis=1).astype(np.float32)
    level[:, 7] += rng.uniform(-60, 60, 9).astype(np.float32)
    level[3], level[4, 11:] = -320, -500
    points = level.copy()
    for _ in range(2):
        power = 10 ** (curves.join(points).astype(float) / 10)
        mean = power.reshape(*level.shape, -1).mean(axis=2)
        points += (level - 10 * np.log10(np.maximum(mean, 1e-30))).astype(np.float32)
        points = np.clip(points, level - 20, level + 20)
    expected = curves.join(points)
    made = np.empty(expected.shape, np.float32)
    _engine.curves(level, curves.after, curves.share, made)
    np.testing.assert_allclose(20 * np.log10(made), expected, rtol=0, atol=1e-3)


def test_curves_that_do_not_fit_are_rejected() -> None:
    level, out = np.zeros((2, 5), np.float32), np.empty((2, 20), np.float32)
    after, share = np.ones(20, np.int32), np.zeros(20, np.float32)
    good = [level, after, share, out]
    _engine.curves(*good)
    for place, bad in (
        (0, level[:, :1].copy()),
        (0, level.astype(float)),
        (1, after - 1),
        (1, after + 4),
        (1, after[:-1]),
        (1, after.astype(np.int64)),
        (2, share[:-1]),
        (3, out[:1]),
        (3, out[:, :-1].copy()),
    ):
        with pytest.raises((ValueError, TypeError)):
            _engine.curves(*good[:place], bad, *good[place + 1 :])


def test_arrays_that_do_not_fit_are_rejected() -> None:
    rng = np.random.default_rng(1)
    frames, curves = 2000, np.ones((1, NODES), np.float32)
    band = next(drawn(rng, frames, 1))
    gains = np.ones(frames // 2 + 1, np.float32)
    out = np.empty((2, frames), np.float32)
    for place, value in (
        (0, -1),
        (1, -1),
        (1, frames),
        (2, band.carrier[:-1]),
        (2, band.carrier[:, :2].copy()),
        (3, band.window[:-1]),
        (4, band.node[:-1]),
        (4, -1 - band.node),
        (4, band.node.astype(np.int64)),
        (4, band.share),
        (5, band.node),
    ):
        row = (*band.row[:place], value, *band.row[place + 1 :])
        with pytest.raises((ValueError, TypeError)):
            _engine.Synthesis(frames, (row,))  # type: ignore[arg-type]
    for count in (0, 2, 14, 2001):  # not even, or with a factor of 7
        with pytest.raises(ValueError, match="factors"):
            _engine.Synthesis(count, ())
    synthesis = _engine.Synthesis(frames, (band.row,))
    good = [curves, gains, gains, out]
    synthesis(*good)
    for place, bad in (
        (0, curves[:0]),
        (0, curves[:, :1].copy()),
        (1, gains[:-1]),
        (2, gains[:-1]),
        (3, out[:1]),
        (3, np.empty((2, frames + 1), np.float32)),
    ):
        with pytest.raises(ValueError, match="fit"):
            synthesis(*good[:place], bad, *good[place + 1 :])
