"""`nverb get`: print controls of the running pedal, over its socket."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    getter = subparsers.add_parser("get", help="print controls of the running pedal")
    getter.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    add_json(getter)
    getter.set_defaults(handler=_get)


def _get(args: argparse.Namespace) -> int:
    from device import controls
    from firmware_py.link.client import ask

    names = [controls.find(name).name for name in args.names]
    values = ask({"do": "get", "names": names})["values"]
    if args.json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name} = {controls.format(controls.find(name), value)}")
    return 0
