"""The options that say how recorded IRs are read: the same for every command that reads them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bank.recording import ReadingOptions


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add --channels, --angle, --partial and --keep-lead."""
    from bank.meaning import AUTO, MEANINGS

    parser.add_argument(
        "--channels",
        choices=MEANINGS,
        default=AUTO,
        help="what the channels of an IR are; auto goes by header, name and sound, and says what "
        "it took; lr-files: one file for each channel, such as NAME_L and NAME_R (default: auto)",
    )
    parser.add_argument(
        "--angle",
        type=float,
        default=90.0,
        metavar="DEGREES",
        help="between the two cardioids that B-format (ambix, fuma) becomes (default: 90)",
    )
    parser.add_argument(
        "--partial", action="store_true", help="take a file that lacks a part of its sound"
    )
    parser.add_argument(
        "--keep-lead",
        action="store_true",
        help="keep silence before the sound, as a pre-delay (default: more than 0.2 s is left out)",
    )


def reading_of(args: argparse.Namespace) -> ReadingOptions:
    """The options as a ReadingOptions. Raises UserError."""
    from bank.recording import ReadingOptions
    from dsp.errors import UserError

    if not 0 <= args.angle <= 360:
        raise UserError(f"--angle {args.angle:g}: from 0 to 360")
    return ReadingOptions(args.channels, args.angle, args.partial, args.keep_lead)
