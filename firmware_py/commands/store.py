"""`nverb store`: the board's end of firmware_py.install.protocol; `nverb push` runs it there.

It is for programs: `nverb --help` does not show it.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    store = subparsers.add_parser(
        "store", description="The board's end of `nverb push`. For programs."
    )
    store.add_argument("--here", action="store_true")
    store.set_defaults(handler=_store)


def _store(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.base.ownership import become_owner_of_data
    from firmware_py.base.paths import data_dir
    from firmware_py.install import board_end, desk_end, protocol
    from firmware_py.link.client import connect

    if not args.here:
        connection = connect({"do": "store"})
        if connection is not None:
            with connection:
                desk_end.relay(connection)
            return 0
    board_end.behave()
    channel = protocol.Channel(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        become_owner_of_data()
        data = data_dir()
    except (UserError, OSError) as error:
        return board_end.refuse(channel, error)
    return board_end.serve(channel, data)
