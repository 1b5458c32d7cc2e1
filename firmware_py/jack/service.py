"""`nverb jack`: jackd as a service, configured by the settings file.

A separate process, so that JACK survives restarts of audio and control. It waits for the sound
card, starts jackd on it (see Starter), and restarts jackd when it dies, hangs or loses its card
(see JackKeeper).
"""

from __future__ import annotations

import signal

from firmware_py.base import boot
from firmware_py.base.log import logger, set_level
from firmware_py.base.notify import Notifier
from firmware_py.base.signals import stop_signals
from firmware_py.jack.keeper import JackKeeper
from firmware_py.jack.start import Starter
from firmware_py.state import settings as settings_file

log = logger("jack")
LOOK_S = 0.1
"""Period of the checks."""


def run() -> None:
    """Keep JACK running until SIGTERM, SIGINT or SIGHUP."""
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    settings, trouble = settings_file.load_for_service()
    set_level(settings.log_level)
    if trouble:
        log.error(trouble)
    notifier, keeper = Notifier(), JackKeeper(Starter(settings))
    try:
        while True:
            keeper.tend()
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
        keeper.close()
