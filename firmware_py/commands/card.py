"""`nverb card`: the sound card's mixer."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json, add_old_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_py.commands.parsers import Handler, Subparsers
    from firmware_py.jack.cards import Card


def add_parser(subparsers: Subparsers) -> None:
    card = subparsers.add_parser(
        "card",
        help="the sound card's mixer: show, set the input level, keep, restore",
        description="The mixer of the sound card. What is kept is restored at each start and when "
        "the card comes back. Needs the group audio.",
    )
    parts = card.add_subparsers(title="what to do", metavar="WHAT", required=True)

    def part(name: str, handler: Handler, text: str) -> argparse.ArgumentParser:
        parser = parts.add_parser(name, help=text)
        parser.add_argument(
            "card",
            nargs="?",
            metavar="CARD",
            help="such as hw:USB (default: the one that the pedal records from)",
        )
        parser.set_defaults(handler=handler, as_owner=True)
        return parser

    add_json(part("show", _show, "what the card is, and its controls"))
    part("level", _level, "set the input gain: play as loud as you will")
    part("save", _save, "keep the mixer as it is now")
    part("restore", _restore, "set the mixer as at the start of the pedal")
    remover = part("remove", _remove, "remove what is kept: starting points count again")
    add_old_name(parts, "forget", remover)


def _card(args: argparse.Namespace) -> Card:
    """The card that was named, else the pedal's: the one with the input. Raises UserError."""
    from dsp.errors import UserError
    from firmware_py.jack import cards, mixer
    from firmware_py.state import settings as settings_file

    name = args.card
    if not name:
        settings = settings_file.load()
        if settings.card == "dummy":
            settings = dataclasses.replace(settings, card="auto")
        try:
            name = str(cards.choose(settings).capture)
        except cards.NoCard:
            if settings.card != "auto" or not cards.sound_cards():
                raise
            return cards.sound_cards()[0]  # an output only has a mixer, too
    card = mixer.find(name)
    if card is None:
        raise UserError(f"there is no sound card {name}; here: {cards.there_are()}")
    return card


def _show(args: argparse.Namespace) -> int:
    import time

    from firmware_py.desk.card import facts, text
    from firmware_py.jack import mixer

    card = _card(args)
    file = mixer.state_file(card.identifier)
    kept = ""
    if file.exists():
        stamp = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime))
        kept = f"since {stamp} in {file}"
    found = mixer.controls(card.identifier)
    if args.json:
        print(json.dumps(facts(card, found, kept), indent=2))
    else:
        print(text(card, found, kept))
    return 0


def _level(args: argparse.Namespace) -> int:
    from firmware_py.desk.card import guide
    from firmware_py.jack import mixer

    card = _card(args)
    peaks = _input_peaks()
    print(f"{card.identifier}: play as loud as you will (Ctrl-C ends)", flush=True)
    wipe = "\r\x1b[K" if sys.stdout.isatty() else ""
    good = guide(card, peaks, lambda line: print(f"{wipe}{line}", flush=True), _meter())
    if good and mixer.controls(card.identifier):
        print(f"kept in {mixer.save(card.identifier)}")
    return 0 if good else 1


def _input_peaks() -> Callable[[], Sequence[float]]:
    """The input meters of the running pedal, which has the card open. Raises UserError."""
    from dsp.errors import UserError
    from firmware_py.link.client import ask

    def peaks() -> Sequence[float]:
        audio = ask({"do": "status"})["status"]["audio"]
        if audio is None or not audio["alive"]:
            raise UserError("the pedal does not play: see `nverb status`")
        levels: Sequence[float] = audio["input_db"]
        return levels

    peaks()
    return peaks


def _meter() -> Callable[[float, float], None]:
    """Draws the input level on a terminal; without one, nothing."""
    from firmware_py.desk.screen import meter

    def show(now_db: float, loudest_db: float) -> None:
        print(f"\r{meter(now_db)} {now_db:6.1f} dBFS, loudest {loudest_db:.1f}\x1b[K", end="")
        sys.stdout.flush()

    return show if sys.stdout.isatty() else lambda now_db, loudest_db: None


def _save(args: argparse.Namespace) -> int:
    from firmware_py.jack import mixer

    print(f"kept in {mixer.save(_card(args).identifier)}; restored at each start")
    return 0


def _restore(args: argparse.Namespace) -> int:
    from firmware_py.jack import mixer

    card = _card(args)
    done, trouble = mixer.set_up(card)
    print(f"{card.identifier}: {done or 'nothing to restore, and nothing is muted'}")
    if trouble:
        say(f"{card.identifier}: {trouble}")
    return 1 if trouble else 0


def _remove(args: argparse.Namespace) -> int:
    from firmware_py.jack import mixer

    card = _card(args)
    kept = mixer.forget(card.identifier)
    print(f"{card.identifier}: {'kept no longer' if kept else 'nothing was kept'}")
    return 0
