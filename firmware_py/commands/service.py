"""`nverb service`: install the pedal as a service of the system, or remove it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_old_name

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    service = subparsers.add_parser(
        "service",
        help="install the pedal as a service of this system, or remove it",
        description="Install the pedal as a service of this system, or remove it (as root).",
    )
    parts = service.add_subparsers(title="what to do", metavar="WHAT", required=True)
    install = parts.add_parser(
        "add", help="user, units, device rules, manual pages; the pedal starts now and at each boot"
    )
    add_old_name(parts, "install", install)
    install.add_argument(
        "--root", type=Path, default=Path("/"), help="the tree of an image instead of this system"
    )
    install.add_argument(
        "--no-start", action="store_true", help="start it at the next boot, not now"
    )
    install.set_defaults(handler=_install)
    uninstall = parts.add_parser("remove", help="remove all of it; banks and presets stay")
    add_old_name(parts, "uninstall", uninstall)
    uninstall.add_argument(
        "--purge", action="store_true", help="remove the banks, presets and settings, too"
    )
    uninstall.set_defaults(handler=_uninstall)


def _install(args: argparse.Namespace) -> int:
    from firmware_py.commands.manual import shared_files
    from firmware_py.jack.server import missing_tool
    from systemd.install import install

    opens_rooms = "from firmware_py.rooms.source import find_source; find_source()"
    root, start = args.root.absolute(), not args.no_start
    install(
        root,
        start=start,
        missing_tool=missing_tool,
        prepare=opens_rooms,
        shared=shared_files(),
        say=print,
    )
    return 0


def _uninstall(args: argparse.Namespace) -> int:
    from systemd.install import uninstall

    uninstall(purge=args.purge, say=print)
    return 0
