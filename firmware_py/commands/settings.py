"""`nverb settings`: what a builder sets once."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json, add_old_name

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    settings = subparsers.add_parser(
        "settings",
        help="the machine's settings: sound card, block size, board",
        description="What a builder sets once: sound card, block size, board. Kept in "
        "settings.toml of the data folder.",
    )
    add_json(settings)
    parts = settings.add_subparsers(title="what to do (default: show them)", metavar="WHAT")
    settings.set_defaults(handler=_show, names=[], as_owner=True)
    show = parts.add_parser("show", help="print settings")
    show.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    add_json(show)
    show.set_defaults(handler=_show)
    add_old_name(parts, "get", show)
    change = parts.add_parser(
        "set", help="change settings: all that are named or, on an error, none"
    )
    change.add_argument("values", nargs="+", metavar="NAME=VALUE")
    change.set_defaults(handler=_set)
    reset = parts.add_parser("reset", help="back to the defaults")
    reset.set_defaults(handler=_reset)


def _show(args: argparse.Namespace) -> int:
    from dsp.errors import UserError, did_you_mean
    from firmware_py.state import settings as settings_file

    values = dataclasses.asdict(settings_file.load())
    if args.names:
        for name in args.names:
            if name not in values:
                raise UserError(f"no setting {name!r}: {did_you_mean(name, values)}")
        values = {name: values[name] for name in args.names}
    if args.json:
        print(json.dumps(values))
        return 0
    if not args.names:
        print(f"# {settings_file.path()}")
    for name, value in values.items():
        print(f"{name + ' = ' + json.dumps(value):34} # {settings_file.HELP[name]}")
    return 0


def _set(args: argparse.Namespace) -> int:
    from device.profile import load
    from firmware_py.base.paths import data_dir
    from firmware_py.jack import cards
    from firmware_py.state import settings as settings_file

    new = settings_file.parse(args.values)
    for name in settings_file.CARDS:
        if name in new:
            new[name] = cards.normal_name(str(new[name]), f"{name}={new[name]}")
    before = settings_file.load()
    settings = settings_file.checked(dataclasses.asdict(before) | new, "settings")
    load(settings.profile, data_dir())
    if new.keys() & settings_file.CARDS.keys():
        cards.check(settings)
    settings_file.write(settings)
    for name in new:
        print(f"{name} = {getattr(settings, name)}")
        if name in settings_file.CARDS:
            _say_which(getattr(settings, name))
    _say_when_active()
    return 0


def _reset(_: argparse.Namespace) -> int:
    from firmware_py.state import settings as settings_file

    settings_file.write(settings_file.Settings())
    print("all settings have their defaults")
    _say_when_active()
    return 0


def _say_which(value: str) -> None:
    """Print which card that is now."""
    from firmware_py.jack import cards
    from firmware_py.state import card_name

    name = card_name.parse(value)
    if name is None:
        return
    card = cards.find(name)
    if card is not None:
        print(f"# {card}")
    else:
        print(f"# not there now, the pedal waits for it; here: {cards.there_are()}")


def _say_when_active() -> None:
    from firmware_py.base.service import how_to_restart

    print(f"takes effect with the next start: {how_to_restart()}")
