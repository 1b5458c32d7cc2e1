"""The tempo of MIDI clock, 24 ticks a beat.

A line through the times of the last ticks is the tempo: jitter of single ticks averages out. A tick
that comes late by about a whole number of ticks came after lost ones. Ticks that leave the line for
good are a new tempo: the line begins again with the next, and until it is long enough the old tempo
holds. It holds as well when the clock stops.
"""

from __future__ import annotations

from collections import deque

from firmware_py.control.midi_backend import TICK_S

TICKS = 24
"""A beat."""
WINDOW = 8 * TICKS
PAUSE_S = 2.0
"""After a longer pause the line begins again."""
LATEST = 6
"""The ticks that decide whether the tempo has changed."""
OFF_S = 0.004
"""So far from the line is their mean then: jitter of 3 ms stays below."""
LOST = 0.6
"""A tick that is so many ticks late came after lost ones."""


class MidiClock:
    """Follows the clock of one port: the first that ticks, until it pauses."""

    def __init__(self) -> None:
        self.bpm: float | None = None
        """The last tempo found."""
        self._port = -1
        self._heard_s = -PAUSE_S
        self._stamp = 0
        self._begin()

    def is_running(self, now_s: float) -> bool:
        """Whether it has ticked within PAUSE_S."""
        return now_s - self._heard_s < PAUSE_S

    def describe(self, now_s: float) -> str:
        """For the line of `nverb status`; "" without a clock."""
        if self.bpm is None or not self.is_running(now_s):
            return ""
        return f"; clock {self.bpm:.1f} BPM"

    def _begin(self) -> None:
        self._ticks: deque[tuple[int, float]] = deque([(0, 0.0)], WINDOW)
        """Number and time of each tick."""
        self._late: deque[float] = deque(maxlen=LATEST)
        """How far the last ticks were from the line, s."""
        self._losses = 0
        self._line: tuple[float, float] | None = None
        """When tick 0 came, and the time between ticks."""
        self._since_found = TICKS

    def tick(self, port: int, stamp: int, now_s: float) -> float | None:
        """A tick has come from a port. stamp: see midi_backend.clock_record. Returns the tempo in
        BPM once a beat, else None."""
        is_running = self.is_running(now_s)
        if is_running and port != self._port:
            return None
        step_s = ((stamp - self._stamp) & 0xFFFF) * TICK_S
        self._port, self._heard_s, self._stamp = port, now_s, stamp
        if is_running:
            return self._take(step_s)
        self._begin()
        return None

    def _take(self, step_s: float) -> float | None:
        number, time_s = self._ticks[-1][0] + 1, self._ticks[-1][1] + step_s
        if self._line is not None:
            number += self._lost_before(number, time_s)
            self._late.append(time_s - self._line[0] - number * self._line[1])
        self._ticks.append((number, time_s))
        if self._has_left_the_line():
            self._begin()
        if len(self._ticks) < TICKS:
            return None
        self._line = _line(self._ticks)
        self._since_found += 1
        if self._since_found < TICKS:
            return None
        self._since_found = 0
        self.bpm = 60 / (TICKS * self._line[1])
        return self.bpm

    def _lost_before(self, number: int, time_s: float) -> int:
        """How many ticks were lost before this one."""
        assert self._line is not None
        late = (time_s - self._line[0]) / self._line[1] - number
        if late < LOST:
            self._losses = max(0, self._losses - 1)
            return 0
        self._losses += 2
        return round(late)

    def _has_left_the_line(self) -> bool:
        """A slower clock seems to lose every other tick."""
        if self._losses > LATEST:
            return True
        return len(self._late) == LATEST and abs(sum(self._late)) > LATEST * OFF_S


def _line(ticks: deque[tuple[int, float]]) -> tuple[float, float]:
    """The line of least squares: time of tick 0, time between two."""
    count = len(ticks)
    mean_n = sum(n for n, _ in ticks) / count
    mean_t = sum(t for _, t in ticks) / count
    spread = sum((n - mean_n) ** 2 for n, _ in ticks)
    slope = sum((n - mean_n) * (t - mean_t) for n, t in ticks) / spread
    slope = max(slope, TICK_S)
    return mean_t - slope * mean_n, slope
