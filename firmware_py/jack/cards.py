"""The sound cards of this machine, and the one that the settings mean.

Read from /proc/asound, without opening a card. A card is named by its identifier (`hw:USB`), which
stays when its number changes.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import UserError
from firmware_py.base.paths import data_path, write_atomically
from firmware_py.state import card_name
from firmware_py.state.card_name import CardName
from firmware_py.state.settings import Settings
from models.reading import read_file

ASOUND = Path("/proc/asound")
WAYS = {"capture": "record", "playback": "play"}
"""ALSA's two directions, and what a card does there."""
_LAST_CHOICES = ("hdmi", "bcm2835", "headphones")
"""Outputs that most boards have and nobody plugs an amplifier into: chosen after all others."""


class NoCard(UserError):
    """The card that the settings mean is not there; it may come."""


@dataclass(frozen=True)
class Card:
    """A sound card. capture, playback: the numbers of its devices for either direction."""

    number: int
    identifier: str
    title: str
    capture: tuple[int, ...]
    playback: tuple[int, ...]

    def devices(self, way: str) -> tuple[int, ...]:
        return self.capture if way == "capture" else self.playback

    def name(self, way: str) -> CardName:
        """The name of its first device for that direction."""
        return CardName(self.identifier, min(self.devices(way), default=0))

    @property
    def both(self) -> bool:
        return bool(self.capture and self.playback)

    @property
    def rank(self) -> int:
        """Order of choice: USB and I2S cards before a board's own outputs, HDMI last."""
        text = f"{self.identifier} {self.title}".lower()
        return next((3 - i for i, word in enumerate(_LAST_CHOICES) if word in text), 0)

    def __str__(self) -> str:
        what = [verb + "s" for way, verb in WAYS.items() if self.devices(way)]
        does = " and ".join(sorted(what)) if self.both else f"{what[0] if what else 'plays'} only"
        return f"hw:{self.identifier} ({self.title or self.identifier}, card {self.number}: {does})"


@dataclass(frozen=True)
class Choice:
    """What jackd opens: ALSA's names for the input and the output."""

    capture: CardName
    playback: CardName

    def name(self, way: str) -> CardName:
        return self.capture if way == "capture" else self.playback

    def __str__(self) -> str:
        if self.capture == self.playback:
            return str(self.playback)
        return f"{self.capture} (input) and {self.playback} (output)"


def sound_cards() -> list[Card]:
    """All cards with sound, in ALSA's order."""
    try:
        text = (ASOUND / "cards").read_text(errors="replace")
        rows = (ASOUND / "pcm").read_text(errors="replace").splitlines()
    except OSError:
        return []
    devices: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        head, _, rest = row.partition(":")
        place = re.fullmatch(r"(\d+)-(\d+)", head.strip())
        if place is None:
            continue
        for way in WAYS:
            if way in rest:
                devices.setdefault((int(place[1]), way), []).append(int(place[2]))
    found = []
    for number, identifier, title in re.findall(
        r"^ *(\d+) \[(\S+) *\]:(?:.*? - )?(.*)$", text, re.MULTILINE
    ):
        capture, playback = (tuple(devices.get((int(number), way), ())) for way in WAYS)
        if capture or playback:
            found.append(Card(int(number), identifier, title.strip(), capture, playback))
    return found


def find(name: CardName) -> Card | None:
    """The card of that name, if it is there. A number means the card with it now."""
    cards = sound_cards()
    if name.number is not None:
        return next((card for card in cards if card.number == name.number), None)
    same = [card for card in cards if card.identifier == name.card]
    alike = [card for card in cards if card.identifier.lower() == name.card.lower()]
    return next(iter(same or alike), None)


def there_are() -> str:
    return "; ".join(map(str, sound_cards())) or "no sound card"


def normal_name(text: str, what: str) -> str:
    """The name to keep for a card named `text`, by identifier; also `text` itself if it is no card.

    Raises UserError for a number without card: which one it meant cannot be known later.
    """
    name = card_name.parse(text, bare=True)
    card = find(name) if name else None
    if name is None or (card is None and not card_name.parse(text)):
        return text
    if card is None:
        if name.number is not None:
            raise UserError(f"{what}: there is no card {name.number} now; here: {there_are()}")
        return str(name)
    return str(CardName(card.identifier, name.device, name.subdevice, name.plug))


def choose(settings: Settings, *, waited: bool = True) -> Choice:
    """The cards that the settings mean.

    `waited`: False right after the start of the system, while cards may still appear; then only
    what is named, was used last or does both counts. Raises NoCard.
    """
    if settings.card == "auto" and "same" in (settings.capture_card, settings.playback_card):
        default = _automatic(settings, waited)
    else:
        default = dict.fromkeys(WAYS, settings.card)
    wanted = {
        "capture": settings.capture_card,
        "playback": settings.playback_card,
    }
    names = {
        way: _present(default[way] if text == "same" else text, way) for way, text in wanted.items()
    }
    return Choice(**names)


def _present(text: str, way: str) -> CardName:
    """The name of a card that is there and has that direction. Raises NoCard."""
    name = card_name.parse(text)
    assert name is not None, text  # the settings accept nothing else
    card = find(name)
    if card is None:
        raise NoCard(f"there is no sound card {name}; here: {there_are()}")
    devices = card.devices(way)
    if not devices:
        raise NoCard(_unable(name, card, way))
    device = name.device if name.device in devices or name.device else min(devices)
    return CardName(card.identifier, device, name.subdevice, name.plug)


def _unable(name: CardName, card: Card, way: str) -> str:
    return (
        f"{name} cannot {WAYS[way]}: {card}; name another card for that with "
        f"`nverb settings set {way}_card=NAME`; here: {there_are()}"
    )


def check(settings: Settings) -> None:
    """Raises UserError if a card that is there cannot do what the settings want of it."""
    for way in WAYS:
        text = getattr(settings, f"{way}_card")
        name = card_name.parse(settings.card if text == "same" else text)
        card = find(name) if name else None
        if name and card and not card.devices(way):
            raise UserError(_unable(name, card, way))


def _automatic(settings: Settings, waited: bool) -> dict[str, str]:
    """The cards for "auto" and each direction without a card of its own.

    Those used last, else one that does both, else one for each.
    """
    cards = sorted(sound_cards(), key=lambda card: card.rank)
    able = {way: [str(card.name(way)) for card in cards if card.devices(way)] for way in WAYS}
    last = _remembered()
    if last and all(last[way] in able[way] for way in WAYS):
        return last
    if last and not waited:
        raise NoCard(
            f"the sound card used last, {last['playback']}, is not there; here: {there_are()}"
        )
    free = [way for way in WAYS if getattr(settings, f"{way}_card") == "same"]
    for card in cards:
        if card.both and len(free) == 2:
            return {way: str(card.name(way)) for way in WAYS}
    missing = [WAYS[way] for way in free if not able[way]]
    if missing or not (waited or len(free) == 1):
        need = f"can {missing[0]}" if missing else "plays and records"
        raise NoCard(f"there is no sound card that {need}; here: {there_are()}")
    return {way: able[way][0] for way in free}


def _memory() -> Path:
    return data_path() / "sound-card"


def _remembered() -> dict[str, str] | None:
    """The cards that were used last, by direction."""
    try:
        words = read_file(_memory(), 200).decode().split()
    except (OSError, ValueError, UserError):
        return None
    names = [card_name.parse(word) for word in words]
    if len(names) != 2 or None in names:
        return None
    return dict(zip(WAYS, map(str, names), strict=True))


def remember(choice: Choice) -> None:
    """Prefer these cards from now on, while the setting is "auto". Never raises."""
    now = {way: str(choice.name(way)) for way in WAYS}
    if _remembered() != now:
        with contextlib.suppress(OSError, UserError):
            data = (" ".join(now.values()) + "\n").encode()
            write_atomically(_memory(), lambda file: file.write(data))


def holder(name: CardName, way: str) -> str:
    """The process that has the device open, such as "pipewire (process 812 of pi)"; "" if none."""
    card = find(name)
    if card is None:
        return ""
    folder = ASOUND / f"card{card.number}" / f"pcm{name.device}{way[0]}"
    for status in sorted(folder.glob("sub*/status")):
        with contextlib.suppress(OSError):
            if owner := re.search(r"^owner_pid\s*:\s*(\d+)", status.read_text(), re.MULTILINE):
                return _process(int(owner[1]))
    return ""


def _process(pid: int) -> str:
    try:
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return f"process {pid}"
    with contextlib.suppress(KeyError):
        return f"{comm} (process {pid} of {pwd.getpwuid(uid).pw_name})"
    return f"{comm} (process {pid})"
