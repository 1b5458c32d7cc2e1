"""`nverb render`: a sound file through the graph, kernel and chain that the pedal plays live."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "render",
        help="put a sound file through the pedal, offline",
        description="Put a sound file through the pedal's own graph. The output is as long as the "
        "input plus the room's tail, and starts at the same sample. The output's name chooses the "
        "sample format: 32-bit float for .wav.",
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="IN.wav",
        help="mono or stereo; any format that libsndfile reads",
    )
    parser.add_argument("output", type=Path, metavar="OUT.wav")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="values",
        help="any control; see `nverb controls`; may be repeated",
    )
    parser.add_argument(
        "--ir",
        type=Path,
        metavar="FILE",
        help="this recorded IR (1, 2 or 4 channels) instead of a room",
    )
    parser.add_argument(
        "--raw-ir",
        action="store_true",
        help="the IR at the level it has in its file, not normalised",
    )
    parser.add_argument("--bank", type=Path, help="bank with the rooms (default: the starter bank)")
    parser.add_argument(
        "--block",
        type=int,
        default=128,
        help="frames in a block, a multiple of 16 from 16 to 4096 (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", type=int, help="engine and output sampling rate in Hz (default: the input's)"
    )
    parser.set_defaults(handler=_render)


def _render(args: argparse.Namespace) -> int:
    from device.controls import defaults, parse_assignments
    from dsp.errors import UserError
    from firmware_py.commands.engine_options import check_block, check_rate
    from firmware_py.desk.render import render

    check_block(args.block, aligned=True)
    if args.rate is not None:
        check_rate(args.rate)
    if args.raw_ir and not args.ir:
        raise UserError("--raw-ir goes with --ir FILE")
    values = (
        defaults() | {"limiter": 0.0} | parse_assignments(args.values)
    )  # a float file can hold peaks above full scale
    report = render(
        args.input,
        args.output,
        values,
        ir_path=args.ir,
        raw_ir=args.raw_ir,
        bank_path=args.bank,
        block_frames=args.block,
        rate_hz=args.rate,
    )
    print(report)
    return 0
