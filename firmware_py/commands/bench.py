"""`nverb bench`: the figures of this machine. No figure is asserted anywhere: machines are noisy."""

from __future__ import annotations

import argparse
import importlib
import json
from typing import Any

# (module of firmware_py.commands, its function): each adds one `nverb bench NAME`.
PARTS = (
    ("bench_knobs", "add_knobs_bench"),
    ("bench_rooms", "add_rooms_bench"),
    ("bench_recovery", "add_recovery_bench"),
    ("bench_memory", "add_memory_bench"),
    ("bench_push", "add_push_bench"),
)


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

    kernel = parts.add_parser(
        "kernel",
        help="the convolution kernel: instructions on three processors, changes of IR, errors, peers",
        description="Every figure of the convolution kernel beside its bar and its peers; some minutes. A peer or tool that is "
        "missing is named with the command that installs it.",
    )
    kernel.add_argument("--json", action="store_true", help="for programs")
    kernel.add_argument("--counts-only", action="store_true", help="leave out what is timed")
    kernel.add_argument(
        "--plan", action="store_true", help="how an IR is cut into partitions, the cost model beside the count"
    )
    kernel.add_argument("--block", type=int, default=64, help="with --plan: frames in a block (default: %(default)s)")
    kernel.add_argument(
        "--ir-ms", type=float, default=2032, help="with --plan: length of the IR (default: %(default)s)"
    )
    kernel.add_argument("--inputs", type=int, default=2, choices=(1, 2), help="with --plan (default: %(default)s)")
    kernel.set_defaults(handler=_kernel)

    for module, function in PARTS:
        getattr(importlib.import_module(f"firmware_py.commands.{module}"), function)(parts)


def _kernel(args: argparse.Namespace) -> int:
    from firmware_py.bench import kernel as bench_kernel

    if args.plan:
        rows = bench_kernel.plan(args.block, round(48 * args.ir_ms), args.inputs)
        print(json.dumps(rows, indent=2) if args.json else bench_kernel.plan_table(rows))
        return 0
    figures = bench_kernel.measure(times=not args.counts_only)
    print(json.dumps(figures, indent=2) if args.json else bench_kernel.table(figures))
    return 0


def _pedal(args: argparse.Namespace) -> int:
    from firmware_py.bench.pedal import measure

    figures = measure(block_frames=args.block, storm_s=args.storm_seconds, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0
