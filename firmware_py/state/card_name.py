"""ALSA's name of a sound card, as players write it, in one spelling.

`USB`, `1`, `hw:1`, `hw:USB`, `hw:USB,0`, `hw:CARD=USB,DEV=0` and `sysdefault:CARD=USB` (the last
two are what `aplay -L` prints) all name a card. Numbers change when cards are plugged in another
order; identifiers such as `USB` do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_KINDS = {"hw": "hw", "plughw": "plughw", "sysdefault": "hw", "front": "hw", "default": "hw"}
"""Kinds that `aplay -L` prints for a card, and what JACK opens: it needs the hardware itself."""
_ARGUMENTS = ("CARD", "DEV", "SUBDEV")
_IDENTIFIER = re.compile(r"[\w.+-]{1,40}", re.ASCII)


@dataclass(frozen=True)
class CardName:
    """card: ALSA's identifier, or a number. str() is the one spelling that settings keep."""

    card: str
    device: int = 0
    subdevice: int = 0
    plug: bool = False
    """ALSA converts sample formats and rates ("plughw")."""

    def __str__(self) -> str:
        numbers = [str(self.device), str(self.subdevice)]
        while numbers and numbers[-1] == "0":
            numbers.pop()
        return ("plughw:" if self.plug else "hw:") + ",".join([self.card, *numbers])

    @property
    def number(self) -> int | None:
        """The card's number, if it is named by number."""
        return int(self.card) if self.card.isdecimal() else None


def parse(text: str, *, bare: bool = False) -> CardName | None:
    """The card that `text` names; None if it is no such name. `bare`: without `hw:`, too."""
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        if not bare:
            return None
        kind, rest = "hw", kind
    if kind not in _KINDS:
        return None
    found: dict[str, str] = {}
    for position, word in enumerate(rest.split(",")):
        key, equals, value = word.partition("=")
        if not equals:
            key, value = (_ARGUMENTS[position] if position < len(_ARGUMENTS) else ""), word
        if key not in _ARGUMENTS or key in found:
            return None
        found[key] = value.strip()
    card, device, subdevice = (found.get(key, "0") for key in _ARGUMENTS)
    if "CARD" not in found or not _IDENTIFIER.fullmatch(card):
        return None
    if not all(re.fullmatch(r"[0-9]{1,3}", number) for number in (device, subdevice)):
        return None
    return CardName(card, int(device), int(subdevice), _KINDS[kind] == "plughw")
