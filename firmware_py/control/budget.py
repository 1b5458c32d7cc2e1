"""Bounds the time that a source of requests takes from the control loop: socket, OSC, MIDI."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_S = 0.004
"""Time for one source in one turn of the loop. A request that has begun is completed."""
LONGEST_REST_S = 0.25


class Budget:
    """The time of one source.

    A turn starts no further request after LOOK_S. If one request took longer, such as a preset with
    other rooms, the source then rests for as long: the knobs get at least half of the time,
    whatever arrives.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = 0.0
        self._rest_until = 0.0

    @property
    def rest_s(self) -> float:
        """How long the source still rests; 0: it may begin."""
        return max(self._rest_until - self._clock(), 0.0)

    def begin(self) -> None:
        """Begin a turn."""
        self._begun = self._clock()

    @property
    def is_spent(self) -> bool:
        """Whether the turn starts no further request."""
        return self._clock() - self._begun >= LOOK_S

    def end(self) -> bool:
        """End a turn. True if it took longer than LOOK_S."""
        now = self._clock()
        is_over = now - self._begun > LOOK_S
        if is_over:
            self._rest_until = now + min(now - self._begun, LONGEST_REST_S)
        return is_over
