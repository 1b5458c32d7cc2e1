"""`nverb logs`: the services' lines in systemd's journal."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

JOURNALS = (Path("/var/log/journal"), Path("/run/log/journal"))


def add_parser(subparsers: Subparsers) -> None:
    logs = subparsers.add_parser(
        "logs",
        help="the log of the pedal's services",
        description="The log of the pedal's services (JACK, audio, control), from systemd's "
        "journal.",
    )
    logs.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    logs.add_argument(
        "-n",
        "--lines",
        type=int,
        default=50,
        metavar="N",
        help="how many lines (default: %(default)s)",
    )
    logs.add_argument("-b", "--boot", action="store_true", help="all since power-on")
    logs.set_defaults(handler=_logs)


def require_readable(journals: tuple[Path, ...]) -> None:
    """Raises UserError if this user may read no journal of the system.

    journalctl would print "No data available", and nothing else.
    """
    from dsp.errors import UserError
    from firmware_py.base.paths import how_to_join

    files = [file for folder in journals for file in folder.glob("*/system.journal")]
    if files and not any(os.access(file, os.R_OK) for file in files):
        raise UserError(
            f"this user may not read the system's log: {how_to_join()}, then log in again; "
            "or `sudo nverb logs`"
        )


def _logs(args: argparse.Namespace) -> int:
    import shutil

    from dsp.errors import UserError
    from firmware_py.base.service import SYSTEMD, UNIT

    journalctl = shutil.which("journalctl")
    if journalctl is None or not (SYSTEMD.is_dir() and UNIT.exists()):
        raise UserError("no service here: the pedal's log is in the terminal of `nverb run`")
    require_readable(JOURNALS)
    words = ["-u", "nverb-*", "-o", "short", "--no-pager", *(["-f"] if args.follow else [])]
    words += ["-b"] if args.boot else ["-n", str(args.lines)]
    os.execv(journalctl, [journalctl, *words])
