"""`nverb set`, `nverb get`, `nverb status`: the running pedal, over its socket."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_parsers(subparsers: Any) -> None:
    setter = subparsers.add_parser(
        "set",
        help="set controls of the running pedal",
        description="Set controls of the running pedal: `nverb set x=3 mix=40 lowpass=on`. All of them or, on an error, none.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    setter.add_argument("values", nargs="+", metavar="NAME=VALUE")
    setter.set_defaults(handler=_set)

    getter = subparsers.add_parser("get", help="print controls of the running pedal")
    getter.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    getter.add_argument("--json", action="store_true", help="for programs")
    getter.set_defaults(handler=_get)

    status = subparsers.add_parser("status", help="one screen on how the running pedal is")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(handler=_status)

    controls = subparsers.add_parser(
        "controls", help="list all controls: range, unit, law, default"
    )
    controls.add_argument("--markdown", action="store_true", help="as docs/controls.md has it")
    controls.set_defaults(handler=_controls)


def _epilog() -> str:
    from device.controls import CONTROLS, describe_range

    rows = "\n".join(f"  {row.name:12} {describe_range(row):22} {row.help}" for row in CONTROLS)
    return (
        f"controls, with the units that a value may carry (`2 kHz`, `-3 dB`, `40%`, `on`):\n{rows}"
    )


def _set(args: argparse.Namespace) -> int:
    from device import controls
    from device.controls import parse_assignments
    from firmware_py.link.client import ask

    answer = ask({"do": "set", "values": parse_assignments(args.values)})
    for name, value in answer["values"].items():
        print(f"{name} = {controls.format(controls.find(name), value)}")
    return 0


def _get(args: argparse.Namespace) -> int:
    from device import controls
    from firmware_py.link.client import ask

    values = ask({"do": "get", "names": [controls.find(name).name for name in args.names]})[
        "values"
    ]
    if args.json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name} = {controls.format(controls.find(name), value)}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from firmware_py.desk.screen import complete, screen
    from firmware_py.link.client import ask

    status = complete(ask({"do": "status"})["status"])
    print(json.dumps(status) if args.json else screen(status))
    return 0


def _controls(args: argparse.Namespace) -> int:
    from device import controls

    if args.markdown:
        print(controls.markdown(), end="")
        return 0
    print(f"{'name':12} {'range':22} {'law':8} {'default':10} {'CC':>3}  what it does")
    for row in controls.CONTROLS:
        default = controls.format(row, row.default)
        cc = "" if row.cc is None else row.cc
        print(
            f"{row.name:12} {controls.describe_range(row):22} {row.law:8} {default:10} {cc:>3}  {row.help}"
        )
    return 0
