"""Energy map -> stereo impulse response at the engine's own rate.

Each band of the map has a carrier: complex noise of unit magnitude and random phase at the band's
own (critical) sampling rate. The carriers are flat: multiplied by the square root of the band's
energy curve they have the map's energy in each frame. Power-complementary windows join the bands'
spectra, and one inverse FFT gives the samples. There are no frames or hops that could buzz, and the
same map gives an IR at any rate without a resampler.

A seed fixes the phases, so a room is the same each time, and a step from room to room changes
magnitudes only: carriers of shorter rooms are prefixes of those of longer ones. NumPy only; the
control process and the renderer call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid, hz_to_erb
from dsp.errors import InvalidValue
from dsp.flat import Carrier, flatten
from dsp.recent import Recent

Floats = NDArray[np.float32]

IR_ENERGY = 0.5
"""Energy (sum of squares) of an IR, mean of both channels: it makes white noise 3 dB softer."""
PEAK_BOUND = 0.9
"""Largest sample of an IR."""
FAITHFUL_PEAK = 10 ** (-12 / 20)
"""The reference plug-in's rule: each IR is scaled to this peak."""
SILENCE_DB = -90.0
"""An IR ends where the remaining energy falls below this."""
EAR_DISTANCE_M = 0.17
SPEED_OF_SOUND_M_S = 343.0
STEP_S = 0.27
"""Lengths of IRs are rounded up to a multiple of about STEP_S, including GUARD_S. A band has the
same rate in all of them."""
WORKSPACES = 16
"""Number of cached lengths: all of a grid of 4 s."""
LARGEST_FACTOR = 5
"""The largest prime factor of a number of steps: fast to transform, and few lengths, which take
memory."""
GUARD_S = 0.05
"""Space after an IR for the lowest bands' energy before the onset, which wraps around; cut off."""
LOWEST_HZ = 5.0
"""Lowest frequency of an IR."""
FFT_IN_PLACE = int(np.__version__.split(".")[0]) >= 2
"""32-bit boards have NumPy 1, which tflite-runtime needs."""
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


class Curves:
    """Piecewise linear curves over time on a grid: NODES points in each frame."""

    def __init__(self, grid: Grid) -> None:
        quarters = (np.arange(NODES) + 0.5) / NODES
        self.time_s = np.asarray(
            (grid.frame_edge_s[:-1, None] + grid.frame_s[:, None] * quarters).ravel()
        )
        at = np.searchsorted(grid.frame_centre_s, self.time_s)
        self._after = np.clip(at, 1, grid.frames - 1)
        before = grid.frame_centre_s[self._after - 1]
        share = (self.time_s - before) / (grid.frame_centre_s[self._after] - before)
        self._share = np.clip(share, 0, 1).astype(
            np.float32
        )  # level before the first centre and after the last

    def join(self, points: Floats) -> Floats:
        """The values (bands, frames) at the frame centres, interpolated linearly at the nodes."""
        low = points[:, self._after - 1]
        return np.asarray(low + self._share * (points[:, self._after] - low))

    def place(
        self, samples: int, seconds: float, start_s: float = 0.0
    ) -> tuple[NDArray[np.intp], Floats]:
        """Node and share (see Bands) of `samples` that cover `seconds` from `start_s` on; beyond
        the curve its end values hold."""
        at = start_s + np.arange(samples) * (seconds / samples)
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
    """A band's place in a spectrum: `size` bins from `first` on, weighted by `window`
    (power-complementary between bands)."""

    band: int
    first: int
    size: int
    window: NDArray[np.float64]
    scale: float
    """The window times `scale` gives a carrier of unit magnitude an energy of 1 per second in the
    band."""


def band_windows(
    rate_hz: int, grid: Grid, frames: int, *, whole: bool, steps: int = 1
) -> list[BandWindow]:
    """The bands of `frames` samples. `whole`: the outermost bands include everything beyond them,
    so that the squares add up to 1 everywhere; otherwise they roll off. `steps`: a divisor of
    `frames`; for the same `frames / steps` a band has the same rate, size / frames, and begins at
    the same frequency."""
    bin_hz = np.fft.rfftfreq(frames, 1 / rate_hz).astype(np.float64)
    step_hz = np.fft.rfftfreq(frames // steps, 1 / rate_hz).astype(np.float64)
    centre = hz_to_erb(grid.centre_hz)
    step = centre[1] - centre[0]
    # Once for all bands: on a small board these logarithms delay the first room.
    bin_erb, step_erb = hz_to_erb(bin_hz), hz_to_erb(step_hz)
    end = len(step_hz) - (steps > 1)  # with several steps the Nyquist bin is not a multiple
    used = [b for b in range(grid.bands) if grid.centre_hz[b] <= 0.49 * rate_hz]

    def distance(erb: NDArray[np.float64], band: int) -> NDArray[np.float64]:
        away = (erb - centre[band]) / step
        if not whole:
            return np.asarray(away)
        # Smooth in frequency (the slope of Meyer's wavelet), so that loud parts do not leak far in
        # time.
        x = np.minimum(np.abs(away), 1)
        x = (x * x) ** 2 * (35 + x * (-84 + x * (70 - 20 * x)))
        return np.where((away < 0) & (band == 0) | (away > 0) & (band == used[-1]), 0, x)

    windows = []
    for band in used:
        away = distance(step_erb, band)
        inside = np.flatnonzero(
            (np.abs(away) < 1) | ((away < 0) & (band == 0) & (step_hz > LOWEST_HZ))
        )
        if not len(inside):
            continue
        size = min(
            smooth_number(len(inside) + 2), end
        )  # includes the bins up to the next coarser ones, at both ends
        first = max(0, min(int(inside[0]) - 1, end - size))
        bins = slice(first * steps, (first + size) * steps)
        hz = bin_hz[bins]
        away = distance(bin_erb[bins], band)
        window = np.where(np.abs(away) < 1, np.cos(np.pi / 2 * away), 0)
        if band == 0 and not whole:  # no band below: roll off smoothly, a hard edge would ring
            x = np.clip((hz - LOWEST_HZ) / (grid.centre_hz[0] - LOWEST_HZ), 0, 1)
            window = np.where(away < 0, x * x * (3 - 2 * x), window)
        # A band's energy per second spreads over its window: |X|^2 = frames * energy / (2 width)
        # for a real signal.
        width_hz = float(np.sum(window**2)) * rate_hz / frames
        scale = float(np.sqrt(frames / (2 * size * steps * width_hz)))
        windows.append(BandWindow(band, first * steps, size * steps, window, scale))
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
    bins)."""
    result = np.zeros((groups[0].carriers.shape[0], bins), np.complex64)
    slopes = np.diff(curves, axis=1)
    for group in groups:
        # In place if possible: at these sizes new memory costs as much as the arithmetic.
        gain = slopes[group.bands].take(group.node, axis=1)
        gain *= group.share
        gain += curves[group.bands].take(group.node, axis=1)
        bands = gain * group.carriers
        if FFT_IN_PLACE:
            np.fft.fft(bands, axis=2, out=bands)  # type: ignore[arg-type, unused-ignore]  # stubs
        else:
            bands[:] = np.fft.fft(bands, axis=2)
        bands *= group.window
        size = bands.shape[2]
        for row, first in enumerate(group.first_bin):
            result[:, first : first + size] += bands[:, row]
    return result


class _Carriers:
    """The noise for a rate, a grid's bands and a seed: complex64 (2, samples) for each band, as
    long as requested so far."""

    def __init__(self, rate_hz: int, grid: Grid, seed: int) -> None:
        self._rate_hz, self._grid, self._seed = rate_hz, grid, seed
        self.step_frames = smooth_number(int(STEP_S * rate_hz), even=True)
        self._first_steps = _steps_for(
            (DEFAULT_GRID.duration_s + GUARD_S) * rate_hz, self.step_frames
        )
        self._steps = 0
        self._samples: list[NDArray[np.complex64]] = []

    def windows(self, steps: int) -> list[BandWindow]:
        return band_windows(
            self._rate_hz, self._grid, steps * self.step_frames, whole=False, steps=steps
        )

    def samples(self, steps: int) -> list[NDArray[np.complex64]]:
        """The beginnings of all carriers: random phases, flattened (see `flatten`).

        They grow through the same lengths whatever was requested before, so that a room is the same
        in each process.
        """
        while steps > self._steps:
            longer = 2 * self._steps or self._first_steps
            self._samples, self._steps = self._longer(longer), longer
        return [whole[:, : whole.shape[1] // self._steps * steps] for whole in self._samples]

    def _longer(self, steps: int) -> list[NDArray[np.complex64]]:
        seconds = steps * self.step_frames / self._rate_hz
        kept_s = max(0.0, self._steps * self.step_frames / self._rate_hz - 2 * GUARD_S)
        flat = []
        for i, w in enumerate(self.windows(steps)):
            phases = np.random.default_rng([self._seed, w.band]).random((w.size, 2), np.float32).T
            samples = np.ascontiguousarray(np.exp(2j * np.pi * phases), np.complex64)
            if kept_s:
                kept = int(w.size * kept_s / seconds)
                samples[:, :kept] = self._samples[i][:, :kept]
            flat.append(Carrier(w.first, w.window, samples))
        flatten(flat, steps * self.step_frames // 2 + 1, seconds, kept_s)
        return [carrier.samples for carrier in flat]


@lru_cache(maxsize=3)
def _carriers(
    rate_hz: int, bands: int, lowest_hz: float, highest_hz: float, seed: int
) -> _Carriers:
    """Grids that differ only in duration and frames share carriers."""
    return _Carriers(rate_hz, Grid(bands=bands, lowest_hz=lowest_hz, highest_hz=highest_hz), seed)


@dataclass(frozen=True)
class _Workspace:
    """Everything that is the same for all IRs of up to one length."""

    frames: int
    groups: list[Bands]


def _steps_for(frames: float, step_frames: int) -> int:
    """Number of steps that hold these frames and are fast to transform."""
    steps = max(1, int(np.ceil(frames / step_frames)))
    while True:
        rest = steps
        for factor in range(2, LARGEST_FACTOR + 1):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return steps
        steps += 1


class Synthesiser:
    """Makes IRs from maps on one grid at one rate. Has carriers of some MB. Not thread-safe."""

    def __init__(self, rate_hz: int, grid: Grid = DEFAULT_GRID, seed: int = 1) -> None:
        """`rate_hz`: 8 000 .. 192 000. Bands above the Nyquist frequency are omitted."""
        if not 8000 <= rate_hz <= 192000:
            raise InvalidValue(f"rate_hz = {rate_hz}: must be from 8000 to 192000")
        self.rate_hz, self.grid = rate_hz, grid
        self._carriers = _carriers(rate_hz, grid.bands, grid.lowest_hz, grid.highest_hz, seed)
        self._longest = self._steps(grid.duration_s)
        self._curves = Curves(grid)
        self._places: dict[int, tuple[NDArray[np.intp], Floats]] = {}
        self._workspacees: Recent[int, _Workspace] = Recent(WORKSPACES)
        self._unprepared = sorted(
            {self._steps(grid.duration_s * part / WORKSPACES) for part in range(WORKSPACES + 1)}
        )[::-1]
        self._frame_s = grid.frame_s.astype(np.float32)

    def prepare(self) -> bool:
        """Makes the carriers, or the windows of one more length, in advance (up to 0.2 s of work).
        False when all are made."""
        if not self._unprepared:
            return False
        self._workspace(self._unprepared.pop(0))
        return True

    def _workspace(self, steps: int) -> _Workspace:
        return self._workspacees.get(steps, lambda: self._build(steps))

    def __call__(
        self, room: EnergyMap, width: float = 1.0, *, faithful_level: bool = False
    ) -> Floats:
        """The IR, float32 (2, taps), C-contiguous; the number of taps follows the room's decay, up
        to the grid's duration.

        `width` -4 .. 4: 0 is mono, 1 the correlation of a diffuse field at two ears, larger values
        lower and then negative correlation; negative values exchange the sides. Level: IR_ENERGY
        (or, if that would pass it, PEAK_BOUND); `faithful_level` for the plug-in's -12 dB peak.
        Raises ValueError for a map on another grid.
        """
        ir = self.unscaled(room, width)
        if faithful_level:
            return np.asarray(ir * np.float32(FAITHFUL_PEAK / max(float(np.abs(ir).max()), 1e-20)))
        return normalise(ir)

    def unscaled(self, room: EnergyMap, width: float = 1.0) -> Floats:
        """The IR at the map's own level."""
        if room.grid != self.grid:
            raise ValueError("the map has another grid than the synthesiser")
        curves = self._amplitudes(room.level_db)
        length_s = self._length_s(room)
        steps = self._steps(length_s)
        workspace = self._workspace(steps)
        middle, side = spectra(workspace.groups, curves, workspace.frames // 2 + 1)
        middle_gain, side_gain = _mid_side_gains(self._carriers.step_frames, self.rate_hz, width)
        middle *= np.repeat(middle_gain, steps)[: len(middle)]
        side *= np.repeat(side_gain, steps)[: len(side)]
        taps = max(1, min(int(length_s * self.rate_hz), workspace.frames))
        ir = np.empty((2, taps), np.float32)
        ir[0] = np.fft.irfft(middle + side, workspace.frames)[:taps]
        ir[1] = np.fft.irfft(middle - side, workspace.frames)[:taps]
        fade = min(taps // 4, int(0.05 * self.rate_hz))
        if fade:
            ir[:, -fade:] *= 0.5 + 0.5 * np.cos(
                np.pi * (np.arange(fade) + 1) / (fade + 1), dtype=np.float32
            )
        if room.direct_db is not None:
            direct = self._direct(room.direct_db)
            ir[:, : len(direct)] += direct[:taps]
        return np.ascontiguousarray(ir[::-1]) if width < 0 else ir

    def _steps(self, length_s: float) -> int:
        return _steps_for((length_s + GUARD_S) * self.rate_hz, self._carriers.step_frames)

    def _build(self, steps: int) -> _Workspace:
        """Each length needs its own windows; carriers and curve positions are shared (prefixes of
        the longest)."""
        longest = max(steps, self._longest)
        windows = self._carriers.windows(steps)
        samples = self._carriers.samples(longest)
        frames = steps * self._carriers.step_frames
        seconds = longest * self._carriers.step_frames / self.rate_hz

        def place(size: int) -> tuple[NDArray[np.intp], Floats]:
            if size // steps not in self._places:
                self._places[size // steps] = self._curves.place(size // steps * longest, seconds)
            node, share = self._places[size // steps]
            return node[:size], share[:size]

        return _Workspace(
            frames,
            grouped(
                windows, [x[:, : w.size] for x, w in zip(samples, windows, strict=True)], place
            ),
        )

    def _amplitudes(self, level_db: Floats) -> Floats:
        """Amplitude curves (bands, nodes) with the map's energy in each frame: linear in dB like
        decays, and corrected for the effect of the lines on a frame's mean."""
        points = level_db.astype(np.float32, copy=True)
        shape = (*level_db.shape, NODES)
        for _ in range(2):
            line = self._curves.join(points)
            mean = np.exp2(line * np.float32(np.log2(10) / 10)).reshape(shape).mean(axis=2)
            points += level_db - 10 * np.log10(np.maximum(mean, 1e-30))
            np.clip(
                points, level_db - 20, level_db + 20, out=points
            )  # steep edges are not exact: do not oscillate
        return amplitude(self._curves.join(points))

    def _length_s(self, room: EnergyMap) -> float:
        """The time at which the room's energy, including the direct sound, has decayed by
        SILENCE_DB."""
        energy = (10 ** (room.level_db.astype(np.float64) / 10)).sum(axis=0) * self._frame_s
        left = np.cumsum(energy[::-1])[::-1]
        total = left[0] + (
            0 if room.direct_db is None else (10 ** (room.direct_db.astype(np.float64) / 10)).sum()
        )
        audible = np.flatnonzero(left > total * 10 ** (SILENCE_DB / 10))
        last = audible[-1] + 1 if len(audible) else 1
        return float(max(self.grid.frame_edge_s[last], 0.02))

    def _direct(self, direct_db: Floats) -> Floats:
        """The direct sound: a minimum-phase pulse (Oppenheim & Schafer, cepstral method) with the
        bands' energies."""
        size = smooth_number(int(0.02 * self.rate_hz), even=True)
        hz = np.fft.rfftfreq(size, 1 / self.rate_hz)
        density_db = direct_db - 10 * np.log10(np.diff(self.grid.edge_hz) * 2 / self.rate_hz)
        erb = hz_to_erb(np.minimum(hz, self.grid.highest_hz))
        level_db = np.interp(erb, hz_to_erb(self.grid.centre_hz), density_db)
        cepstrum = np.fft.irfft(level_db * (np.log(10) / 20), size)
        cepstrum[1 : size // 2] *= 2
        cepstrum[size // 2 + 1 :] = 0
        pulse = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: size // 2]
        return np.asarray(pulse * np.hanning(size)[size // 2 :], np.float32)


@lru_cache(maxsize=4)
def _mid_side_gains(step_frames: int, rate_hz: int, width: float) -> tuple[Floats, Floats]:
    """For the bins of one step's transform, with differences to the next: shared by all lengths."""
    hz = np.fft.rfftfreq(step_frames, 1 / rate_hz).astype(np.float64) + 0.5 * rate_hz / step_frames
    rho = correlation(hz, width).astype(np.float32)
    return np.sqrt((1 + rho) / 2), np.sqrt((1 - rho) / 2)


def correlation(hz: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Correlation of left and right at each frequency, -1 .. 1, for a width of -4 .. 4.

    Width 1 is a diffuse field at two points a head apart, |sin(k d) / (k d)| with k = 2 pi f / c
    (Cook et al. 1955); from 0 to 1 the way there from mono, from 1 to 4 the way on to -0.6.
    """
    natural = np.abs(np.sinc(2 * hz * EAR_DISTANCE_M / SPEED_OF_SOUND_M_S))
    w = abs(width)
    if w <= 1:
        return np.asarray(1 + w * (natural - 1))
    return np.asarray(natural - (min(w, 4) - 1) / 3 * (natural + 0.6))


def normalise(ir: Floats) -> Floats:
    """The IR (channels, taps) at the common level: IR_ENERGY in the mean of its outputs, no sample
    above PEAK_BOUND.

    A four-channel IR has two paths to each output. Raises InvalidValue for an IR without energy.
    """
    energy = float(np.einsum("ct,ct->", ir, ir, dtype=np.float64)) / min(len(ir), 2)
    if not energy > 0:
        raise InvalidValue("the IR is silent: it has no energy to normalise")
    peak = float(np.abs(ir).max())
    gain = min(np.sqrt(IR_ENERGY / energy), PEAK_BOUND / peak)
    return np.ascontiguousarray(ir * np.float32(gain), np.float32)
