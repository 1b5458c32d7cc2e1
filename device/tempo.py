"""The tempo: from taps, and the time of a note at it.

`predelay_sync` selects a note value; `synced_ms` is how long it lasts.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from statistics import median

from device.controls import FREE, NOTE_BEATS, find

TAPS = 4
"""The tempo is the median of the times between the last taps: one that is off changes nothing."""


class TapTempo:
    """Taps, which may come from switches, controllers and commands alike."""

    def __init__(self) -> None:
        self._taps: list[float] = []
        self._tempo = find("tempo")
        self._pause_s = 1.25 * 60 / self._tempo.minimum
        """A longer pause starts again; the slowest tempo, and a hesitation."""

    def tap(self, now: float) -> float | None:
        """Take a tap at `now`, s. Returns the tempo, BPM; None after the first tap."""
        if self._taps and now - self._taps[-1] > self._pause_s:
            self._taps.clear()
        self._taps = [*self._taps[-TAPS:], now]
        if len(self._taps) < 2:
            return None
        beat_s = median(b - a for a, b in pairwise(self._taps))
        return min(max(60 / max(beat_s, 1e-3), self._tempo.minimum), self._tempo.maximum)


def predelay_ms(values: Mapping[str, float]) -> float:
    """The pre-delay of these values of the controls: free, or a note at the tempo, halved until it
    fits."""
    note = find("predelay_sync").choices[round(values["predelay_sync"])]
    if note == FREE:
        return values["predelay"]
    wanted_ms = NOTE_BEATS[note] * 60_000 / values["tempo"]
    while wanted_ms > find("predelay").maximum:
        wanted_ms /= 2
    return wanted_ms
