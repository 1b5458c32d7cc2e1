"""`nverb tap`: tap the tempo of the running pedal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    tap = subparsers.add_parser(
        "tap",
        help="tap the tempo, as with a footswitch",
        description="Tap the tempo of the running pedal: call it on each beat, at least twice. The "
        "tempo is the median of the last four times between taps. A number is `nverb set "
        "tempo=120`; `nverb set predelay_sync=1/8` lets the pre-delay follow it.",
    )
    tap.set_defaults(handler=_tap)


def _tap(_: argparse.Namespace) -> int:
    from device import controls
    from firmware_py.link.client import ask

    for name, value in ask({"do": "tap"})["values"].items():
        print(f"{name} = {controls.format(controls.find(name), value)}")
    return 0
