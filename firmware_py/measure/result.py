"""From takes to impulse responses: aligned, causal, with their own decay instead of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import RoomAcoustics, measure, onset
from dsp.low_end import SILENT_S, with_low_end
from dsp.own_decay import with_own_decay
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
        ir = with_low_end(whole, own, response.sweep, noise)[before:]
        ir[: own - before] = 0  # the air in front of it
        rise = int(RISE_S * rate_hz)
        at = max(own - before, 0)
        ir[at : at + rise] *= np.sin(np.pi / 2 * np.arange(rise) / rise) ** 2
        figures = measure(ir.astype(np.float32), rate_hz, noise=noise)
        paths.append(Path(output, input, take, figures))
        channels.append(with_own_decay(ir, at, noise, rate_hz, number))
    taps = max(len(channel) for channel in channels)
    samples = np.zeros((len(channels), taps), np.float32)
    for row, channel in zip(samples, channels, strict=True):
        row[: len(channel)] = channel
    return samples, tuple(paths), begin / rate_hz
