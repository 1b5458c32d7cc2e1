"""`nverb completion`: the code with which a shell completes nverb's commands."""

from __future__ import annotations

import argparse
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
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(handler=_completion)


def _completion(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["nverb"], shell=args.shell))
    return 0
