"""Recorded IRs as rooms: a map, with the recording's own carriers instead of noise.

A recording is split into the synthesiser's bands; a band divided by its smoothed level is its
carrier. The carriers with the recording's own map reproduce the recording. With another map they
have that map's decay and keep the recording's reflections, modes and flutter.

What a control does not concern stays: the end of the recording, its noise floor, its DC offset.
Only a longer or delayed decay, or an interpolation, replaces them (`_released`): then the noise
floor gives way to the decay that goes on below it, in the synthesiser's noise. A recording that
stops (a cabinet, a gate) stops there always.

NumPy only; the control process and the renderer call it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import onset
from dsp.bands import Curves, amplitude, band_windows, grouped, smooth_number, spectra
from dsp.ending import Ending, ending_of, subsonic_of
from dsp.endless import SILENCE_DB
from dsp.energymap import FLOOR_DB, EnergyMap, Grid
from dsp.loudness import normalise
from dsp.shaping import (
    Shape,
    last_reliable,
    longer_grid,
    on_grid,
    shape_level,
    without_floor,
)
from dsp.synthesis import Synthesiser

Floats = NDArray[np.float32]

MARGIN_S = 0.05
"""Silence before and after a recording in its transform: the lowest bands spread that far."""
FREEDOM = 4.0
"""Degrees of freedom of a smoothed level: a mean over at least FREEDOM / bandwidth seconds."""
REACH_DB, NOISE_REACH_DB = 60.0, 6.0
"""Maximum gain of a carrier, and of a carrier that is noise, not room."""
WEAK_DB = 20.0
"""A band of the recording with this much less energy than the target is replaced by noise."""
FLOOR_ABOVE_DB = 10.0
"""A cell this far above its extrapolated decay is noise."""
GOES_ON_DB = -80.0
"""A decay goes on after the end of its recording down to this level of its band's loudest cell, or
to the level at which the recording ended."""
FILL_DB = -80.0
"""Noise below this level, relative to the complete room, is omitted."""


def recording_grid(seconds: float) -> Grid:
    """A grid long enough for a recording of this length."""
    return Grid(duration_s=next((d for d in (4.0, 6.0, 8.0) if d >= seconds), 10.0))


class RecordedRoom:
    """One recording at the engine's rate, split into bands. Uses about 25 bytes for each sample.
    Not thread-safe."""

    def __init__(
        self,
        samples: Floats,
        rate_hz: int,
        *,
        grid: Grid | None = None,
        onset_at: int | None = None,
        subsonic: Floats | None = None,
    ) -> None:
        """`samples`: float32 (1, 2 or 4 channels, taps). `grid`: defines the bands of all maps used
        with this room. `onset_at`, `subsonic`: detected if None."""
        self.samples, self.rate_hz = np.ascontiguousarray(samples, np.float32), rate_hz
        self.subsonic = subsonic_of(self.samples, rate_hz) if subsonic is None else subsonic
        self.grid = grid or Grid()
        flat = self.samples - self.subsonic
        if not np.abs(flat).max() > 1e-4 * np.abs(self.samples).max():  # nothing but rumble
            flat, self.subsonic = self.samples, np.zeros((len(samples), 1), np.float32)
        self.onset = onset(np.abs(flat).max(axis=0)) if onset_at is None else onset_at
        self.ending: Ending = ending_of(flat, rate_hz, self.onset)
        self._margin = int(MARGIN_S * rate_hz)
        taps = samples.shape[1]
        self._frames = smooth_number(taps + 2 * self._margin, even=True)
        padded = np.zeros((len(samples), self._frames), np.float32)
        padded[:, self._margin : self._margin + taps] = flat
        spectrum = np.fft.rfft(padded)
        self._windows = band_windows(rate_hz, self.grid, self._frames, whole=True)
        self._carriers = []
        for w in self._windows:
            part = spectrum[:, w.first : w.first + w.size] * w.window.astype(np.float32)
            self._carriers.append(np.fft.ifft(part).astype(np.complex64) / np.float32(w.scale))
        self._start_s = -(self._margin + self.onset) / rate_hz
        self._seconds = self._frames / rate_hz
        self._measured: dict[Grid, EnergyMap] = {}
        self._resized: tuple[float, RecordedRoom] | None = None

    def measured(self, grid: Grid) -> EnergyMap:
        """The recording's levels on a grid from its direct sound on, mean of its channels, each
        over at least FREEDOM / bandwidth."""
        if grid in self._measured:
            return self._measured[grid]
        level = np.full((grid.bands, grid.frames), -300.0, np.float32)
        end_s = (self.samples.shape[1] - self.onset) / self.rate_hz
        for w, carrier in zip(self._windows, self._carriers, strict=True):
            step_s = self._seconds / w.size
            energy = (carrier.real**2 + carrier.imag**2).mean(axis=0).astype(np.float64) * step_s
            energy *= (
                w.size / (w.window**2).sum()
            )  # the synthesiser's noise is not attenuated by the window
            through = np.concatenate([[0], np.cumsum(energy)])
            at = self._start_s + (np.arange(w.size + 1) - 0.5) * step_s
            half = np.maximum(grid.frame_s / 2, FREEDOM / 2 * step_s)
            low = grid.frame_centre_s - half
            high = np.minimum(grid.frame_centre_s + half, end_s)
            # Energy that the band's filter spreads before the onset counts as part of it.
            passed = np.interp(high, at, through) - np.where(
                low > 0, np.interp(low, at, through), 0
            )
            passed = np.where(grid.frame_centre_s < end_s, passed, 0)
            level[w.band] = 10 * np.log10(
                np.maximum(passed / np.maximum(high - np.maximum(low, 0), step_s), 1e-30)
            )
        level = np.maximum(level, level.max() + FLOOR_DB)
        self._measured = {grid: EnergyMap(level, grid)}
        return self._measured[grid]

    def resized(self, size: float) -> RecordedRoom:
        """The same room with all dimensions times `size`: reflections come later and modes are
        lower by that factor."""
        if size == 1:
            return self
        if self._resized is None or self._resized[0] != size:
            # Pad with silence: the transform is circular, and an abrupt start rings.
            flat = self.samples - self.subsonic
            padded = np.pad(flat, ((0, 0), (self._margin, self._margin)))
            taps = round(padded.shape[1] * size)
            scaled = np.fft.irfft(np.fft.rfft(padded)[:, : taps // 2 + 1], taps).astype(np.float32)
            begin = round(self._margin * size)
            end = max(round((self._margin + self.samples.shape[1]) * size), begin + 1)
            at = min(round(self.onset * size), end - begin - 1)
            subsonic = _lasting(self.subsonic, end - begin)
            self._resized = (
                size,
                RecordedRoom(
                    scaled[:, begin:end] + subsonic,
                    self.rate_hz,
                    grid=self.grid,
                    onset_at=max(at, 0),
                    subsonic=subsonic,
                ),
            )
        return self._resized[1]

    def played(
        self, room: EnergyMap, weight: float, subsonic: float = 1.0
    ) -> tuple[Floats, Floats]:
        """The part of a room that this recording provides, float32 (channels, taps), as long as the
        recording; and its share of each cell's energy (bands, frames): `weight`, less where the
        recording is too weak. `subsonic`: the share of its offset and rumble that stays."""
        own = self.measured(room.grid).level_db
        gain = room.level_db - own
        reliable = np.arange(room.grid.frames) <= last_reliable(own, room.grid)[:, None]
        excess = gain - np.where(reliable, REACH_DB, NOISE_REACH_DB)
        # A band with hardly any energy (after a low-pass or a larger size) has no usable carrier
        # either.
        whole_db = [
            level.max() + 10 * np.log10(10 ** ((level - level.max()) / 10) @ room.grid.frame_s)
            for level in (own.astype(np.float64), room.level_db.astype(np.float64))
        ]
        silent = (own < own.max() + FLOOR_DB + 1) | (whole_db[0] < whole_db[1] - WEAK_DB)[:, None]
        excess = np.where(silent & (gain > NOISE_REACH_DB), 200.0, excess)
        share_db = 10 * np.log10(weight) - np.maximum(excess, 0)
        last = max(int(np.count_nonzero(room.grid.frame_centre_s < _end_s(self))) - 1, 0)
        level_db = gain + share_db
        if last + 1 < room.grid.frames:
            # Half of the last frame is noise where the decay goes on, and the recording is not
            # faded out before its end: else there is a gap between them.
            goes_on = room.level_db[:, last + 1] > room.level_db.max() + FLOOR_DB + 1
            most_db = 10 * np.log10(weight / 2)
            share_db[goes_on, last] = np.minimum(share_db[goes_on, last], most_db)
            level_db = gain + share_db
            level_db[:, last + 1 :] = level_db[:, last : last + 1]
        curves = Curves(room.grid)
        groups = grouped(
            self._windows, self._carriers, lambda n: curves.place(n, self._seconds, self._start_s)
        )
        gains = amplitude(curves.join(level_db.astype(np.float32)))
        spectrum = spectra(groups, gains, self._frames // 2 + 1)
        taps = self.samples.shape[1]
        ir = np.fft.irfft(spectrum, self._frames)[:, self._margin : self._margin + taps]
        if subsonic:
            ir = ir + self.subsonic * np.float32(weight * subsonic)
        return ir.astype(np.float32), 10 ** (share_db / 10)


def _lasting(subsonic: Floats, taps: int) -> Floats:
    """Offset and rumble over another time: they are not of the room, and keep their pitch."""
    own = subsonic.shape[1]
    if own == 1:
        return subsonic
    return np.pad(subsonic[:, :taps], ((0, 0), (0, max(taps - own, 0))), mode="symmetric")


def render(
    parts: Sequence[tuple[float, RecordedRoom]],
    shape: Shape,
    width: float,
    noise: Callable[[Grid, int], Synthesiser],
    longest_s: float = 10.0,
) -> Floats:
    """The IR, float32 (1, 2 or 4, taps), of one recording or of an interpolation between several,
    shaped.

    `parts`: weights that add up to 1, and recordings on one grid. One recording with an unchanged
    map: its samples. Several recordings: levels are interpolated in dB, and each cell is the sum of
    all recordings in proportion to their weights. Level: see `normalise`. `noise`: the synthesiser
    for a grid and a seed, for cells that no recording fills.
    """
    if len(parts) == 1 and shape.leaves_map:
        return normalise(with_width(parts[0][1].samples, width), parts[0][1].rate_hz)
    released = _released(shape, parts)
    target = _target(parts, shape, released, longest_s)
    result = _joined(parts, target, shape.size, released, noise, longest_s)
    return normalise(with_width(result, width), parts[0][1].rate_hz)


def _joined(
    parts: Sequence[tuple[float, RecordedRoom]],
    target: EnergyMap,
    size: float,
    released: float,
    noise: Callable[[Grid, int], Synthesiser],
    longest_s: float,
) -> Floats:
    """The rooms and what goes on after them, (channels, taps)."""
    rate_hz = parts[0][1].rate_hz
    rooms = [(weight, room.resized(size)) for weight, room in parts]
    lead = round(sum(weight * room.onset for weight, room in rooms))
    channels = max(len(room.samples) for _, room in rooms)
    taps = own_taps = max(lead - room.onset + room.samples.shape[1] for _, room in rooms)
    missing = np.ones((target.grid.bands, target.grid.frames))
    played = []
    for weight, room in rooms:
        ir, share = room.played(target, weight, 1 - released)
        missing -= share
        played.append((lead - room.onset, _as_channels(ir, channels)))
    energy = (
        10 ** ((target.level_db.astype(np.float64) - target.level_db.max()) / 10)
        * target.grid.frame_s
    )
    missing = np.clip(missing, 0, 1)
    if (energy * missing).sum() > energy.sum() * 10 ** (FILL_DB / 10):
        fill = replace(
            target, level_db=(target.level_db + 10 * np.log10(missing + 1e-6)).astype(np.float32)
        )
        played.append((lead, _fill(fill, channels, noise)))
        taps = max(taps, lead + played[-1][1].shape[1])
    result = np.zeros((channels, taps), np.float32)
    for at, ir in played:
        begin = max(-at, 0)
        result[:, at + begin : at + ir.shape[1]] += ir[:, begin:]
    if all(room.ending.hard for _, room in rooms):  # the bands' filters ring on for a moment
        end = max(lead - room.onset + room.ending.end for _, room in rooms)
        result[:, end:] = 0
    if not released:
        taps = own_taps
    else:
        # Drop the inaudible end: the kernel's load grows with the length.
        left = np.cumsum(np.einsum("ct,ct->t", result, result)[::-1].astype(np.float64))[::-1]
        taps = int(np.count_nonzero(left > left[0] * 10 ** (SILENCE_DB / 10)))
    taps = min(taps, round(longest_s * rate_hz))
    return result[:, :taps]


def _released(shape: Shape, parts: Sequence[tuple[float, RecordedRoom]]) -> float:
    """How far a recording's noise floor and its end give way to its decay, 0 .. 1.

    0 for what does not change the decay, and for changes that are hardly audible, so that a hair
    of a control is a hair of a change.
    """
    by_decay = (abs(math.log2(shape.decay)) - 0.06) / 0.2
    by_attack = (shape.attack_s - 0.008) / 0.02
    by_other = (1 - max(weight for weight, _ in parts)) / 0.1
    return min(max(by_decay, by_attack, by_other, 0.0), 1.0)


def _target(
    parts: Sequence[tuple[float, RecordedRoom]], shape: Shape, released: float, longest_s: float
) -> EnergyMap:
    """The map that an interpolation between recordings is to have.

    The controls are applied to the extrapolated decays, and their change to the recording's own
    levels where these stay.
    """
    grid = parts[0][1].grid
    own = np.zeros((grid.bands, grid.frames), np.float32)
    decay = np.zeros_like(own)
    for weight, room in parts:
        level = room.measured(grid).level_db
        clean = without_floor(level, grid, _end_s(room))
        if room.ending.hard and len(parts) > 1:
            clean = np.where(grid.frame_edge_s[1:] <= _end_s(room), clean, level)
        own, decay = own + np.float32(weight) * level, decay + np.float32(weight) * clean
    target = longer_grid(decay, grid, shape, longest_s)
    own, decay = (on_grid(level, grid, target, shape.size) for level in (own, decay))
    shaped, _ = shape_level(decay, None, target, shape)
    rest, _ = shape_level(decay, None, target, replace(shape, decay=1.0, attack_s=0.0))
    # How far a cell is a floor: it is above the decay. A change of the decay does not concern it.
    above_db = own - decay
    floor = np.clip(above_db / FLOOR_ABOVE_DB, 0, 1) * np.float32(1 - released)
    level = rest + np.float32(1 - released) * above_db + (1 - floor) * (shaped - rest)
    last = max((room for _, room in parts), key=_end_s)
    end_s = _end_s(last) * shape.size
    after = target.frame_edge_s[:-1] >= end_s
    if after.any() and released:
        level[:, after] = shaped.max() + 2 * FLOOR_DB
        goes_on = after & (target.frame_centre_s < end_s * max(shape.decay, 1) + shape.attack_s)
        if not last.ending.hard and goes_on.any():
            level[:, goes_on] = _going_on(shaped, decay, target, goes_on, released)
    # An attack of half a second lifts what a short recording falls by then: hundreds of dB, which
    # float32 cannot hold as powers. All rooms are as loud in the end.
    level -= max(float(level.max() - own.max()) - REACH_DB, 0.0)
    level = np.maximum(level, level.max() + 2 * FLOOR_DB)
    return EnergyMap(level.astype(np.float32), target)


def _end_s(room: RecordedRoom) -> float:
    return max(room.ending.end - room.onset, 1) / room.rate_hz


def _going_on(
    shaped: Floats, decay: Floats, grid: Grid, after: NDArray[np.bool_], released: float
) -> Floats:
    """The shaped decay in the frames `after` the end of its recording; silence where it is below
    GOES_ON_DB or below what the recording was when it ended."""
    first = int(np.argmax(after))
    ended_db = decay[:, max(first - 3, 0) : max(first, 1)].mean(axis=1) - decay.max(axis=1)
    peak = shaped.max(axis=1)
    here_db = shaped[:, max(first - 1, 0)] - peak
    # While the change is small the decay goes on for a short time only.
    down_to_db = here_db + released * np.minimum(np.maximum(ended_db, GOES_ON_DB) - here_db, 0)
    level = shaped[:, after]
    return np.where(level > (peak + down_to_db)[:, None], level, shaped.max() + 2 * FLOOR_DB)


def _fill(room: EnergyMap, channels: int, noise: Callable[[Grid, int], Synthesiser]) -> Floats:
    ir = noise(room.grid, 1).unscaled(room, 0.0 if channels == 1 else 1.0, goes_on=False)
    if channels < 4:
        return ir[:channels]
    across = noise(room.grid, 2).unscaled(room, 1.0, goes_on=False)
    return np.stack([ir[0], across[0], across[1], ir[1]])


def _as_channels(ir: Floats, channels: int) -> Floats:
    """One channel goes to both outputs. Two channels become four (left to left, right to right)
    with silent cross paths."""
    if len(ir) == channels:
        return ir
    left, right = ir[0], ir[-1]
    if channels == 2:
        return np.stack([left, right])
    nothing = np.zeros_like(left)
    return np.stack([left, nothing, nothing, right])


def with_width(ir: Floats, width: float) -> Floats:
    """A recording at another width: its side signal (half the difference of the outputs) times
    |width|; the sides are exchanged if width < 0.

    1 is the unchanged recording, 0 is mono. A mono recording has no side signal and does not
    change. Four channels: the same for the pair of each input.
    """
    if len(ir) == 1 or width == 1:
        return ir
    pairs = ir.reshape(-1, 2, ir.shape[1])
    if width == -1:
        return np.ascontiguousarray(pairs[:, ::-1].reshape(ir.shape))
    middle, side = (
        (pairs[:, 0] + pairs[:, 1]) / 2,
        (pairs[:, 0] - pairs[:, 1]) * np.float32(width / 2),
    )
    wider = np.stack([middle + side, middle - side], axis=1).reshape(ir.shape)
    # Outputs of opposite polarity have nothing in the middle: however narrow, only their side is
    # left, and at the level of every room that is the recording.
    return np.ascontiguousarray(wider) if np.abs(wider).max() > 1e-6 * np.abs(ir).max() else ir
