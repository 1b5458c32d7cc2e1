"""Starts jackd as the settings say: the one way to it, for `nverb run` and for `nverb jack`.

The cards are asked what they can do. If jackd still refuses, one thing changes at a time: first the
number of periods, then the rate, and only then the player's block size. Sound with more latency is
better than no sound.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import time
from typing import NamedTuple

from firmware_py.base.log import logger
from firmware_py.jack import abilities, cards, mixer, report
from firmware_py.jack.abilities import Abilities
from firmware_py.jack.cards import WAYS, Choice, NoCard
from firmware_py.jack.reasons import busy
from firmware_py.jack.server import JackFailed, JackServer, take_limits
from firmware_py.state.settings import Settings

log = logger("jack")
APPEAR_S = 15.0
"""After the start of a service, cards appear for so long; later what is there is all there is."""
_RATES_HZ = (48000, 44100, 96000, 88200, 192000, 32000)
_BLOCKS = (16, 32, 64, 128, 256, 512, 1024)
_PERIODS = (2, 3, 4)


class JackAttempt(NamedTuple):
    """What jackd is asked for. The field names are those of the settings."""

    block_frames: int
    rate_hz: int
    periods: int

    def __str__(self) -> str:
        return f"{self.block_frames} frames x {self.periods} at {self.rate_hz} Hz"


def attempts(wanted: Settings, able: Abilities) -> list[JackAttempt]:
    """What to try, in this order: the settings, as far as the card can, then one change more."""

    def values(setting: str, others: tuple[int, ...]) -> list[int]:
        first = getattr(wanted, setting)
        possible = [value for value in (first, *others) if able.can(setting, value)]
        return list(dict.fromkeys(possible)) or [able.nearest(setting, first)]

    block = wanted.block_frames
    blocks = values(
        "block_frames",
        (*(b for b in _BLOCKS if b > block), *(b for b in reversed(_BLOCKS) if b < block)),
    )
    larger = [b for b in blocks if b >= block] or blocks[:1]
    rates, periods = values("rate_hz", _RATES_HZ), values("periods", _PERIODS)
    return list(itertools.starmap(JackAttempt, itertools.product(larger, rates[:3], periods[:2])))


def driver(settings: Settings, choice: Choice | None, periods: int) -> list[str]:
    """jackd's driver and its options, but for rate and block. `choice`: None for no card."""
    if choice is None:
        return ["dummy"]
    if choice.capture == choice.playback:
        words = ["alsa", "-d", str(choice.playback)]
    else:
        words = ["alsa", "-C", str(choice.capture), "-P", str(choice.playback)]
    words += ["-n", str(periods)]
    for option, channels in (("-i", settings.capture_channels), ("-o", settings.playback_channels)):
        if channels:
            words += [option, str(channels)]
    return words


class Starter:
    """Starts jackd; a call makes one attempt, the next call another one if it was refused.

    `at_once`: the first call makes all attempts and fails only after the last one, and jackd's own
    messages stay out of the log: for a command, not a service.
    """

    def __init__(self, settings: Settings, *, at_once: bool = False) -> None:
        self._settings, self._at_once, self._forward = settings, at_once, not at_once
        self._began_s = time.monotonic()
        self._choice: Choice | None = None
        self._mixer_is_set = False
        self._left: list[JackAttempt] = []
        self._able = Abilities()

    def __call__(self) -> JackServer:
        """Raises NoCard, JackFailed, UserError."""
        refusal: JackFailed | None = None
        while True:
            try:
                server = self._attempt()
            except JackFailed as error:
                refusal = refusal or error  # that of the player's own settings
                if self._at_once and self._left and error.reason.culprit != "card":
                    continue
                raise refusal from None
            self._at_once = False
            return server

    def _attempt(self) -> JackServer:
        settings = self._settings
        choice = None
        if settings.card != "dummy":
            waited = self._at_once or time.monotonic() - self._began_s > APPEAR_S
            try:
                choice = cards.choose(settings, waited=waited)
            except NoCard:
                self._mixer_is_set = False  # a card forgets its mixer while it is away
                raise
            self._check_free(choice)
        if not self._left or choice != self._choice:
            self._able = abilities.ask(choice) if choice else Abilities()
            self._left = attempts(settings, self._able) if choice else [_asked(settings)]
            self._choice, self._mixer_is_set = choice, False
        if choice and not self._mixer_is_set:
            mixer.restore(str(choice.capture), str(choice.playback))
            self._mixer_is_set = True
        attempt = self._left[0]
        words = driver(settings, choice, attempt.periods)
        realtime = take_limits() or choice is not None  # with a card jackd tries and reports
        try:
            server = JackServer(
                os.environ.get("JACK_DEFAULT_SERVER"),
                words,
                block_frames=attempt.block_frames,
                rate_hz=attempt.rate_hz,
                realtime=realtime,
                choice=choice,
                forward=self._forward,
            )
        except JackFailed as error:
            self._refused(attempt, error.reason.culprit)
            raise
        self._started(server, attempt)
        return server

    def _check_free(self, choice: Choice) -> None:
        """Raises JackFailed if another program has the card: jackd need not try."""
        if any(cards.holder(choice.name(way), way) for way in WAYS):
            why = busy(choice)
            raise JackFailed(f"jackd cannot open {choice}: {why}", why)

    def _refused(self, attempt: JackAttempt, culprit: str) -> None:
        """Drop the attempt, and all others with the value that the card has refused."""
        if culprit == "card":
            return  # no other attempt would help
        self._left = [
            other
            for other in self._left
            if other != attempt
            and not (culprit and getattr(other, culprit) == getattr(attempt, culprit))
        ]

    def _started(self, server: JackServer, attempt: JackAttempt) -> None:
        choice = self._choice
        self._mixer_is_set = False  # the next start is after a stop
        if rate := re.search(r"sample rate in use \((\d+) Hz\) does not match", server.log()):
            attempt = attempt._replace(rate_hz=int(rate[1]))  # jackd plays at it all the same
        changed = self._changes(attempt)
        server.report = report.new("jackd", choice=choice, changed=changed, **attempt._asdict())
        if choice and self._settings.card == "auto":
            cards.remember(choice)
        if changed:
            log.warning(f"{choice} plays {attempt}: {changed}")

    def _changes(self, attempt: JackAttempt) -> str:
        """What differs from the settings, and why."""
        texts = []
        for setting, unit in (
            ("rate_hz", " Hz"),
            ("periods", " periods"),
            ("block_frames", " frames"),
        ):
            wanted = getattr(self._settings, setting)
            if wanted == getattr(attempt, setting):
                continue
            able = self._able.text(setting)
            why = f"it can {able}" if not self._able.can(setting, wanted) else "it refused"
            texts.append(f"not {wanted}{unit}, {why}")
        return "; ".join(texts)


def _asked(settings: Settings) -> JackAttempt:
    fields = dataclasses.asdict(settings)
    return JackAttempt(**{name: fields[name] for name in JackAttempt._fields})
