"""From takes to impulse responses: aligned, causal, with their own decay instead of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import RoomAcoustics, measure, onset
from dsp.bands import band_windows, smooth_number
from dsp.energymap import Grid
from dsp.low_end import SILENT_S, with_low_end
from dsp.recorded import RecordedRoom, continued, recording_grid
from dsp.synthesis import Synthesiser
from firmware_py.measure.plan import Plan
from firmware_py.measure.takes import Take

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

LEAD_S, RISE_S = 0.002, 0.001
"""Before the first sound the file has LEAD_S, the first RISE_S of it faded in."""
AFTER_S = 1.0
"""The lowest frequencies are known from so much more than the decay."""
NOISE_SAMPLES = 1 << 17


@dataclass(frozen=True)
class Path:
    """The way from an output to an input, both from 0. figures: of the response as measured."""

    output: int
    input: int
    take: Take
    figures: RoomAcoustics


@dataclass(frozen=True)
class Measured:
    """`samples`: float32 (1, 2 or 4 channels, taps), see docs/recordings.md. `delay_s`: from output
    to the beginning of the file. `remarks`: what went wrong, and what to do."""

    samples: Floats
    rate_hz: int
    paths: tuple[Path, ...]
    plan: Plan
    delay_s: float
    takes: int
    sound_s: float
    remarks: tuple[str, ...] = field(default=())

    @property
    def range_db(self) -> float:
        return min(path.take.range_db for path in self.paths)


def assembled(
    takes: Sequence[tuple[int, int, Take]], plan: Plan, rate_hz: int, reference: Take | None
) -> tuple[Floats, tuple[Path, ...], float]:
    """The samples, the paths, and the delay of the file. `reference`: the way by a cable, whose
    arrival is then time 0; else the file begins LEAD_S before the first sound."""
    before, lead = int(SILENT_S * rate_hz), int(LEAD_S * rate_hz)
    length = round(plan.decay_s * rate_hz)
    begins = []
    for _, _, take in takes:
        near = take.response.part(take.arrival, before, before // 10).astype(np.float32)
        begins.append(take.arrival - before + onset(near))
    first = min(begins)
    begin = (first if reference is None else min(reference.arrival, first)) - lead
    channels, paths = [], []
    for number, (output, input, take) in enumerate(takes):
        response = take.response
        kept = max(length, first - begin + length)
        after = int(min(AFTER_S, response.sweep.seconds / 2) * rate_hz)
        whole = response.part(begin, before, kept + after)
        whole /= take.distortion.compression
        noise = response.noise(NOISE_SAMPLES) / take.distortion.compression
        own = before + begins[number] - begin - lead
        ir = with_low_end(whole, own, response.sweep, noise)[before : before + kept]
        ir[: own - before] = 0  # the air in front of it
        rise = int(RISE_S * rate_hz)
        at = max(own - before, 0)
        ir[at : at + rise] *= np.sin(np.pi / 2 * np.arange(rise) / rise) ** 2
        raw = ir.astype(np.float32)
        figures = measure(raw, rate_hz, noise=noise)
        paths.append(Path(output, input, take, figures))
        channels.append(_with_own_decay(raw, noise, rate_hz, number))
    taps = max(len(channel) for channel in channels)
    samples = np.zeros((len(channels), taps), np.float32)
    for row, channel in zip(samples, channels, strict=True):
        row[: len(channel)] = channel
    return samples, tuple(paths), begin / rate_hz


def _with_own_decay(ir: Floats, noise: Doubles, rate_hz: int, number: int) -> Floats:
    """The response with its noise replaced; each channel by noise of its own."""
    # Rumble is gone (with_low_end); what is there below 20 Hz is the system's.
    nothing = np.zeros((1, 1), np.float32)
    room = RecordedRoom(ir[None], rate_hz, grid=recording_grid(len(ir) / rate_hz), subsonic=nothing)
    floor_db = band_noise_db(noise, rate_hz, room.grid)

    def synthesiser(grid: Grid, seed: int) -> Synthesiser:
        return _synthesiser(rate_hz, grid, 2 * number + seed)

    return np.asarray(continued(room, floor_db, synthesiser)[0])


@lru_cache(maxsize=2)
def _synthesiser(rate_hz: int, grid: Grid, seed: int) -> Synthesiser:
    return Synthesiser(rate_hz, grid, seed=seed)


def band_noise_db(noise: Doubles, rate_hz: int, grid: Grid) -> Floats:
    """The noise in each band of a grid, energy per second."""
    frames = smooth_number(len(noise), even=True)
    window = np.hanning(len(noise))
    spectrum = np.fft.rfft(noise * window, frames)
    level = np.full(grid.bands, -300.0)
    for band in band_windows(rate_hz, grid, frames, whole=True):
        part = spectrum[band.first : band.first + band.size] * band.window
        power = 2 * float(np.sum(part.real**2 + part.imag**2)) / frames / float(window @ window)
        level[band.band] = 10 * np.log10(power * rate_hz + 1e-30)
    return level.astype(np.float32)
