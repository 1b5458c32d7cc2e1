"""The ssh options of `nverb push` and `nverb pull`, and the boards that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.install.inventory import PushTarget

HOST = "[user@]host or a name of ~/.ssh/config, or a board of the inventory"


def add_ssh(parser: argparse.ArgumentParser, *option: str) -> None:
    """`option`: the words for any option of ssh."""
    parser.add_argument("-p", "--port", type=int, help="ssh's port")
    parser.add_argument("-i", "--identity", metavar="KEY", help="ssh's private key")
    parser.add_argument(
        *option,
        action="append",
        default=[],
        metavar="OPTION",
        help="any option of ssh_config(5)",
    )
    parser.add_argument("-F", "--ssh-config", metavar="FILE", help="instead of ~/.ssh/config")
    parser.add_argument(
        "--command",
        default=None,
        metavar="NVERB",
        help="nverb on the board, if it is not in the PATH there",
    )
    parser.add_argument(
        "--inventory",
        type=Path,
        metavar="FILE",
        help="boards and groups (default: boards.toml in the data folder)",
    )


def boards_of(args: argparse.Namespace) -> list[PushTarget]:
    """The boards of HOST and of these options. Raises UserError, OSError."""
    from dsp.errors import UserError
    from firmware_py.install.inventory import Ssh, boards

    if args.port is not None and not 1 <= args.port <= 65535:
        raise UserError(f"--port {args.port}: from 1 to 65535")
    given = Ssh(args.port, args.identity, args.ssh_config, tuple(args.option), args.command)
    return boards(args.host, args.inventory, given)
