"""Rooms as energy maps: log energy over ERB-spaced bands and time frames that lengthen as the sound
decays.

A map has no sampling rate and no phases: `dsp.synthesis` turns it into an impulse response at any
rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsp.taps import Taps

BANDS = 64
FRAMES = 128
FLOOR_DB = -120.0
"""Cells this far below a map's loudest cell are silence."""


def hz_to_erb(hz: ArrayLike) -> NDArray[np.float64]:
    """ERB-rate (Cams) of a frequency in Hz. Glasberg & Moore 1990, eq. 4."""
    return np.asarray(21.4 * np.log10(1.0 + np.asarray(hz) / 229.0))


def erb_to_hz(erb: ArrayLike) -> NDArray[np.float64]:
    """Inverse of `hz_to_erb`."""
    return np.asarray(229.0 * (10.0 ** (np.asarray(erb) / 21.4) - 1.0))


@dataclass(frozen=True)
class Grid:
    """The cells of a map: `bands` equal steps of ERB-rate between two centres, `frames` of
    exponentially growing length.

    The first frame lasts `first_frame_s`; frame edges are `a * (exp(b * i) - 1)` with a and b such
    that the last is `duration_s`.
    """

    bands: int = BANDS
    frames: int = FRAMES
    lowest_hz: float = 30.0
    highest_hz: float = 20_000.0
    first_frame_s: float = 0.0015
    duration_s: float = 4.0

    @cached_property
    def centre_hz(self) -> NDArray[np.float64]:
        """Band centres, shape (bands,), Hz."""
        return erb_to_hz(
            np.linspace(hz_to_erb(self.lowest_hz), hz_to_erb(self.highest_hz), self.bands)
        )

    @cached_property
    def edge_hz(self) -> NDArray[np.float64]:
        """Band edges half-way (in ERB-rate) between centres, shape (bands + 1,), Hz."""
        low, high = hz_to_erb(self.lowest_hz), hz_to_erb(self.highest_hz)
        step = (high - low) / (self.bands - 1)
        return erb_to_hz(np.linspace(low - step / 2, high + step / 2, self.bands + 1))

    @cached_property
    def frame_edge_s(self) -> NDArray[np.float64]:
        """Frame edges, shape (frames + 1,), seconds; the first is 0."""
        if self.first_frame_s * self.frames >= self.duration_s:
            return np.linspace(0.0, self.duration_s, self.frames + 1)
        low, high = 1e-9, 1.0
        for _ in range(100):  # first frame / duration falls as the growth rate rises: bisect
            rate = (low + high) / 2
            if self.duration_s * np.expm1(rate) / np.expm1(rate * self.frames) > self.first_frame_s:
                low = rate
            else:
                high = rate
        return np.asarray(
            self.duration_s
            * np.expm1(rate * np.arange(self.frames + 1))
            / np.expm1(rate * self.frames)
        )

    @cached_property
    def frame_s(self) -> NDArray[np.float64]:
        """Frame lengths, shape (frames,), seconds."""
        return np.diff(self.frame_edge_s)

    @cached_property
    def frame_centre_s(self) -> NDArray[np.float64]:
        """Frame centres, shape (frames,), seconds."""
        edges = self.frame_edge_s
        return np.asarray((edges[1:] + edges[:-1]) / 2)


DEFAULT_GRID = Grid()


@lru_cache(maxsize=8)
def longer(grid: Grid, seconds: float) -> Grid:
    """The grid with more frames of the same growth, until it lasts `seconds` or a little more."""
    if seconds <= grid.duration_s:
        return grid
    edges = grid.frame_edge_s
    growth = float(np.log((edges[2] - edges[1]) / (edges[1] - edges[0])))
    if growth < 1e-6:
        frames = int(np.ceil(seconds / edges[1] - 1e-6))
        return replace(grid, frames=frames, duration_s=float(frames * edges[1]))
    first = edges[1] / np.expm1(growth)
    frames = int(np.ceil(np.log1p(seconds / first) / growth - 1e-6))
    return replace(grid, frames=frames, duration_s=float(first * np.expm1(growth * frames)))


@dataclass(frozen=True)
class EnergyMap:
    """A room.

    `level_db`: float32 (bands, frames), 10 log10 of the energy per second of the IR in each cell;
    absolute level is free (the synthesiser normalises loudness). `direct_db`: energy of the direct
    sound, an impulse at t = 0 not contained in `level_db`, float32 (bands,), 10 log10 of energy,
    with the same reference; None if the room has none (plates, swells). `taps`: the reflections in
    which a part of the energy in `level_db` arrives; None: none.
    """

    level_db: NDArray[np.float32]
    grid: Grid = DEFAULT_GRID
    direct_db: NDArray[np.float32] | None = None
    taps: Taps | None = None

    def __post_init__(self) -> None:
        if self.level_db.shape != (self.grid.bands, self.grid.frames):
            raise ValueError(
                f"level_db has shape {self.level_db.shape}, "
                f"expected ({self.grid.bands}, {self.grid.frames})"
            )
        if not np.isfinite(self.level_db).all():
            raise ValueError("level_db has values that are not finite")
        if self.direct_db is not None and self.direct_db.shape != (self.grid.bands,):
            raise ValueError(
                f"direct_db has shape {self.direct_db.shape}, expected ({self.grid.bands},)"
            )
