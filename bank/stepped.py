"""Playing the plug-in's bank as the plug-in does: ten steps an axis, width as a neighbour, resampling on or off.

    left  = 2 * (steps ** 2 * x + steps * y + z)      x, y, z the knobs' steps, from 0
    right = left + width, kept within the bank        width -4 .. 4, whole

The waveforms are converted to the engine's rate when resampling is on and the rate is one of CONVERTED_HZ; else they are used
sample for sample: a shorter, brighter room. Each channel is then scaled to a peak of -12 dBFS.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bank.format import Bank, BankError
from dsp.synthesis import FAITHFUL_PEAK
from models.latent import KNOB_STEPS

Floats = NDArray[np.float32]

CONVERTED_HZ = (32_000, 44_100, 48_000, 96_000)


class SteppedBank:
    """An interleaved bank at one engine rate. Control process and renderer."""

    def __init__(self, bank: Bank, rate_hz: int) -> None:
        if not bank.interleaved:
            raise BankError(f"{bank.path}: is not the plug-in's kind of bank")
        self._bank, self._rate_hz = bank, rate_hz
        self._channel = lru_cache(maxsize=16)(
            self._convert
        )  # a turn of one knob comes back to the same few

    def pair(self, x: float, y: float, z: float, width: float) -> tuple[int, int]:
        """Which waveforms are left and right at knob positions 0 .. 9, to the nearest step, and a width -4 .. 4."""
        steps = self._bank.interleaved
        place = 0
        for knob in (x, y, z):
            step = math.floor(min(max(knob / KNOB_STEPS, 0.0), 1.0) * (steps - 1) + 0.5)
            place = place * steps + step
        left = 2 * place
        right = left + math.floor(width + 0.5)
        return left, min(max(right, 0), len(self._bank.waveforms) - 1)

    def ir(self, x: float, y: float, z: float, width: float, resampling: bool) -> Floats:
        """The IR, float32 (2, taps). Raises BankError for a damaged waveform."""
        left, right = self.pair(x, y, z, width)
        channels = [self._channel(left, resampling), self._channel(right, resampling)]
        ir = np.zeros((2, max(len(channel) for channel in channels)), np.float32)
        for row, channel in zip(ir, channels, strict=True):
            row[: len(channel)] = channel
        return ir

    def _convert(self, number: int, resampling: bool) -> Floats:
        waveform = self._bank.waveforms[number]
        samples = waveform.samples[0]
        if not np.isfinite(samples).all():
            raise BankError(
                f"{self._bank.path}: waveform {waveform.name} has samples that are not finite: copy the bank again"
            )
        if resampling and self._rate_hz in CONVERTED_HZ and self._rate_hz != waveform.rate_hz:
            import soxr

            samples = np.asarray(
                soxr.resample(samples, waveform.rate_hz, self._rate_hz, "VHQ"), np.float32
            )
        peak = float(np.abs(samples).max())
        if not peak > 0:
            raise BankError(f"{self._bank.path}: waveform {waveform.name} is silent")
        return np.asarray(samples * np.float32(FAITHFUL_PEAK / peak), np.float32)
