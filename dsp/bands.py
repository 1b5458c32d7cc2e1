"""A spectrum in bands: each has its part of the bins, a carrier at its own rate, and a curve of
energy over time. `dsp.recorded` joins them here, `dsp.synthesis` in C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import Grid, hz_to_erb

Floats = NDArray[np.float32]

WIDE_BELOW_HZ = 500.0
"""Bands with lower centres are filtered before their energy curve, and have wide windows after it.
Those above are wide themselves."""
LOWEST_HZ = 10.0
"""Below this an IR rolls off."""
FFT_IN_PLACE = int(np.__version__.split(".")[0]) >= 2
"""32-bit boards have NumPy 1, which tflite-runtime needs."""
UNHEARD_DB = -130.0
"""Parts of a band this far below the loudest part of the room are omitted."""
NODES = 4
"""Points of an energy curve in each frame of the map."""


def smooth_number(at_least: int, *, even: bool = False) -> int:
    """The smallest number >= `at_least` with the factors 2, 3 and 5 only: fast to transform."""
    best = 1 << max(1, (at_least - 1).bit_length())
    five = 1
    while five < best:
        three = five
        while three < best:
            n = three
            while n < at_least or (even and n % 2):
                n *= 2
            best = min(best, n)
            three *= 3
        five *= 5
    return best


@dataclass(frozen=True)
class Bands:
    """Bands whose carriers have the same number of samples: `gain * carriers`, transformed and
    windowed, is their spectrum."""

    bands: NDArray[np.intp]
    first_bin: NDArray[np.intp]
    window: Floats  # (bands, samples)
    carriers: NDArray[
        np.complex64
    ]  # (channels, bands, samples); a square magnitude of 1 is an energy of 1 per second
    node: NDArray[np.intp]  # (samples,): the curve's node before each sample
    share: Floats  # (samples,): how far each lies between that node and the next

    def until(self, node: int) -> int:
        """Number of samples up to the end of a node."""
        onset = int(self.node.argmin())
        return onset + int(np.searchsorted(self.node[onset:], node, "right"))


class Curves:
    """Piecewise linear curves over time on a grid: NODES points in each frame."""

    def __init__(self, grid: Grid) -> None:
        quarters = (np.arange(NODES) + 0.5) / NODES
        self.time_s = np.asarray(
            (grid.frame_edge_s[:-1, None] + grid.frame_s[:, None] * quarters).ravel()
        )
        at = np.searchsorted(grid.frame_centre_s, self.time_s)
        self.after = np.clip(at, 1, grid.frames - 1).astype(np.int32)
        """For each node the frame whose centre comes next, and how far it lies between that before
        and it (`share`)."""
        before = grid.frame_centre_s[self.after - 1]
        share = (self.time_s - before) / (grid.frame_centre_s[self.after] - before)
        self.share = np.clip(share, 0, 1).astype(
            np.float32
        )  # level before the first centre and after the last

    def join(self, points: Floats) -> Floats:
        """The values (bands, frames) at the frame centres, interpolated linearly at the nodes."""
        low = points[:, self.after - 1]
        return np.asarray(low + self.share * (points[:, self.after] - low))

    def place(
        self, samples: int, seconds: float, start_s: float = 0.0, *, mirrored: bool = False
    ) -> tuple[NDArray[np.intp], Floats]:
        """Node and share (see Bands) of `samples` that cover `seconds` from `start_s` on; beyond
        the curve its end values hold. `mirrored`: before 0 the curve runs backwards."""
        at = start_s + np.arange(samples) * (seconds / samples)
        at = np.abs(at) if mirrored else at
        node = np.clip(np.searchsorted(self.time_s, at) - 1, 0, len(self.time_s) - 2)
        share = np.clip(
            (at - self.time_s[node]) / (self.time_s[node + 1] - self.time_s[node]), 0, 1
        )
        return node, share.astype(np.float32)


def amplitude(db: Floats) -> Floats:
    """10 ** (db / 20)."""
    return np.asarray(np.exp2(db * np.float32(np.log2(10) / 20)), np.float32)


@dataclass(frozen=True)
class BandWindow:
    """A band's place in a spectrum: `size` bins from `first` on, weighted by `window`."""

    band: int
    first: int
    size: int
    window: NDArray[np.float64]
    own: NDArray[np.float64]
    """What a carrier is filtered by beforehand; `own * window` of all bands adds up to 1."""
    scale: float
    """The window times `scale` gives a carrier of unit magnitude an energy of 1 per second in the
    band."""


def slope(away: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1 at 0 to 0 at 1, and on both sides: the slope of Meyer's wavelet, power-complementary
    and smooth, so that loud parts do not leak far in time."""
    x = np.minimum(np.abs(away), 1)
    x = (x * x) ** 2 * (35 + x * (-84 + x * (70 - 20 * x)))
    return np.asarray(np.cos(np.pi / 2 * x) * (x < 1))


def band_windows(
    rate_hz: int, grid: Grid, frames: int, *, whole: bool, steps: int = 1
) -> list[BandWindow]:
    """The bands of `frames` samples. `whole`: the outermost bands include everything beyond them,
    so that the squares add up to 1 everywhere; otherwise they roll off, and those below
    WIDE_BELOW_HZ have wide windows. `steps`: a divisor of `frames`; for the same `frames / steps` a
    band has the same rate, size / frames, and begins at the same frequency."""
    bin_hz = np.fft.rfftfreq(frames, 1 / rate_hz).astype(np.float64)
    step_hz = np.fft.rfftfreq(frames // steps, 1 / rate_hz).astype(np.float64)
    centre = hz_to_erb(grid.centre_hz)
    step = centre[1] - centre[0]
    # Once for all bands: on a small board these logarithms delay the first room.
    bin_erb, step_erb = hz_to_erb(bin_hz), hz_to_erb(step_hz)
    # With several steps the Nyquist bin is not a multiple; the synthesiser needs smooth numbers.
    end = len(step_hz) - (steps > 1 or not whole)
    used = [b for b in range(grid.bands) if grid.centre_hz[b] <= 0.49 * rate_hz]

    def distance(erb: NDArray[np.float64], band: int) -> NDArray[np.float64]:
        away = np.asarray((erb - centre[band]) / step)
        if whole:
            away[(away < 0) & (band == 0) | (away > 0) & (band == used[-1])] = 0
        return away

    windows = []
    for band in used:
        reach = 1 if whole or grid.centre_hz[band] >= WIDE_BELOW_HZ else 2
        inside = np.flatnonzero(np.abs(distance(step_erb, band)) < reach)
        if not len(inside):
            continue
        size = min(
            smooth_number(len(inside) + 2), end
        )  # includes the bins up to the next coarser ones, at both ends
        first = max(0, min(int(inside[0]) - 1, end - size))
        bins = slice(first * steps, (first + size) * steps)
        away = distance(bin_erb[bins], band)
        own = window = slope(away)
        # A band's energy per second spreads over its window: |X|^2 = frames * energy / (2 width)
        # for a real signal.
        width_hz = float(np.sum(own**2)) * rate_hz / frames
        if reach == 2:
            # Down to 0 Hz smoothly: a hard edge would ring.
            low = np.clip(bin_hz[bins] / LOWEST_HZ, 0, 1)
            own = own**2
            window = slope(np.maximum(np.abs(away) - 1, 0)) * (low * low * (3 - 2 * low))
        scale = float(np.sqrt(frames / (2 * size * steps * width_hz)))
        windows.append(BandWindow(band, first * steps, size * steps, window, own, scale))
    return windows


def grouped(
    windows: list[BandWindow],
    carriers: list[NDArray[np.complex64]],
    place: Callable[[int], tuple[NDArray[np.intp], Floats]],
) -> list[Bands]:
    """The bands with their carriers (channels, samples), grouped by size. `place`: see
    `Curves.place`, for a size."""
    groups = []
    for size in sorted({w.size for w in windows}):
        rows = [i for i, w in enumerate(windows) if w.size == size]
        groups.append(
            Bands(
                np.array([windows[i].band for i in rows]),
                np.array([windows[i].first for i in rows]),
                np.stack([windows[i].window * windows[i].scale for i in rows]).astype(np.float32),
                carriers[rows[0]][:, None]
                if len(rows) == 1
                else np.stack([carriers[i] for i in rows], axis=1),
                *place(size),
            )
        )
    return groups


def spectra(groups: list[Bands], curves: Floats, bins: int) -> NDArray[np.complex64]:
    """The sum of the bands' spectra, carriers times amplitude curves (bands, nodes): (channels,
    bins). The curves may end before the carriers."""
    result = np.zeros((groups[0].carriers.shape[0], bins), np.complex64)
    slopes = np.diff(curves, axis=1)
    # Most bands decay long before the room's end.
    heard = curves[:, :-1] > curves.max() * np.float32(10 ** (UNHEARD_DB / 20))
    last = slopes.shape[1] - 1 - heard[:, ::-1].argmax(axis=1)
    for group in groups:
        used = group.until(int(last[group.bands].max()))
        node = group.node[:used]
        gain = slopes[group.bands].take(node, axis=1)
        gain *= group.share[:used]
        gain += curves[group.bands].take(node, axis=1)
        # In place if possible: at these sizes new memory costs as much as the arithmetic.
        bands = np.zeros(group.carriers.shape, np.complex64)
        np.multiply(gain, group.carriers[:, :, :used], out=bands[:, :, :used])
        if FFT_IN_PLACE:
            np.fft.fft(bands, axis=2, out=bands)  # type: ignore[arg-type, unused-ignore]  # stubs
        else:
            bands[:] = np.fft.fft(bands, axis=2)
        bands *= group.window
        size = group.window.shape[1]
        for row, first in enumerate(group.first_bin):
            result[:, first : first + size] += bands[:, row]
    return result
