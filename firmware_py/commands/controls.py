"""`nverb controls`: the table of all controls."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    controls = subparsers.add_parser(
        "controls", help="list all controls: range, unit, law, default"
    )
    add_json(controls)
    controls.add_argument("--markdown", action="store_true", help="in the form of docs/controls.md")
    controls.set_defaults(handler=_controls)


def _controls(args: argparse.Namespace) -> int:
    from device import controls

    if args.markdown:
        print(controls.markdown(), end="")
        return 0
    if args.json:
        rows = [
            {name: value for name, value in row._asdict().items() if name != "param"}
            | {"in_presets": row.name not in controls.NOT_KEPT}
            for row in controls.CONTROLS
        ]
        print(json.dumps(rows))
        return 0
    print(f"{'name':12} {'range':22} {'law':8} {'default':10} {'CC':>3}  what it does")
    for row in controls.CONTROLS:
        reach = controls.describe_range(row)
        default = controls.format(row, row.default)
        cc = "" if row.cc is None else row.cc
        print(f"{row.name:12} {reach:22} {row.law:8} {default:10} {cc:>3}  {row.help}")
    return 0
