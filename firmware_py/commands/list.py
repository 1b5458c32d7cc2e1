"""`nverb list`: the installed banks and models."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import carry_out, progress_shown
from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    lister = subparsers.add_parser(
        "list", help="the banks and models that are installed; * marks what plays"
    )
    add_json(lister)
    lister.set_defaults(handler=_list)


def _list(args: argparse.Namespace) -> int:
    with progress_shown() as report:
        rows = carry_out({"do": "list"}, report)["rows"]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        mark = "*" if row["plays"] else "-" if row["in_use"] else " "
        print(f"{mark} {row['kind']:6} {shown(row['reference']):54} {row['bytes'] / 1e6:8.2f} MB")
    if not any(row["plays"] for row in rows):
        print("* built-in rooms")
    return 0
