"""`nverb reset`: the running pedal plays as after power-on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    reset = subparsers.add_parser(
        "reset",
        help="play as after power-on: the startup preset, else the defaults of all controls",
    )
    reset.set_defaults(handler=_reset)


def _reset(_: argparse.Namespace) -> int:
    from firmware_py.link.client import ask

    preset = ask({"do": "reset"})["preset"]
    print(f"{preset} plays" if preset else "all controls have their defaults")
    return 0
