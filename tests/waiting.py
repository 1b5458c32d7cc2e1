"""Waiting for what a test needs, never for a time: how long it takes says how busy the machine is, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

HANG_S = 180
"""Ends a test that hangs: far longer than anything takes that does not, on a machine however busy. Of all waits and subprocesses."""

Answer = TypeVar("Answer")


def wait_until(
    condition: Callable[[], Answer],
    *,
    tend: Callable[[], object] | None = None,
    told: Callable[[], object] | None = None,
) -> Answer:
    """What `condition` returns once that is true. `tend`: called between two looks; `told`: what to say when it never comes true."""
    deadline = time.monotonic() + HANG_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {told() if told else condition}"
        if tend is not None:
            tend()
        time.sleep(0.01)
    return answer
