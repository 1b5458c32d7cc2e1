"""`nverb doctor`: checks the machine and reports what keeps the pedal from playing well."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    doctor = subparsers.add_parser(
        "doctor",
        help="check the machine; each complaint with its remedy",
        description="Check the machine; each complaint with its remedy. Exit status 1 if something "
        "is wrong.",
    )
    doctor.add_argument(
        "--boot",
        action="store_true",
        help="how long power-on to sound took, and how much of it is nverb's",
    )
    add_json(doctor)
    doctor.set_defaults(handler=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from firmware_py.desk import doctor

    results = doctor.boot_report() if args.boot else doctor.results()
    if args.json:
        print(json.dumps([result._asdict() for result in results], indent=2))
    else:
        print("\n".join(result.line() for result in results))
    return int(any(result.state == "bad" for result in results))
