"""`nverb status`: the running pedal on one screen."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    status = subparsers.add_parser("status", help="the running pedal on one screen")
    add_json(status)
    status.set_defaults(handler=_status)


def _status(args: argparse.Namespace) -> int:
    from firmware_py.desk.screen import complete, screen
    from firmware_py.link.client import ask

    status = complete(ask({"do": "status"})["status"])
    print(json.dumps(status) if args.json else screen(status))
    return 0
