"""Runs the parts of the control loop, so that an error of one leaves the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dsp.errors import UserError, reason
from firmware_py.base.log import logger

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
T = TypeVar("T")

log = logger("control")


class _Failure:
    def __init__(self) -> None:
        self.text = ""
        self.pause_s = FIRST_PAUSE_S
        self.retry_at = 0.0


class LoopParts:
    """A part that raises OSError or UserError is off, and tried again after growing pauses.

    Each failure is logged once. Any other exception is a bug and ends the process, which starts
    again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, _Failure] = {}

    @property
    def failed(self) -> dict[str, str]:
        """Why each part that is off failed last, by name."""
        return {name: failure.text for name, failure in self._failures.items()}

    def run(self, name: str, part: Callable[[], T]) -> T | None:
        """The result of a part; None while it is off."""
        failure = self._failures.get(name)
        if failure is not None and self._clock() < failure.retry_at:
            return None
        try:
            result = part()
        except (OSError, UserError) as error:
            failure = self._failures.setdefault(name, _Failure())
            if reason(error) != failure.text:
                failure.text = reason(error)
                log.warning("%s: %s; the rest works on, trying again", name, failure.text)
            failure.retry_at = self._clock() + failure.pause_s
            failure.pause_s = min(2 * failure.pause_s, LONGEST_PAUSE_S)
            return None
        if failure is not None:
            del self._failures[name]
            log.info("%s: works again", name)
        return result
