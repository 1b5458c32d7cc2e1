"""`nverb jack`: jackd as a service, as the settings file says. A process of its own, so that JACK outlives audio and control.

It waits for the sound card, starts jackd on it, and starts it again when it dies, hangs or loses its card (see JackKeeper). A card
that refuses the settings gets safer ones in turn: longer latency is better than none.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any

from dsp.errors import UserError
from firmware_py.base import boot
from firmware_py.base.log import say
from firmware_py.base.notify import Notifier
from firmware_py.base.signals import stop_signals
from firmware_py.jack.keeper import JackKeeper
from firmware_py.jack.server import JackServer, sound_cards
from firmware_py.state import settings as settings_file
from firmware_py.state.settings import Settings

LOOK_S = 0.1
SAFER: tuple[dict[str, Any], ...] = (
    {},
    {"block_frames": 128, "rate_hz": 48000, "periods": 2},
    {"block_frames": 256, "rate_hz": 48000, "periods": 3},
    {"block_frames": 1024, "rate_hz": 44100, "periods": 3},
)
"""What is tried in turn when jackd does not start on a card that is there."""


def driver(settings: Settings) -> list[str] | None:
    """jackd's words for the settings' card; None while it is not there."""
    if settings.card == "dummy":
        return ["dummy"]
    card = settings.card
    if card == "auto":
        found = next(iter(sound_cards(recording=True)), None)
        if found is None:
            return None
        card = found
    elif card.startswith("hw:") and card.split(",")[0] not in sound_cards():
        return None
    words = ["alsa", "-d", card, "-n", f"{settings.periods}"]
    for option, channels in (("-i", settings.capture_channels), ("-o", settings.playback_channels)):
        if channels:
            words += [option, f"{channels}"]
    return words


class _Starter:
    """Starts jackd as the settings say; a step safer after each failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._failures = settings, 0

    def __call__(self) -> JackServer | None:
        settings = dataclasses.replace(self._settings, **SAFER[self._failures % len(SAFER)])
        words = driver(settings)
        if words is None:
            self._failures = 0
            return None
        if self._failures:
            say(
                "jack",
                f"trying {settings.block_frames} frames at {settings.rate_hz} Hz, {settings.periods} periods",
            )
        try:
            server = JackServer(
                os.environ.get("JACK_DEFAULT_SERVER"),
                words,
                block_frames=settings.block_frames,
                rate_hz=settings.rate_hz,
                realtime=words != ["dummy"],
                own_log=False,
            )
        except UserError:
            self._failures += 1
            raise
        self._failures = 0
        return server


def run() -> None:
    """Keeps JACK running until SIGTERM, SIGINT or SIGHUP."""
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    settings, trouble = settings_file.load_for_service()
    if trouble:
        say("jack", trouble)
    notifier, keeper = Notifier(), JackKeeper(_Starter(settings))
    try:
        while True:
            keeper.tend()
            if keeper.server is not None:
                boot.note("jack")
            if keeper.settled:
                notifier.ready()  # also without a card: waiting for one is this service's work
                notifier.status(keeper.trouble or "running")
            notifier.ping()
            if signal.sigtimedwait(stop, LOOK_S) is not None:
                return
    finally:
        notifier.stopping()
        keeper.close()
