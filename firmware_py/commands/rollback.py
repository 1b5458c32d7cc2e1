"""`nverb rollback`: play the bank or model that was in use before."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import carry_out, progress_shown

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    rollback = subparsers.add_parser(
        "rollback",
        help="go back to the bank or model that was in use before",
        description="Go back to the bank or model that was in use before this one. "
        "A second rollback undoes the first.",
    )
    rollback.add_argument("kind", choices=("bank", "model"))
    rollback.set_defaults(handler=_rollback)


def _rollback(args: argparse.Namespace) -> int:
    with progress_shown() as report:
        print(shown(carry_out({"do": "rollback", "kind": args.kind}, report)["text"]))
    return 0
