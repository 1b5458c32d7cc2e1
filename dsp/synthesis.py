"""Energy map -> stereo impulse response at the engine's own rate.

Each band of the map has a carrier: complex Gaussian noise at a sampling rate of the band's own. Its
energy over longer times is constant (`dsp.flat`), so multiplied by the square root of the band's
energy curve it follows the map, and it varies in between as the sound of a real room does. Smooth
windows join the bands' spectra, and one inverse FFT gives the samples. There are no frames or hops
that could buzz, and the same map gives an IR at any rate without a resampler.

A narrow window rings for long, longer than a short room decays. So the carriers of low bands are
filtered before the energy curve shapes them, and the window after it is wider. All carriers begin
LEAD_S before the onset, with the curve mirrored there, and are cut at the onset: what a window
spreads to before the onset is replaced by what it spreads from there.

A seed fixes the phases, so a room is the same each time, and a step from room to room changes
magnitudes only: carriers of shorter rooms are prefixes of those of longer ones. The bands are
joined in C (synthesis.c). The control process and the renderer call it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp import _engine
from dsp.bands import (
    BandWindow,
    Curves,
    band_windows,
    smooth_number,
)
from dsp.diffuse_field import EARS_M, correlation
from dsp.endless import endless, lasting, length_s
from dsp.energymap import DEFAULT_GRID, EnergyMap, Grid, longer
from dsp.errors import InvalidValue
from dsp.flat import EVEN_S
from dsp.latefield import Decay, Seam, decay_of
from dsp.loudness import normalise, of_map
from dsp.noise import LEAD_S, Noise
from dsp.pulses import add, pulses, split
from dsp.recent import Recent

Floats = NDArray[np.float32]

FAITHFUL_PEAK = 10 ** (-12 / 20)
"""The reference plug-in's rule: each IR is scaled to this peak."""
LONGEST_S = 10.0
"""No engine plays longer IRs."""
STEP_S = 0.27
"""Lengths of IRs are rounded up to a multiple of about STEP_S, including LEAD_S. A band has the
same rate in all of them."""
WORKSPACES = 18
"""Number of cached lengths: all up to 6 s."""
LARGEST_FACTOR = 5
"""The largest prime factor of a number of steps: fast to transform, and few lengths, which take
memory."""
GUARD_S = 0.11
"""What windows spread to before the carriers begin wraps around into this space after the end."""
END_S = 4 * EVEN_S
"""At the end of noise `flatten` has one side only, and filters wrap around: that is made again."""
END_FADE_S = 0.05
FOLD_S = 0.015
"""See `Synthesiser._fold`."""


class _Carriers:
    """The noise for a rate, a grid's bands and a seed: (samples, 4) for each band, as long as
    requested so far. The 4: middle re, side re, middle im, side im."""

    def __init__(self, rate_hz: int, grid: Grid, seed: int) -> None:
        self._rate_hz, self._grid, self._seed = rate_hz, grid, seed
        self.step_frames = smooth_number(int(STEP_S * rate_hz), even=True)
        self._first_steps = _steps_for(
            (DEFAULT_GRID.duration_s + GUARD_S) * rate_hz, self.step_frames
        )
        self._steps = 0
        self._samples: list[Floats] = []
        self._noise = Noise(rate_hz, seed)

    def windows(self, steps: int) -> list[BandWindow]:
        return band_windows(
            self._rate_hz, self._grid, steps * self.step_frames, whole=False, steps=steps
        )

    def samples(self, steps: int) -> list[Floats]:
        """The beginnings of all carriers: Gaussian noise, flattened (see `flatten`).

        They grow through the same lengths whatever was requested before, and what was handed out
        never changes: a room is the same in each process, with each limit of length.
        """
        while self.grow(steps):
            pass
        return [whole[: len(whole) // self._steps * steps] for whole in self._samples]

    def grow(self, steps: int) -> bool:
        """Do a small part of the work for this length. False when all is done."""
        if steps <= self._kept_steps(self._steps):
            return False
        longer = self._steps + self._first_steps
        if not self._noise.grow(longer * self.step_frames):
            self._samples, self._steps = self._longer(longer), longer
        return True

    def _kept_steps(self, steps: int) -> int:
        """How much of this length longer carriers keep: the end is not even, and wraps around."""
        return max(0, steps - int(np.ceil(END_S * self._rate_hz / self.step_frames)))

    def _longer(self, steps: int) -> list[Floats]:
        frames = steps * self.step_frames
        spectrum = np.fft.rfft(self._noise(frames))
        samples = []
        for i, w in enumerate(self.windows(steps)):
            part = spectrum[:, w.first : w.first + w.size] * w.own.astype(np.float32)
            both = np.fft.ifft(part) * np.float32(np.sqrt(w.size / frames))
            longer = np.concatenate([both.real, both.imag]).T.astype(np.float32, order="C")
            kept = w.size // steps * self._kept_steps(self._steps)
            if kept:
                longer[:kept] = self._samples[i][:kept]
            samples.append(longer)
        return samples


@lru_cache(maxsize=3)
def _carriers(
    rate_hz: int, bands: int, lowest_hz: float, highest_hz: float, seed: int
) -> _Carriers:
    """Grids that differ only in duration and frames share carriers."""
    return _Carriers(rate_hz, Grid(bands=bands, lowest_hz=lowest_hz, highest_hz=highest_hz), seed)


BandRow = tuple[int, int, Floats, Floats, NDArray[np.int32], Floats]
"""A band as `_engine.Synthesis` takes it: curve, first, carrier, window, node, share."""


@dataclass(frozen=True)
class Workspace:
    """Everything that is the same for all IRs of up to one length."""

    frames: int
    rows: tuple[BandRow, ...]
    bands: _engine.Synthesis


@dataclass(frozen=True)
class Job:
    """What the synthesis in C is called with, for one IR; for `nverb bench rooms`, too."""

    workspace: Workspace
    curves: Floats
    middle: Floats
    side: Floats
    frames: int
    """Of the sound, with its lead."""


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

    def __init__(
        self,
        rate_hz: int,
        grid: Grid = DEFAULT_GRID,
        seed: int = 1,
        longest_s: float = LONGEST_S,
    ) -> None:
        """`rate_hz`: 8 000 .. 192 000. Bands above the Nyquist frequency are omitted. `longest_s`:
        of an IR."""
        if not 8000 <= rate_hz <= 192000:
            raise InvalidValue(f"rate_hz = {rate_hz}: must be from 8000 to 192000")
        self.rate_hz, self.grid = rate_hz, grid
        self._longest_s = longest_s
        self._longest_grid = longer(grid, longest_s)
        self._carriers = _carriers(rate_hz, grid.bands, grid.lowest_hz, grid.highest_hz, seed)
        self._longest = self._steps(longest_s)
        self._curves, self._longest_curves = Curves(grid), Curves(self._longest_grid)
        self._places: dict[int, tuple[NDArray[np.int32], Floats]] = {}
        self._workspaces: Recent[int, Workspace] = Recent(WORKSPACES)
        self._unprepared = sorted(
            {self._steps(longest_s * part / WORKSPACES) for part in range(WORKSPACES + 1)}
        )[::-1]

    def prepare(self) -> bool:
        """Makes a part of the carriers, or the windows of one more length, in advance. False when
        all are made."""
        if self._carriers.grow(self._longest):
            return True
        if not self._unprepared:
            return False
        self._workspace(self._unprepared.pop(0))
        return True

    def _workspace(self, steps: int) -> Workspace:
        return self._workspaces.get(steps, lambda: self._build(steps))

    def __call__(
        self,
        room: EnergyMap,
        width: float = 1.0,
        *,
        faithful_level: bool = False,
        spacing_m: float = EARS_M,
    ) -> Floats:
        """The IR, float32 (2, taps), C-contiguous; the number of taps follows the room's decay,
        also beyond the map's end (see `dsp.endless`).

        `width` -4 .. 4: 0 is mono, 1 the correlation of a diffuse field at two points `spacing_m`
        apart, larger values lower and then negative correlation; negative values exchange the
        sides. Level: see `dsp.loudness`; `faithful_level` for the plug-in's -12 dB peak.
        Raises ValueError for a map on another grid.
        """
        ir = self.unscaled(room, width, spacing_m=spacing_m)
        if faithful_level:
            return np.asarray(ir * np.float32(FAITHFUL_PEAK / max(float(np.abs(ir).max()), 1e-20)))
        own = of_map(room, self.rate_hz, ir if room.taps else None)
        return normalise(ir, self.rate_hz, own)

    def unscaled(
        self,
        room: EnergyMap,
        width: float = 1.0,
        *,
        goes_on: bool = True,
        spacing_m: float = EARS_M,
    ) -> Floats:
        """The IR at the map's own level. `goes_on`: beyond the end of the map."""
        self._check(room)
        room, seconds = endless(room, self._longest_s) if goes_on else (room, length_s(room))
        return self._sound(room, seconds, width, spacing_m)

    def until(
        self, room: EnergyMap, width: float, seam: Seam, *, spacing_m: float = EARS_M
    ) -> tuple[Floats, Decay] | None:
        """The IR of a room that is longer than the longest IR, up to the seam, and how it goes on
        there. None for a room that fits."""
        whole = self.lasting(room, seam)
        if whole is None:
            return None
        ir = self.unscaled_until(whole, width, seam, spacing_m=spacing_m)
        return at_seam(ir, whole, seam, self.rate_hz)

    def lasting(self, room: EnergyMap, seam: Seam) -> EnergyMap | None:
        """The map of a room that is longer than the longest IR, up to its end."""
        self._check(room)
        return lasting(room, self._longest_s) if seam.frames else None

    def unscaled_until(
        self, whole: EnergyMap, width: float, seam: Seam, *, spacing_m: float = EARS_M
    ) -> Floats:
        """The IR at the map's own level up to the seam, of a map from `lasting`."""
        return self._sound(whole, seam.end_s + END_FADE_S, width, spacing_m)

    def _check(self, room: EnergyMap) -> None:
        if room.grid not in (self.grid, self._longest_grid):
            raise ValueError("the map has another grid than the synthesiser")

    def _sound(self, room: EnergyMap, seconds: float, width: float, spacing_m: float) -> Floats:
        taps_db = None
        if room.taps:
            level_db, taps_db = split(room.level_db, room.grid, room.taps, self.rate_hz)
            room = replace(room, level_db=level_db)
        job = self.job(room, seconds, width, spacing_m)
        sound = np.empty((2, job.frames), np.float32)
        job.workspace.bands(job.curves, job.middle, job.side, sound)
        lead = int(LEAD_S * self.rate_hz)
        taps = job.frames - lead
        ir = sound[:, lead:].copy()
        for row in range(2):
            self._fold(ir[row], sound[row, :lead][::-1])
        fade = min(taps // 4, int(END_FADE_S * self.rate_hz))
        if fade:
            ir[:, -fade:] *= 0.5 + 0.5 * np.cos(
                np.pi * (np.arange(fade) + 1) / (fade + 1), dtype=np.float32
            )
        if room.taps and taps_db is not None:
            add(ir, room, taps_db, width, self.rate_hz)
        if room.direct_db is not None:
            direct = pulses(room.direct_db[None], self.grid, self.rate_hz)[0]
            ir[:, : len(direct)] += direct[:taps]
        return np.ascontiguousarray(ir[::-1]) if width < 0 else ir

    def job(self, room: EnergyMap, seconds: float, width: float, spacing_m: float) -> Job:
        """For a room of so many seconds."""
        steps = self._steps(seconds)
        workspace = self._workspace(steps)
        gains = _mid_side_gains(self._carriers.step_frames, self.rate_hz, width, spacing_m, steps)
        lead = int(LEAD_S * self.rate_hz)
        return Job(
            workspace,
            self._amplitudes(room),
            *gains,
            lead + max(1, min(int(seconds * self.rate_hz), workspace.frames - lead)),
        )

    def _fold(self, ir: Floats, before: Floats) -> None:
        """Subtract the sound before the onset, backwards, fading out; the energy stays. A cut would
        click: so each frequency starts from zero, within a quarter of its period."""
        size = min(len(ir), int(FOLD_S * self.rate_hz))
        angle = np.pi / 4 * (1 + np.arange(size, dtype=np.float32) / size)
        ir[:size] = np.sin(angle) * ir[:size] - np.cos(angle) * before[:size]

    def _steps(self, length_s: float) -> int:
        return _steps_for((length_s + LEAD_S + GUARD_S) * self.rate_hz, self._carriers.step_frames)

    def _build(self, steps: int) -> Workspace:
        """Each length needs its own windows; carriers and curve positions are shared (prefixes of
        the longest)."""
        longest = max(steps, self._longest)
        windows = self._carriers.windows(steps)
        samples = self._carriers.samples(steps)
        frames = steps * self._carriers.step_frames
        seconds = longest * self._carriers.step_frames / self.rate_hz

        def place(size: int) -> tuple[NDArray[np.int32], Floats]:
            if size > len(self._places.get(size // steps, ((),))[0]):
                nodes, shares = self._longest_curves.place(
                    size // steps * longest, seconds, -LEAD_S, mirrored=True
                )
                self._places[size // steps] = nodes.astype(np.int32), shares
            node, share = self._places[size // steps]
            return node[:size], share[:size]

        bands = tuple(
            (
                w.band,
                w.first,
                carrier[: w.size],
                (w.window * w.scale).astype(np.float32),
                *place(w.size),
            )
            for w, carrier in zip(windows, samples, strict=True)
        )
        return Workspace(frames, bands, _engine.Synthesis(frames, bands))

    def _amplitudes(self, room: EnergyMap) -> Floats:
        """Amplitude curves (bands, nodes) with the map's energy in each frame."""
        curves = self._curves if room.grid == self.grid else self._longest_curves
        level_db = np.ascontiguousarray(room.level_db, np.float32)
        amplitudes = np.empty((len(level_db), len(curves.share)), np.float32)
        _engine.curves(level_db, curves.after, curves.share, amplitudes)
        return amplitudes


def at_seam(ir: Floats, whole: EnergyMap, seam: Seam, rate_hz: int) -> tuple[Floats, Decay]:
    """An IR of a map's own level, at the level of every room, faded out over the seam; and how the
    room goes on there."""
    own = of_map(whole, rate_hz, ir if whole.taps else None)
    scaled = normalise(ir, rate_hz, own)[:, : seam.frames + seam.fade_frames]
    at = int(np.abs(ir[0]).argmax())
    decay = decay_of(whole, seam, float(scaled[0, at] / ir[0, at]))
    scaled[:, seam.frames :] *= seam.fade[: scaled.shape[1] - seam.frames]
    return np.ascontiguousarray(scaled), decay


@lru_cache(maxsize=1)
def _mid_side_gains(
    step_frames: int, rate_hz: int, width: float, spacing_m: float, steps: int
) -> tuple[Floats, Floats]:
    """For all bins. The next room often needs the same."""
    middle, side = _step_gains(step_frames, rate_hz, width, spacing_m)
    return _interpolated(middle, steps), _interpolated(side, steps)


@lru_cache(maxsize=2)
def _step_gains(
    step_frames: int, rate_hz: int, width: float, spacing_m: float
) -> tuple[Floats, Floats]:
    """For the bins of one step's transform, and one more: the same for rooms of all lengths."""
    hz = np.arange(step_frames // 2 + 2, dtype=np.float64) * (rate_hz / step_frames)
    rho = correlation(hz, width, spacing_m).astype(np.float32)
    return np.sqrt((1 + rho) / 2), np.sqrt((1 - rho) / 2)


def _interpolated(gain: Floats, steps: int) -> Floats:
    """`steps` values for each one, linearly: stairs would repeat the sound after each step."""
    share = np.arange(steps, dtype=np.float32) / np.float32(steps)
    return np.asarray((gain[:-1, None] + np.diff(gain)[:, None] * share).ravel())
