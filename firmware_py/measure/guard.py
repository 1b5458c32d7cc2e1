"""Connects JACK ports again when a measurement ends, however it ends. A process of its own,
`python -m firmware_py.measure.guard`.

Standard input: a line of JSON for each connection, [from, to]. At its end, which a killed
measurement brings about too, they are made. It answers "ready" when it can.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable

from firmware_py.base.stderr import keep_stderr_harmless
from firmware_py.jack.connections import Jack, Pair

TRY_S = 10.0
"""A port that is missing may come back: the audio process may be restarting."""


class Stopped(BaseException):
    """A stop signal came."""


def _stop(_number: int, _frame: object) -> None:
    raise Stopped


def restore(jack: Jack, pairs: Iterable[Pair]) -> None:
    """Make the connections; those whose ports are missing as soon as they are there."""
    left, until = list(pairs), time.monotonic() + TRY_S
    while left and time.monotonic() < until:
        left = [pair for pair in left if not jack.connect(pair)]
        if left:
            time.sleep(0.05)


def main() -> int:
    """Wait for the end of standard input. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    jack = Jack("nverb-measure-guard")
    pairs: list[Pair] = []
    print("ready", flush=True)
    try:
        for line in sys.stdin:
            source, target = json.loads(line)
            pairs.append((source, target))
    except Stopped:
        pass
    restore(jack, pairs)
    return 0


if __name__ == "__main__":
    keep_stderr_harmless()
    try:
        status = main()
    except OSError as error:
        print(error, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    os._exit(status)  # libjack's exit handlers may hang when its server is gone
