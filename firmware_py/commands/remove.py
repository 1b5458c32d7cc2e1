"""`nverb remove`: delete an installed bank or model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import REFERENCE, carry_out, progress_shown

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    remover = subparsers.add_parser(
        "remove", help="remove an installed bank or model that does not play"
    )
    remover.add_argument("name", metavar="NAME", help=REFERENCE)
    remover.set_defaults(handler=_remove)


def _remove(args: argparse.Namespace) -> int:
    with progress_shown() as report:
        print(shown(carry_out({"do": "remove", "name": args.name}, report)["text"]))
    return 0
