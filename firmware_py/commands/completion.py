"""`nverb completion`: the code with which a shell completes nverb's commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

SHELLS = ("bash", "zsh", "fish")


def add_parser(subparsers: Subparsers) -> None:
    completion = subparsers.add_parser(
        "completion",
        help="print the code that completes nverb's commands in a shell",
        description='Shell completion: put `eval "$(nverb completion bash)"` into ~/.bashrc; for '
        "fish, `nverb completion fish | source`.",
    )
    completion.add_argument("shell", nargs="?", choices=SHELLS)
    completion.add_argument(
        "--into",
        type=Path,
        metavar="SHARE",
        help="write it for all shells, and the manual pages, below this folder instead, such as "
        "~/.local/share: `sudo make install` and `make install` do it",
    )
    completion.set_defaults(handler=_completion)


def _completion(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    from dsp.errors import UserError

    if (args.shell is None) == (args.into is None):
        raise UserError(f"name a shell ({', '.join(SHELLS)}) or --into SHARE")
    if args.shell:
        print(shellcode(["nverb"], shell=args.shell))
        return 0
    from firmware_py.commands.manual import shared_files

    files = shared_files()
    for name, text in files.items():
        (args.into / name).parent.mkdir(parents=True, exist_ok=True)
        (args.into / name).write_text(text)
    print(f"{args.into}: {len(files)} files of manual pages and completion")
    return 0
