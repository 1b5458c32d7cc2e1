"""`nverb pull`: copy a recording of a board's bank to this computer, over ssh."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.ssh_options import HOST, add_ssh, boards_of

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    pull = subparsers.add_parser(
        "pull",
        help="copy a recording from another pedal, over ssh",
        description="Copy a recording of a board's bank, such as a measurement, to a WAV file "
        "here, over your own ssh.",
    )
    pull.add_argument("host", metavar="HOST", help=HOST)
    pull.add_argument("kind", choices=("recording",))
    pull.add_argument("name", metavar="NAME", help="of the recording")
    pull.add_argument(
        "-o", "--output", type=Path, metavar="OUT.wav", help="the file (default: NAME.wav)"
    )
    pull.add_argument(
        "--bank",
        default="measured",
        help="an installed bank of the board (default: %(default)s, of `nverb measure`)",
    )
    pull.add_argument("--force", action="store_true", help="replace the file if it exists")
    add_ssh(pull, "--option")
    pull.set_defaults(handler=_pull)


def _pull(args: argparse.Namespace) -> int:
    from bank.folder import file_name
    from dsp.errors import UserError
    from dsp.names import shown
    from firmware_py.install.pull import pull_recording

    path = args.output or Path(Path(file_name(args.name, set())).name)
    if path.suffix.lower() != ".wav":
        raise UserError(f"{path}: give it a name that ends in .wav")
    if path.exists() and not args.force:
        raise UserError(f"{path} exists: choose another name with -o, or replace it with --force")
    targets = boards_of(args)
    if len(targets) != 1:
        raise UserError(f"{args.host} is {len(targets)} boards: pull from one")
    header = pull_recording(targets[0], args.bank, args.name, path)
    print(f"{shown(str(path))} written: {header}")
    return 0
