"""`nverb install`: install a file on this pedal."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import KINDS, carry_out, offer, progress_shown, read_signature
from firmware_py.commands.parsers import add_dry_run

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    installer = subparsers.add_parser(
        "install",
        help="install a bank, model, presets or a board profile on this pedal; it plays at once",
        description="Install a file on this pedal. A bank or model plays at once; if it cannot, "
        "the pedal keeps what played before.",
    )
    installer.add_argument("file", metavar="FILE", help="the file, or - for stdin")
    installer.add_argument(
        "--kind", choices=KINDS, help="refuse anything else (default: whatever the file is)"
    )
    installer.add_argument("--name", help="install it under this name (default: the file's)")
    installer.add_argument(
        "--signature",
        type=Path,
        metavar="FILE.sig",
        help="its signature (default: FILE.sig, if it exists)",
    )
    add_dry_run(installer, "check the file, and say what it is; change nothing")
    installer.set_defaults(handler=_install)


def _install(args: argparse.Namespace) -> int:
    from firmware_py.install.desk_end import Content
    from firmware_py.install.receive import STDIN, open_input

    is_stdin = args.file == "-"
    if args.dry_run:
        return _preview(args)
    file = sys.stdin.fileno() if is_stdin else open_input(Path(args.file))
    with progress_shown() as report:
        content = Content(file, None, "") if is_stdin else Content.of(file, report.progress)
        name = args.name or (STDIN if is_stdin else os.path.basename(args.file))
        signature = read_signature(args.signature, None if is_stdin else Path(args.file))
        print(shown(carry_out(offer(name, args.kind, content, signature), report, content)["text"]))
    return 0


def _preview(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.install.preview import preview

    if args.file == "-":
        raise UserError("--dry-run needs a file")
    print(shown(preview(Path(args.file), args.kind, args.name)))
    return 0
