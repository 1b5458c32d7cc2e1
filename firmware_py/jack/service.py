"""`nverb jack`: jackd as a service, configured by the settings file.

A separate process, so that JACK survives restarts of audio and control. It waits for the sound
card, starts jackd on it, and restarts jackd when it dies, hangs or loses its card (see JackKeeper).
If the card rejects the settings, safer ones are tried in turn: sound with more latency is better
than no sound.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import TypedDict

from dsp.errors import UserError
from firmware_py.base import boot
from firmware_py.base.log import logger, set_level
from firmware_py.base.notify import Notifier
from firmware_py.base.signals import stop_signals
from firmware_py.jack.defaults import BLOCK_FRAMES, RATE_HZ
from firmware_py.jack.keeper import JackKeeper
from firmware_py.jack.server import JackServer, sound_cards
from firmware_py.state import settings as settings_file
from firmware_py.state.settings import Settings

log = logger("jack")
LOOK_S = 0.1
"""Period of the checks."""


class DriverSettings(TypedDict, total=False):
    """Settings that override those of the file."""

    block_frames: int
    rate_hz: int
    periods: int


SAFER: tuple[DriverSettings, ...] = (
    {},
    {"block_frames": BLOCK_FRAMES, "rate_hz": RATE_HZ, "periods": 2},
    {"block_frames": 256, "rate_hz": RATE_HZ, "periods": 3},
    {"block_frames": 1024, "rate_hz": 44100, "periods": 3},
)
"""Tried in turn if jackd does not start although the card is present."""


def driver(settings: Settings) -> list[str] | None:
    """jackd's arguments for the card of the settings; None while it is not present."""
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
    """Starts jackd with the settings, with the next entry of SAFER after each failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._failures = settings, 0

    def __call__(self) -> JackServer | None:
        settings = dataclasses.replace(self._settings, **SAFER[self._failures % len(SAFER)])
        words = driver(settings)
        if words is None:
            self._failures = 0
            return None
        if self._failures:
            log.warning(
                f"trying {settings.block_frames} frames at {settings.rate_hz} Hz, "
                f"{settings.periods} periods"
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
    """Keep JACK running until SIGTERM, SIGINT or SIGHUP."""
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    settings, trouble = settings_file.load_for_service()
    set_level(settings.log_level)
    if trouble:
        log.error(trouble)
    notifier, keeper = Notifier(), JackKeeper(_Starter(settings))
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
