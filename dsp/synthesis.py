"""Energy map -> stereo impulse response at the engine's own rate.

Each band of the map has a carrier: complex noise of unit magnitude and random phase at the band's own (critical) sampling rate. It
is as flat as can be: multiplied by the square root of the band's energy curve it has exactly the energy that the map asks for in
each frame. The bands' spectra are laid side by side with power-complementary windows, and one inverse FFT gives the samples. No
frame, no hop: nothing buzzes, and any rate comes out of the same map without a resampler.

The phases are fixed by a seed, so that a room is the same room each time, and a step from room to room moves magnitudes only.
NumPy only; the control process and the renderer call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid, hz_to_erb

Floats = NDArray[np.float32]

IR_ENERGY = 0.5
"""Energy (sum of squares) of an IR, mean of both channels: -3 dB. White noise comes out 3 dB softer than it went in."""
PEAK_BOUND = 0.9
"""No sample of an IR is larger."""
FAITHFUL_PEAK = 10 ** (-12 / 20)
"""The reference plug-in's rule: each IR is scaled to this peak."""
SILENCE_DB = -90.0
"""An IR ends where less than this is left of its energy."""
EAR_DISTANCE_M = 0.17
SPEED_OF_SOUND_M_S = 343.0
LENGTHS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
GUARD_S = 0.05
"""Room behind an IR for what the lowest bands spread before their onset (it wraps around), which is cut off."""
NODES = 4
"""Points of an energy curve in each frame of the map."""


def _smooth_number(at_least: int, *, even: bool = False) -> int:
    """The smallest number of factors 2, 3 and 5 from `at_least` on: quick to transform."""
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
class _Group:
    """Bands whose carriers have the same number of samples."""

    bands: NDArray[np.intp]
    first_bin: NDArray[np.intp]
    window: Floats  # (bands, samples): power-complementary, scaled to the map's unit
    carriers: NDArray[np.complex64]  # (2, bands, samples)
    node: NDArray[np.intp]  # (samples,): the curve's node before each sample
    share: Floats  # (samples,): how far each lies between that node and the next


@dataclass(frozen=True)
class _Bench:
    """All that is fixed for IRs of up to one length."""

    frames: int
    groups: list[_Group]
    bin_hz: NDArray[np.float64]


def _node_times(grid: Grid) -> NDArray[np.float64]:
    """Middles of the quarters of all frames, seconds."""
    quarters = (np.arange(NODES) + 0.5) / NODES
    return np.asarray((grid.frame_edge_s[:-1, None] + grid.frame_s[:, None] * quarters).ravel())


def _build_bench(rate_hz: int, grid: Grid, length_s: float, seed: int) -> _Bench:
    frames = _smooth_number(int((length_s + GUARD_S) * rate_hz), even=True)
    bin_hz = np.fft.rfftfreq(frames, 1 / rate_hz).astype(np.float64)
    erb, centre = hz_to_erb(bin_hz), hz_to_erb(grid.centre_hz)
    step = centre[1] - centre[0]
    times = _node_times(grid)
    by_size: dict[int, list[tuple[int, int, Floats, NDArray[np.complex64]]]] = {}
    for band in range(grid.bands):
        inside = np.flatnonzero(np.abs(erb - centre[band]) < step)
        if grid.centre_hz[band] > 0.49 * rate_hz or not len(inside):
            continue
        size = min(_smooth_number(len(inside) + 2), len(bin_hz))
        first = int(min(inside[0], len(bin_hz) - size))
        distance = (erb[first : first + size] - centre[band]) / step
        window = np.where(np.abs(distance) < 1, np.cos(np.pi / 2 * distance), 0)
        if band == 0:  # nothing lies below the lowest band: it keeps its full height down to a second-order roll-off
            window = np.where(distance < 0, 1 / (1 + (0.3 * distance) ** 2), window)
            window[bin_hz[first : first + size] < 5] = 0
        # A band's energy per second is spread evenly over its width: |X|^2 = frames * energy / (2 width) for a real signal.
        width_hz = grid.edge_hz[band + 1] - grid.edge_hz[band]
        window *= np.sqrt(frames / (2 * size * width_hz))
        phases = np.random.default_rng([seed, band]).random((2, size), np.float32)
        carriers = np.exp(2j * np.pi * phases).astype(np.complex64)
        by_size.setdefault(size, []).append((band, first, window.astype(np.float32), carriers))
    groups = []
    for size, rows in sorted(by_size.items()):
        at = np.arange(size) * (frames / rate_hz / size)
        node = np.clip(np.searchsorted(times, at) - 1, 0, len(times) - 2)
        share = np.clip((at - times[node]) / (times[node + 1] - times[node]), 0, 1)
        groups.append(
            _Group(
                bands=np.array([row[0] for row in rows]),
                first_bin=np.array([row[1] for row in rows]),
                window=np.stack([row[2] for row in rows]),
                carriers=np.stack([row[3] for row in rows], axis=1),
                node=node,
                share=share.astype(np.float32),
            )
        )
    return _Bench(frames, groups, bin_hz)


class Synthesiser:
    """Makes IRs from maps on one grid at one rate. Holds its carriers (some MB); not for use by two threads at once."""

    def __init__(self, rate_hz: int, grid: Grid = DEFAULT_GRID, seed: int = 1) -> None:
        """`rate_hz`: 8 000 .. 192 000. Bands above its Nyquist frequency are left out."""
        if not 8000 <= rate_hz <= 192000:
            raise ValueError(f"rate_hz = {rate_hz}: from 8000 to 192000")
        self.rate_hz, self.grid = rate_hz, grid
        self._lengths_s = [s for s in LENGTHS_S if s < grid.duration_s] + [grid.duration_s]
        self._bench = lru_cache(maxsize=None)(lambda length_s: _build_bench(rate_hz, grid, length_s, seed))
        edges = grid.frame_edge_s
        nodes = _node_times(grid)
        at = np.searchsorted(grid.frame_centre_s, nodes)
        self._after = np.clip(at, 1, grid.frames - 1)
        before = grid.frame_centre_s[self._after - 1]
        # Before the first frame's centre and after the last one's the nearest slope goes on.
        self._share = ((nodes - before) / (grid.frame_centre_s[self._after] - before)).astype(np.float32)
        self._share[nodes < grid.frame_centre_s[0]] = 0
        self._frame_s = np.diff(edges).astype(np.float32)

    def __call__(self, room: EnergyMap, width: float = 1.0, *, faithful_level: bool = False) -> Floats:
        """The IR, float32 (2, taps), C-contiguous; taps adapt to the room's decay and end within the grid's duration.

        `width` -4 .. 4: 0 is mono, 1 the correlation of a diffuse field at two ears, beyond it less and then negative correlation;
        below 0 the sides are exchanged. Level: IR_ENERGY (or, if that would pass it, PEAK_BOUND); `faithful_level` for the
        plug-in's -12 dB peak. Raises ValueError for a map on another grid.
        """
        if room.grid != self.grid:
            raise ValueError("the map is on another grid than the synthesiser")
        curves = self._amplitudes(room.level_db)
        length_s = self._length_s(room)
        bench = self._bench(next(s for s in self._lengths_s if s >= length_s))
        middle, side = self._spectra(bench, curves)
        rho = correlation(bench.bin_hz, width).astype(np.float32)
        middle *= np.sqrt((1 + rho) / 2)
        side *= np.sqrt((1 - rho) / 2)
        taps = max(1, min(int(length_s * self.rate_hz), bench.frames))
        ir = np.empty((2, taps), np.float32)
        ir[0] = np.fft.irfft(middle + side, bench.frames)[:taps]
        ir[1] = np.fft.irfft(middle - side, bench.frames)[:taps]
        fade = min(taps // 4, int(0.05 * self.rate_hz))
        if fade:
            ir[:, -fade:] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(fade) + 1) / (fade + 1), dtype=np.float32)
        if room.direct_db is not None:
            direct = self._direct(room.direct_db)
            ir[:, : len(direct)] += direct[:taps]
        if width < 0:
            ir = np.ascontiguousarray(ir[::-1])
        if faithful_level:
            return np.asarray(ir * np.float32(FAITHFUL_PEAK / max(float(np.abs(ir).max()), 1e-20)))
        return normalise(ir)

    def _amplitudes(self, level_db: Floats) -> Floats:
        """Amplitude curves (bands, nodes) whose energy in each frame is the map's: dB are joined by straight lines, as decays are,
        and corrected for what lines do to a frame's mean."""
        points = level_db.astype(np.float32, copy=True)
        shape = (*level_db.shape, NODES)
        for _ in range(2):
            line = self._join(points)
            mean = np.exp2(line * np.float32(np.log2(10) / 10)).reshape(shape).mean(axis=2)
            points += level_db - 10 * np.log10(np.maximum(mean, 1e-30))
            np.clip(points, level_db - 20, level_db + 20, out=points)  # cliffs cannot be met exactly: do not swing
        return np.asarray(np.exp2(self._join(points) * np.float32(np.log2(10) / 20)), np.float32)

    def _join(self, points: Floats) -> Floats:
        low = points[:, self._after - 1]
        return np.asarray(low + self._share * (points[:, self._after] - low))

    def _length_s(self, room: EnergyMap) -> float:
        """When the room has decayed by SILENCE_DB of its energy, direct sound and all."""
        energy = (10 ** (room.level_db.astype(np.float64) / 10)).sum(axis=0) * self._frame_s
        left = np.cumsum(energy[::-1])[::-1]
        total = left[0] + (0 if room.direct_db is None else (10 ** (room.direct_db.astype(np.float64) / 10)).sum())
        audible = np.flatnonzero(left > total * 10 ** (SILENCE_DB / 10))
        last = audible[-1] + 1 if len(audible) else 1
        return float(max(self.grid.frame_edge_s[last], 0.02))

    def _spectra(self, bench: _Bench, curves: Floats) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        middle = np.zeros(len(bench.bin_hz), np.complex64)
        side = np.zeros(len(bench.bin_hz), np.complex64)
        for group in bench.groups:
            own = curves[group.bands]
            low = own[:, group.node]
            gain = low + group.share * (own[:, group.node + 1] - low)
            bands = np.fft.fft(gain * group.carriers, axis=2)
            bands *= group.window
            size = bands.shape[2]
            for row, first in enumerate(group.first_bin):
                middle[first : first + size] += bands[0, row]
                side[first : first + size] += bands[1, row]
        return middle, side

    def _direct(self, direct_db: Floats) -> Floats:
        """The direct sound: a minimum-phase pulse (Oppenheim & Schafer, cepstral method) with the bands' energies."""
        size = _smooth_number(int(0.02 * self.rate_hz), even=True)
        hz = np.fft.rfftfreq(size, 1 / self.rate_hz)
        density_db = direct_db - 10 * np.log10(np.diff(self.grid.edge_hz) * 2 / self.rate_hz)
        erb = hz_to_erb(np.minimum(hz, self.grid.highest_hz))
        level_db = np.interp(erb, hz_to_erb(self.grid.centre_hz), density_db)
        cepstrum = np.fft.irfft(level_db * (np.log(10) / 20), size)
        cepstrum[1 : size // 2] *= 2
        cepstrum[size // 2 + 1 :] = 0
        pulse = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: size // 2]
        return np.asarray(pulse * np.hanning(size)[size // 2 :], np.float32)


def correlation(hz: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Correlation of left and right at each frequency, -1 .. 1, for a width of -4 .. 4.

    Width 1 is a diffuse field at two points a head apart, |sin(k d) / (k d)| with k = 2 pi f / c (Cook et al. 1955); from 0 to 1 the
    way there from mono, from 1 to 4 the way on to -0.6.
    """
    natural = np.abs(np.sinc(2 * hz * EAR_DISTANCE_M / SPEED_OF_SOUND_M_S))
    w = abs(width)
    if w <= 1:
        return np.asarray(1 + w * (natural - 1))
    return np.asarray(natural - (min(w, 4) - 1) / 3 * (natural + 0.6))


def normalise(ir: Floats) -> Floats:
    """The IR (channels, taps) at the level of every room: IR_ENERGY in the mean of its outputs, no sample above PEAK_BOUND.

    A four-channel IR has two paths to each output. Raises ValueError for an IR without energy.
    """
    energy = float(np.einsum("ct,ct->", ir, ir, dtype=np.float64)) / min(len(ir), 2)
    if not energy > 0:
        raise ValueError("the IR is silent: it has no energy to normalise")
    peak = float(np.abs(ir).max())
    gain = min(np.sqrt(IR_ENERGY / energy), PEAK_BOUND / peak)
    return np.ascontiguousarray(ir * np.float32(gain), np.float32)
