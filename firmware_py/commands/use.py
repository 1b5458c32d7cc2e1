"""`nverb use`: play an installed bank or model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import REFERENCE, carry_out, progress_shown

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    user = subparsers.add_parser(
        "use",
        help="play an installed bank or model",
        description="Play an installed bank or model, from now on.",
    )
    user.add_argument("name", metavar="NAME", help=f"{REFERENCE}, or built-in")
    user.set_defaults(handler=_use)


def _use(args: argparse.Namespace) -> int:
    with progress_shown() as report:
        print(shown(carry_out({"do": "use", "name": args.name}, report)["text"]))
    return 0
