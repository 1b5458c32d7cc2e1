"""`nverb set`: set controls of the running pedal, over its socket."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    setter = subparsers.add_parser(
        "set",
        help="set controls of the running pedal",
        description="Set controls of the running pedal: `nverb set x=3 mix=40 lowpass=on`. "
        "All of them or, on an error, none. `bypass=toggle` switches; `x+=0.5 mix-=10%` are steps, "
        "clamped to the range; for a control without negative values `x=+0.5 mix=-10%` are, too.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    setter.add_argument("values", nargs="+", metavar="NAME=VALUE")
    setter.set_defaults(handler=_set)


def _epilog() -> str:
    from device.controls import CONTROLS, describe_range

    rows = "\n".join(f"  {row.name:12} {describe_range(row):22} {row.help}" for row in CONTROLS)
    return (
        f"controls, with the units that a value may carry (`2 kHz`, `-3 dB`, `40%`, `on`):\n{rows}"
    )


def _set(args: argparse.Namespace) -> int:
    from device import controls
    from firmware_py.base.say import say
    from firmware_py.link.client import ask

    answer = ask({"do": "set", "values": controls.split_assignments(args.values)})
    for name, value in answer["values"].items():
        print(f"{name} = {controls.format(controls.find(name), value)}")
    if note := answer.get("note"):
        say(str(note))
    return 0
