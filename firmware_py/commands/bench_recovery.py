"""`nverb bench recovery`: see firmware_py.bench.recovery."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_recovery_bench(parts: Any) -> None:
    recovery = parts.add_parser(
        "recovery",
        help="kill and hang each process, change JACK's block size: how long the sound is away, whether all is back",
        description="Runs a pedal of its own on JACK's dummy driver. Takes about two minutes.",
    )
    recovery.add_argument("--service", action="store_true", help="do it to the pedal that systemd runs here (as root)")
    recovery.add_argument("--json", action="store_true", help="for programs")
    recovery.set_defaults(handler=_recovery)


def _recovery(args: argparse.Namespace) -> int:
    from firmware_py.bench.recovery import measure

    figures = measure(service=args.service, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0
