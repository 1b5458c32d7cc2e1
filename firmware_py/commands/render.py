"""`nverb render`: a sound file through the graph, kernel and chain that the pedal plays live."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.reading_options import add_reading_options, reading_of

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "render",
        help="put a sound file through the pedal, offline",
        description="Put a sound file through the pedal's own graph, as the running pedal plays "
        "(without its bypass), with scenes and modulators; if none runs, as the startup preset, "
        "else as the defaults and the rooms of `nverb use`. The output is as long as the input "
        "plus the room's tail, and starts at the same sample. Both sides of a stereo file sound on "
        "both sides of the room, unless the setting true_stereo is off. 32-bit float for .wav.",
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
        help="any controls, as for `nverb set`: --set x=8 mix=100; see `nverb controls`",
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
        help="the IR as it is in its file: not normalised, with its DC offset and all silence",
    )
    add_reading_options(parser)
    parser.add_argument(
        "--bank", type=Path, help="bank or model with the rooms (default: what the pedal plays)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", metavar="NAME", help="the controls and rooms of this preset")
    source.add_argument(
        "--built-in",
        action="store_true",
        help="the rooms that come with nverb (or --bank) and the defaults of all controls",
    )
    parser.add_argument(
        "--block",
        type=int,
        default=128,
        help="frames in a block, a multiple of 16 from 16 to 4096 (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", type=int, help="engine and output sampling rate in Hz (default: the input's)"
    )
    parser.add_argument(
        "--picture", action="store_true", help="print the levels over time and in octaves"
    )
    parser.set_defaults(handler=_render)


def _render(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from device.controls import parse_assignments
    from dsp.errors import UserError
    from firmware_py.commands.engine_options import check_block, check_rate
    from firmware_py.desk.render import render
    from firmware_py.desk.what_plays import built_in, of_pedal, of_preset
    from firmware_py.state.settings import load_for_service

    check_block(args.block, aligned=True)
    if args.rate is not None:
        check_rate(args.rate)
    if args.raw_ir and not args.ir:
        raise UserError("--raw-ir goes with --ir FILE")
    if args.built_in:
        playing = built_in()
    else:
        playing = of_preset(args.preset) if args.preset else of_pedal()
    scenes, assigned = playing.scenes(), parse_assignments(args.values, playing.values)
    moved = {name: value for name, value in assigned.items() if playing.values[name] != value}
    values = playing.values | moved | scenes.follow(moved)
    report = render(
        args.input,
        args.output,
        values,
        ir_path=args.ir,
        raw_ir=args.raw_ir,
        reading=replace(
            reading_of(args), keep_lead=args.raw_ir or args.keep_lead, keep_dc=args.raw_ir
        ),
        bank=str(args.bank.absolute()) if args.bank else playing.bank,
        residual="" if args.bank else playing.residual,
        block_frames=args.block,
        rate_hz=args.rate,
        scenes=scenes,
        has_picture=args.picture,
        true_stereo=load_for_service()[0].true_stereo != "off",
    )
    print(f"{report}; {playing.whose}")
    return 0
