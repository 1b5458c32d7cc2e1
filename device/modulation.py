"""What a modulator moves, and what moves it. The controls mod1_... and mod2_... select from these.

| source                 | goes                                                             |
|------------------------|------------------------------------------------------------------|
| sine, triangle         | -1..1, from 0 up, once in a period                               |
| walk                   | -1..1, straight on by at most 1 in a period                      |
| random                 | -1..1, another value in each period (sample and hold)            |
| input                  | 0..1, the level of the input in dB                               |
| expression, wheel      | 0..1, the control of that name                                   |
"""

from __future__ import annotations

import math
from random import Random

MODULATORS = (1, 2)
OFF = "off"
WAVES = ("sine", "triangle", "walk", "random")
SOURCES = (OFF, *WAVES, "input", "expression", "wheel")
TARGETS = (
    *("x", "y", "z", "mix", "morph", "decay", "size", "tilt", "early_late", "attack", "width"),
    *("predelay", "lowpass_hz", "highpass_hz", "tone_low", "tone_high", "gain", "level"),
    *("duck", "duck_release_ms", "gate_db", "gate_hold_ms", "gate_release_ms"),
    *("fade", "residual", "colour1", "colour2", "colour3", "colour4", "colour5"),
    *("movement", "movement_rate", "shimmer", "beyond_x", "beyond_y", "beyond_z"),
)
"""All continuous controls of the sound. Presets keep the number of one: append only."""
LOUD_DB, SOFT_DB = -10.0, -50.0
"""Peaks of the input at which its envelope is 1 and 0."""
RISE_S, FALL_S = 0.02, 0.3
"""Time constants of the envelope."""
MOST_PERIODS = 100


def sine(phase: float) -> float:
    """phase: in periods."""
    return math.sin(2 * math.pi * phase)


def triangle(phase: float) -> float:
    return 4 * abs((phase + 0.75) % 1 - 0.5) - 1


class Lfo:
    """A low-frequency oscillator with all waves at once."""

    def __init__(self, seed: int) -> None:
        self._numbers = Random(seed)
        self._phase = 0.0
        self._random = self._numbers.uniform(-1, 1)
        self._walk = 0.0
        self._walk_to = self._step(0.0)

    def advance(self, periods: float) -> None:
        whole, self._phase = divmod(self._phase + periods, 1)
        for _ in range(min(int(whole), MOST_PERIODS)):
            self._random = self._numbers.uniform(-1, 1)
            self._walk, self._walk_to = self._walk_to, self._step(self._walk_to)

    def value(self, wave: str) -> float:
        match wave:
            case "sine":
                return sine(self._phase)
            case "triangle":
                return triangle(self._phase)
            case "walk":
                return self._walk + self._phase * (self._walk_to - self._walk)
            case "random":
                return self._random
        raise ValueError(f"no wave {wave!r}; there are {', '.join(WAVES)}")

    def _step(self, start: float) -> float:
        """At most 1 from `start`; the ends reflect."""
        end = start + self._numbers.uniform(-1, 1)
        return math.copysign(2, end) - end if abs(end) > 1 else end


class Envelope:
    """Follows the level of the input."""

    def __init__(self) -> None:
        self.value = 0.0

    def follow(self, peak: float, seconds: float) -> None:
        """peak: the largest sample of late, 1 is full scale. seconds: since the last call."""
        db = 20 * math.log10(max(peak, 1e-6))
        wanted = min(max((db - SOFT_DB) / (LOUD_DB - SOFT_DB), 0.0), 1.0)
        time_s = RISE_S if wanted > self.value else FALL_S
        self.value += (wanted - self.value) * -math.expm1(-seconds / time_s)
