"""`nverb help`: the help of a command. firmware_py.cli turns it into COMMAND --help."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    helper = subparsers.add_parser("help", help="explain a command: `nverb help preset save`")
    helper.add_argument("words", nargs="*", metavar="COMMAND")
