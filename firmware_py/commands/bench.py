"""`nverb bench`: the figures of this machine. No figure is asserted anywhere: machines are noisy."""

from __future__ import annotations

import argparse
import importlib
import json
from typing import Any

# (module of firmware_py.commands, its function): each adds one `nverb bench NAME`.
PARTS = (("bench_knobs", "add_knobs_bench"), ("bench_rooms", "add_rooms_bench"))


def add_parsers(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bench", help="measure this machine", description="Measure this machine. Nothing is written."
    )
    parts = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)

    pedal = parts.add_parser(
        "pedal",
        help="the whole pedal on JACK's dummy driver: start, memory, knob to room, exactness, late blocks",
        description="Runs a pedal of its own on JACK's dummy driver; a pedal that plays is not disturbed.",
    )
    pedal.add_argument("--block", type=int, default=128, help="frames in a block (default: %(default)s)")
    pedal.add_argument(
        "--storm-seconds",
        type=float,
        default=60.0,
        help="length of the knob storm (default: %(default)s; 300 for a report)",
    )
    pedal.add_argument("--json", action="store_true", help="for programs")
    pedal.set_defaults(handler=_pedal)

    kernel = parts.add_parser("kernel", help="instructions per block of the convolution kernel, counted by callgrind")
    kernel.add_argument("--json", action="store_true", help="for programs")
    kernel.set_defaults(handler=_kernel)

    recovery = parts.add_parser(
        "recovery",
        help="kill and hang each process, change JACK's block size: how long the sound is away, whether all is back",
        description="Runs a pedal of its own on JACK's dummy driver. Takes about two minutes.",
    )
    recovery.add_argument("--service", action="store_true", help="do it to the pedal that systemd runs here (as root)")
    recovery.add_argument("--json", action="store_true", help="for programs")
    recovery.set_defaults(handler=_recovery)

    for module, function in PARTS:
        getattr(importlib.import_module(f"firmware_py.commands.{module}"), function)(parts)


def _kernel(args: argparse.Namespace) -> int:
    from firmware_py.bench_kernel import measure

    rows = measure()
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'case':12} {'block':>5} {'Ir / block':>10} {'work space':>10}  partitions")
    for row in rows:
        print(
            f"{row['case']:12} {row['block']:5} {row['ir_per_block']:10.0f} {row['work_bytes'] / 1024:6.0f} KiB  {row['partitions']}"
        )
    return 0


def _recovery(args: argparse.Namespace) -> int:
    from firmware_py.bench_recovery import measure

    figures = measure(service=args.service, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0


def _pedal(args: argparse.Namespace) -> int:
    from firmware_py.bench_pedal import measure

    figures = measure(block_frames=args.block, storm_s=args.storm_seconds, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0
