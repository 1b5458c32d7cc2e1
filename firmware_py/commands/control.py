"""`nverb control`: the control process."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.engine_options import add_inputs, add_rooms, fill_from_settings

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    control = subparsers.add_parser("control", description="The control process alone: a service.")
    control.add_argument(
        "--profile", help="the board: a profile's name (default: as `nverb settings` says)"
    )
    control.add_argument(
        "--keys", action="store_true", help="turn the simulated board's knobs with the keyboard"
    )
    control.add_argument(
        "--script",
        type=Path,
        help="turn the simulated board's knobs from a file: lines of SECONDS CONTROL POSITION",
    )
    add_inputs(control)
    add_rooms(control)
    control.set_defaults(handler=_control)


def _control(args: argparse.Namespace) -> int:
    from firmware_py.base.paths import Lock
    from firmware_py.control.process import run

    fill_from_settings(args, service=True)
    lock_file = Lock("control", "a control process")
    status = run(
        lock=lock_file,
        profile=args.profile,
        bank=args.bank,
        keys=args.keys,
        script=args.script,
        midi=_midi_api(args.midi),
        osc=args.osc,
        true_stereo=_true_stereo(args.true_stereo),
    )
    lock_file.close()
    return status


def _true_stereo(choice: str) -> str:
    """ "auto" is off where memory is scarce: it needs 26 MB, and the engine 1.3 times the time."""
    from firmware_py.base.memory import is_small

    return "off" if choice == "auto" and is_small() else choice


def _midi_api(choice: str) -> str:
    if choice != "auto":
        return choice
    from firmware_py.base.midi_support import usual_api

    return usual_api()
