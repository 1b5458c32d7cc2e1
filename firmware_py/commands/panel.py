"""`nverb panel`: the running pedal live in the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    panel = subparsers.add_parser(
        "panel",
        help="the running pedal live in the terminal: meters, knobs, the place in the cube; keys "
        "turn them",
        description="The running pedal live in the terminal. Arrow keys choose a control and turn "
        "it, q quits.",
    )
    panel.set_defaults(handler=_panel)


def _panel(_: argparse.Namespace) -> int:
    from firmware_py.desk.panel import run

    run()
    return 0
