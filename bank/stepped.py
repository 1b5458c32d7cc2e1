"""Plays the plug-in's bank like the plug-in: ten steps per axis, width as a neighbour in the bank,
resampling on or off.

    left  = 2 * (steps ** 2 * x + steps * y + z)      x, y, z the knobs' steps, from 0
    right = left + width, clamped to the bank         width -4 .. 4, an integer

With resampling on, and an engine rate in CONVERTED_HZ, the waveforms are resampled to that rate.
Otherwise their samples are used unchanged: a shorter, brighter room. Each channel is then scaled to
a peak of -12 dBFS.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bank.format import Bank, BankError
from dsp.recent import Recent
from dsp.synthesis import FAITHFUL_PEAK
from models.latent import KNOB_STEPS

Floats = NDArray[np.float32]

CONVERTED_HZ = (32_000, 44_100, 48_000, 96_000)


class SteppedBank:
    """An interleaved bank at one engine rate. Used by the control process and the renderer."""

    def __init__(self, bank: Bank, rate_hz: int) -> None:
        if not bank.interleaved:
            raise BankError(f"{bank.path}: is not an interleaved bank, as the plug-in's is")
        self._bank, self._rate_hz = bank, rate_hz
        # Turning one knob returns to the same few waveforms.
        self._channels: Recent[tuple[int, bool], Floats] = Recent(16)

    def pair(self, x: float, y: float, z: float, width: float) -> tuple[int, int]:
        """Indices of the left and right waveform at knob positions 0 .. 9 and a width of -4 .. 4.

        Each is rounded to the nearest step.
        """
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

    def _channel(self, number: int, resampling: bool) -> Floats:
        return self._channels.get((number, resampling), lambda: self._convert(number, resampling))

    def _convert(self, number: int, resampling: bool) -> Floats:
        waveform = self._bank.waveforms[number]
        samples = waveform.samples[0]
        if not np.isfinite(samples).all():
            raise BankError(
                f"{self._bank.path}: waveform {waveform.name} has samples that are not finite: "
                "copy the bank again"
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
