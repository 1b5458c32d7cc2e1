"""Runs the pedal's processes and starts again what dies: JACK (if it is ours), the audio process, the control process.

On a board systemd does this (systemd/); this is for a desk, the demo and the tests. The processes know nothing of it: each can
be killed at any time, and the others go on.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_py.jack import JackServer

LONGEST_PAUSE_S = 1.0
STABLE_S = 5.0


@dataclass
class Child:
    """A process that shall be running. The pause before a new start grows while it keeps dying young."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    inherit_stdin: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = 0.0
    starts: int = 0

    def tend(self, now: float) -> None:
        """Starts the process if it is not running and its pause is over."""
        if self.process is not None:
            status = self.process.poll()
            if status is None:
                return
            lived = now - self.started
            self.process = None
            self.pause_s = 0.0 if lived > STABLE_S else min(max(2 * self.pause_s, 0.1), LONGEST_PAUSE_S)
            why = f"killed by signal {-status}" if status < 0 else f"left with status {status}"
            print(f"nverb: {self.name} {why}; starting it again", file=sys.stderr, flush=True)
            self.started = now
        if now - self.started >= self.pause_s or self.starts == 0:
            self.process = subprocess.Popen(
                self.command,
                stdin=None if self.inherit_stdin else subprocess.DEVNULL,
                env=os.environ | self.environment,
            )
            self.started = now
            self.starts += 1

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def join(self, timeout_s: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """`start_jack`: makes a JACK server of ours, or None if there is one that is not ours to tend."""

    def __init__(self, children: list[Child], start_jack: Callable[[], JackServer] | None) -> None:
        self.children = children
        self._start_jack = start_jack
        self.jack = start_jack() if start_jack else None

    def tend(self) -> None:
        """One look at everything. Raises UserError if JACK cannot be started again."""
        if self._start_jack and self.jack and not self.jack.alive():
            print(f"nverb: jackd is gone ({self.jack.last_words()}); starting it again", file=sys.stderr, flush=True)
            self.jack.close()
            self.jack = self._start_jack()
        for child in self.children:
            child.tend(time.monotonic())

    def run(self) -> None:
        """Tends everything until SIGINT, SIGTERM or SIGHUP, or until the control process is left with status 0 (its user quit)."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        stop = False

        def on_signal(number: int, _frame: object) -> None:
            nonlocal stop
            stop = stop or number != signal.SIGCHLD

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, on_signal)
        try:
            while not stop:
                self.tend()
                if select.select([reader], [], [], 0.2)[0]:
                    os.read(reader, 4096)
                stop = stop or any(
                    c.inherit_stdin and c.process is not None and c.process.poll() == 0 for c in self.children
                )
        finally:
            self.stop()

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()
        for child in reversed(self.children):
            child.join(3)
        if self.jack:
            self.jack.close()


def command(*words: str) -> list[str]:
    """The command line of one of our own commands, run by this Python."""
    return [sys.executable, "-m", "firmware_py.cli", *words]
