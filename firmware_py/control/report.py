"""What the control process reports to `nverb status`."""

from __future__ import annotations

import math

from dsp import _engine

FLOOR_DB = -120.0


def decibels(amplitude: float) -> float:
    """Amplitude to dBFS, rounded to 0.1, no lower than -120."""
    return round(max(20 * math.log10(amplitude), FLOOR_DB), 1) if amplitude > 0 else FLOOR_DB


class Load:
    """Mean load of the audio callback over about the last second, as a share of the block period."""

    def __init__(self) -> None:
        self.mean = 0.0
        self._at = 0.0
        self._blocks = self._busy_ns = 0

    def look(self, port: _engine.Port, now: float) -> None:
        if now - self._at < 1:
            return
        meters = port.meters()
        blocks, busy_ns = meters.blocks - self._blocks, meters.busy_ns - self._busy_ns
        if blocks > 0 and busy_ns >= 0:
            self.mean = busy_ns * 1e-9 * port.rate_hz / (blocks * port.block_frames)
        self._at, self._blocks, self._busy_ns = now, meters.blocks, meters.busy_ns
