"""From takes to impulse responses: aligned, causal, with their own decay instead of the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import RoomAcoustics, measure, onset
from dsp.low_end import SILENT_S, with_low_end
from dsp.own_decay import with_own_decay
from firmware_py.measure.plan import Plan
from firmware_py.measure.takes import KEPT_AFTER_S, KEPT_NOISE, Take

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

END_SHARE = 20
LEAD_S, RISE_S = 0.002, 0.001
"""Before the first sound the file has LEAD_S, the first RISE_S of it faded in."""


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

    @property
    def floor_db(self) -> float:
        """How far below its peak the file ends: the level of its last END_SHARE, the loudest
        channel's. Below `range_db` the decays go on by themselves."""
        end = self.samples[:, -max(self.samples.shape[1] // END_SHARE, 1) :].astype(np.float64)
        last = float(np.max(np.mean(end**2, axis=1)))
        peak = float(np.max(self.samples.astype(np.float64) ** 2))
        return 10 * math.log10(max(peak, 1e-30) / max(last, 1e-30))


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
    end = first - begin + length
    channels, paths = [], []
    for number, (output, input, take) in enumerate(takes):
        channel, figures = _channel(take, begin, begins[number], end, number)
        paths.append(Path(output, input, take, figures))
        channels.append(channel)
    taps = max(len(channel) for channel in channels)
    samples = np.zeros((len(channels), taps), np.float32)
    for row, channel in zip(samples, channels, strict=True):
        row[: len(channel)] = channel
    return samples, tuple(paths), begin / rate_hz


def _channel(
    take: Take, begin: int, own_begin: int, length: int, number: int
) -> tuple[Floats, RoomAcoustics]:
    """A response from `begin` on, whose first sound is at `own_begin`, with its own decay; the
    figures of its first `length` samples. `number`: of the channel."""
    sweep = take.response.sweep
    rate_hz = sweep.rate_hz
    before, lead = int(SILENT_S * rate_hz), int(LEAD_S * rate_hz)
    after = int(min(KEPT_AFTER_S, sweep.seconds / 2) * rate_hz)
    whole = take.response.part(begin, before, length + after)
    whole /= take.distortion.compression
    noise = take.response.noise(KEPT_NOISE) / take.distortion.compression
    own = before + own_begin - begin - lead
    ir = with_low_end(whole, own, sweep, noise)[before:]
    del whole
    ir[: own - before] = 0  # the air in front of it
    rise = int(RISE_S * rate_hz)
    at = max(own - before, 0)
    ir[at : at + rise] *= np.sin(np.pi / 2 * np.arange(rise) / rise) ** 2
    figures = measure(ir[:length].astype(np.float32), rate_hz, noise=noise)
    return with_own_decay(ir, at, noise, rate_hz, number).astype(np.float32), figures
