"""`nverb demo`: the live pedal on JACK's dummy driver plays a phrase into a file and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.engine_options import (
    add_engine,
    add_rooms,
    engine_arguments,
    fill_from_settings,
)

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

OUT = Path("out")
SECONDS = 24.0


def add_parser(subparsers: Subparsers) -> None:
    demo = subparsers.add_parser(
        "demo",
        help="play a guitar phrase through the live pedal: its knobs turn, then three presets; "
        "write the sound and a picture",
        description="The knobs turn from a small room to a cathedral; then the presets Ducked "
        "Plate, Shimmer and Never Ends play. No sound card needed: JACK runs on its dummy driver, "
        "everything else is real.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="FOLDER",
        help="where to write demo.wav, demo.png (default: %(default)s)",
    )
    demo.add_argument(
        "--clip", type=Path, help="a recording to play (default: plucked strings, made here)"
    )
    demo.add_argument(
        "--seconds", type=float, default=SECONDS, help="length (default: %(default)s)"
    )
    add_engine(demo)
    add_rooms(demo)
    demo.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.desk.demo import play

    fill_from_settings(args)
    if not 2 <= args.seconds <= 600:
        raise UserError(f"--seconds {args.seconds:g}: from 2 to 600")
    play(
        out=args.out,
        clip=args.clip,
        seconds=args.seconds,
        block_frames=args.block,
        rate_hz=args.rate,
        engine_arguments=engine_arguments(args),
        bank=args.bank,
    )
    return 0
