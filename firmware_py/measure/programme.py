"""What is played and recorded in one take: quiet, a pilot, the sweep, its decay, the pilot again.

The quiet part shows the noise. The pilots are two equal short sweeps: the time between them, as
recorded, shows how far the clocks of player and recorder drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsp.bands import smooth_number
from dsp.sweep import SineSweep

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

PILOT_S, PILOT_LEVEL = 0.25, 0.5
"""Length, and amplitude compared with the sweep."""
LATENCY_S = 0.3
"""The longest way from output to input: cards, gear, and 30 m of air."""
PILOT_HZ = (200.0, 8000.0)
"""The range in which pilots are compared."""
FINER = 16
STEADY_FRAMES = 0.05
"""A smaller difference between the pilots is no drift."""
MOST_DRIFT = 2e-3


@dataclass(frozen=True)
class Programme:
    """Parts in samples. level: amplitude of the sweep. With `gap` 0 there are no pilots."""

    sweep: SineSweep
    level: float
    quiet: int
    gap: int
    tail: int

    @classmethod
    def of(
        cls, sweep: SineSweep, level: float, *, quiet_s: float, decay_s: float, pilots: bool
    ) -> Programme:
        """A programme for a system that rings for `decay_s`."""
        rate_hz = sweep.rate_hz
        tail_s = decay_s + LATENCY_S
        gap = round(tail_s * rate_hz) if pilots else 0
        return cls(sweep, level, round(quiet_s * rate_hz), gap, round(tail_s * rate_hz))

    @cached_property
    def pilot(self) -> SineSweep:
        return SineSweep.of(self.sweep.rate_hz, PILOT_S)

    @property
    def sweep_at(self) -> int:
        return self.quiet + (self.pilot.frames() + self.gap if self.gap else 0)

    @property
    def second_pilot_at(self) -> int:
        return self.sweep_at + self.sweep.frames() + self.tail

    @property
    def frames(self) -> int:
        return self.second_pilot_at + (self._heard if self.gap else 0)

    @property
    def _heard(self) -> int:
        """Of a pilot and the beginning of its decay."""
        return self.pilot.frames() + round(2 * LATENCY_S * self.sweep.rate_hz)

    @property
    def seconds(self) -> float:
        return self.frames / self.sweep.rate_hz

    def samples(self) -> Floats:
        """What is played: (frames,)."""
        sound = np.zeros(self.frames, np.float32)
        self.sweep.write(sound[self.sweep_at :])
        if self.gap:
            pilot = self.pilot.samples() * PILOT_LEVEL
            for at in (self.quiet, self.second_pilot_at):
                sound[at : at + len(pilot)] = pilot
        sound *= np.float32(self.level)
        return sound

    def swept(self, recorded: Floats) -> Floats:
        """The recorded sweep and its decay."""
        return recorded[self.sweep_at : self.second_pilot_at]

    def drift(self, recorded: Floats) -> float:
        """The player's rate over the recorder's, 1 if they are the same or there are no pilots."""
        if not self.gap:
            return 1.0
        first, second = (
            recorded[at : at + self._heard].astype(np.float64)
            for at in (self.quiet, self.second_pilot_at)
        )
        apart = self.second_pilot_at - self.quiet
        frames = smooth_number(2 * len(first), even=True)
        hz = np.fft.rfftfreq(frames, 1 / self.sweep.rate_hz)
        across = np.fft.rfft(second, frames) * np.fft.rfft(first, frames).conj()
        across[(hz < PILOT_HZ[0]) | (hz > PILOT_HZ[1])] = 0
        # Of each frequency equally much: an amplitude of 1 is a pilot without noise.
        across /= np.abs(across).mean() + 1e-300
        # A pilot and its sweep are at each frequency for 1 / f: flat in the middle.
        likeness = np.fft.irfft(across, frames)
        reach = int(MOST_DRIFT * apart + 2)
        near = np.concatenate([likeness[-reach:], likeness[: reach + 1]])
        best = int(np.argmax(near)) - reach
        if abs(best) == reach:
            return 1.0
        # Finer around its maximum, which is wider than a sample.
        turn, places = 2j * np.pi / frames * np.arange(len(across)), np.arange(-FINER, FINER + 1)
        fine = [float((across @ np.exp(turn * (best + at / FINER))).real) for at in places]
        peak = min(max(int(np.argmax(fine)), 1), len(fine) - 2)
        before, here, after = fine[peak - 1 : peak + 2]
        place = peak + 0.5 * (before - after) / (before - 2 * here + after)
        late = best + (place - FINER) / FINER
        return 1.0 if abs(late) < STEADY_FRAMES else apart / (apart + late)
