"""Wait for a condition, never for a time: durations depend on the load of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

HANG_S = 400
"""Timeout of all waits and subprocesses: ends a hanging test, even on a very busy machine. An
installation has low priority and takes minutes there."""

Answer = TypeVar("Answer")


def wait_until(
    condition: Callable[[], Answer],
    *,
    tend: Callable[[], object] | None = None,
    told: Callable[[], object] | None = None,
) -> Answer:
    """Poll `condition` and return its first true value.

    `tend`: called between two polls. `told`: returns the text of the failure after HANG_S.
    """
    deadline = time.monotonic() + HANG_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"timed out: {told() if told else condition}"
        if tend is not None:
            tend()
        time.sleep(0.01)
    return answer
