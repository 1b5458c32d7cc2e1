"""`nverb bench`: the figures of this machine. No test asserts them: machines are noisy."""

from __future__ import annotations

import argparse
import importlib
import json
from typing import TYPE_CHECKING

from dsp.errors import UserError
from firmware_py.commands.engine_options import check_block
from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

PARTS = ("knobs", "latency", "rooms", "change", "memory", "push", "measure")
"""Modules of firmware_py.bench whose `add_parser` adds one `nverb bench NAME`."""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "bench",
        help="measure this machine",
        description="Measure this machine. Nothing is written.",
    )
    parts = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    _add_pedal(parts)
    _add_kernel(parts)
    _add_recovery(parts)
    _add_midi(parts)
    _add_soak(parts)
    for name in PARTS:
        importlib.import_module(f"firmware_py.bench.{name}").add_parser(parts)


def _add_pedal(parts: Subparsers) -> None:
    pedal = parts.add_parser(
        "pedal",
        help="the whole pedal on JACK's dummy driver: start, memory, knob to room, exactness, late "
        "blocks",
        description="Runs a pedal of its own on JACK's dummy driver; a pedal that plays is not "
        "disturbed.",
    )
    pedal.add_argument(
        "--block", type=int, default=128, help="frames in a block (default: %(default)s)"
    )
    pedal.add_argument(
        "--storm-seconds",
        type=float,
        default=60.0,
        help="length of the knob storm (default: %(default)s; 300 for a report)",
    )
    add_json(pedal)
    pedal.set_defaults(handler=_pedal)


def _add_kernel(parts: Subparsers) -> None:
    kernel = parts.add_parser(
        "kernel",
        help="the convolution kernel: instructions on three processors, changes of IR, errors, "
        "peers",
        description="Every figure of the convolution kernel, its limit and the figures of its "
        "peers; takes some minutes. For a missing peer or tool it prints the command that installs "
        "it.",
    )
    add_json(kernel)
    kernel.add_argument("--counts-only", action="store_true", help="leave out the times")
    kernel.add_argument(
        "--platform",
        action="append",
        choices=("x86-64", "aarch64", "armhf"),
        help="count for this one only; may be given again (default: all)",
    )
    kernel.add_argument(
        "--plan",
        action="store_true",
        help="how an IR is cut into partitions, with estimated and counted cost",
    )
    kernel.add_argument(
        "--block",
        type=int,
        default=64,
        help="with --plan: frames in a block (default: %(default)s)",
    )
    kernel.add_argument(
        "--ir-ms",
        type=float,
        default=2032,
        help="with --plan: length of the IR (default: %(default)s)",
    )
    kernel.add_argument(
        "--inputs", type=int, default=2, choices=(1, 2), help="with --plan (default: %(default)s)"
    )
    kernel.set_defaults(handler=_kernel)


def _add_recovery(parts: Subparsers) -> None:
    recovery = parts.add_parser(
        "recovery",
        help="kill and hang each process, change JACK's block size: how long the sound is away, "
        "whether all is back",
        description="Runs a pedal of its own on JACK's dummy driver. Takes about two minutes.",
    )
    recovery.add_argument(
        "--service", action="store_true", help="do it to the pedal that systemd runs here (as root)"
    )
    add_json(recovery)
    recovery.set_defaults(handler=_recovery)


def _add_midi(parts: Subparsers) -> None:
    midi = parts.add_parser(
        "midi",
        help="a flood of controllers and malformed messages: late blocks, memory, messages lost",
        description="Sends --rate controllers a second through JACK to a pedal of its own, with "
        "malformed messages between them.",
    )
    midi.add_argument(
        "--seconds", type=float, default=60.0, help="(default: %(default)s; 3600 for a report)"
    )
    midi.add_argument(
        "--rate", type=int, default=10_000, help="controllers a second (default: %(default)s)"
    )
    add_json(midi)
    midi.set_defaults(handler=_midi)


def _add_soak(parts: Subparsers) -> None:
    soak = parts.add_parser(
        "soak",
        help="a pedal in use for hours: memory, descriptors, threads and late blocks over time",
        description="Turns knobs, plays presets with other banks, pushes banks, reloads, sends "
        "MIDI, twenty times a second, to a pedal of its own, and looks at it once a minute.",
    )
    soak.add_argument("--hours", type=float, default=0.1, help="(default: %(default)s)")
    add_json(soak)
    soak.set_defaults(handler=_soak)


def _kernel(args: argparse.Namespace) -> int:
    from firmware_py.bench import kernel as bench_kernel

    if args.plan:
        _check_kernel_block(args.block)
        if not 1 <= args.ir_ms <= 10_000:
            raise UserError(f"--ir-ms {args.ir_ms:g}: from 1 to 10000")
        rows = bench_kernel.plan(args.block, round(48 * args.ir_ms), args.inputs)
        print(json.dumps(rows, indent=2) if args.json else bench_kernel.plan_table(rows))
        return 0
    figures = bench_kernel.measure(times=not args.counts_only, platforms=args.platform or ())
    print(json.dumps(figures, indent=2) if args.json else bench_kernel.table(figures))
    return 0


def _check_kernel_block(frames: int) -> None:
    if frames not in (16, 32, 64, 128, 256, 512, 1024):
        raise UserError(f"--block {frames}: a power of two from 16 to 1024")


def _pedal(args: argparse.Namespace) -> int:
    from firmware_py.bench.pedal import measure

    check_block(args.block, aligned=True)
    if not 1 <= args.storm_seconds <= 3600:
        raise UserError(f"--storm-seconds {args.storm_seconds:g}: from 1 to 3600")
    figures = measure(block_frames=args.block, storm_s=args.storm_seconds, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0


def _recovery(args: argparse.Namespace) -> int:
    from firmware_py.bench.recovery import measure

    figures = measure(service=args.service, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0


def _midi(args: argparse.Namespace) -> int:
    from firmware_py.bench.midi import measure

    if not 1 <= args.seconds <= 86_400 or not 100 <= args.rate <= 100_000:
        raise UserError("--seconds must be 1 to 86400, --rate 100 to 100000")
    figures = measure(seconds=args.seconds, rate_per_s=args.rate, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0


def _soak(args: argparse.Namespace) -> int:
    from firmware_py.bench.soak import measure

    if not 0.02 <= args.hours <= 1000:
        raise UserError(f"--hours {args.hours:g}: from 0.02 to 1000")
    figures = measure(hours=args.hours, show=not args.json)
    if args.json:
        print(json.dumps(figures, indent=2))
    return 0
