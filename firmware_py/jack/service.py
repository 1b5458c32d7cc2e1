"""`nverb jack`: jackd as a service, configured by the settings file.

A separate process, so that JACK survives restarts of audio and control. It waits for the sound
card, starts jackd on it (see Starter), and restarts jackd when it dies, hangs or loses its card
(see JackKeeper).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

from firmware_py.base import boot
from firmware_py.base.log import logger, set_level
from firmware_py.base.notify import Notifier
from firmware_py.base.process import ends_with_parent, module_command
from firmware_py.base.signals import stop_signals
from firmware_py.jack.keeper import JackKeeper
from firmware_py.jack.start import Starter
from firmware_py.state import settings as settings_file

log = logger("jack")
LOOK_S = 0.1
"""Period of the checks."""
RESTART_S = 2.0
"""Shortest time between two starts of the process that remembers connections."""


class _Connections:
    """Keeps firmware_py.jack.connections running."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0

    def tend(self) -> None:
        """Start the process if it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        if time.monotonic() >= self._next_start:
            self._next_start = time.monotonic() + RESTART_S
            environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
            command = module_command("firmware_py.jack.connections", "nverb")
            self._process = subprocess.Popen(
                ends_with_parent(command), stdin=subprocess.DEVNULL, env=environment
            )

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:  # it waits for a jackd that hangs
                self._process.kill()
                self._process.wait()


def run() -> None:
    """Keep JACK running until SIGTERM, SIGINT or SIGHUP."""
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    settings, trouble = settings_file.load_for_service()
    set_level(settings.log_level)
    if trouble:
        log.error(trouble)
    notifier, keeper = Notifier(), JackKeeper(Starter(settings))
    connections = _Connections()
    try:
        while True:
            keeper.tend()
            connections.tend()
            if keeper.server is not None:
                boot.note("jack")
            if keeper.settled:
                notifier.ready()  # also without a card: the service waits for one
                notifier.status(keeper.trouble or "running")
            notifier.ping()
            if signal.sigtimedwait(stop, LOOK_S) is not None:
                return
    finally:
        notifier.stopping()
        connections.close()
        keeper.close()
