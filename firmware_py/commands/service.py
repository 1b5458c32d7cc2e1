"""`nverb service`: the pedal as a service of the system. `nverb settings`: what a builder sets once."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any


def add_parsers(subparsers: Any) -> None:
    service = subparsers.add_parser(
        "service",
        help="install the pedal as a service of this system, or remove it",
        description="Install the pedal as a service of this system, or remove it (as root).",
    )
    parts = service.add_subparsers(title="what to do", metavar="WHAT", required=True)
    install = parts.add_parser(
        "install", help="user, units and device rules; the pedal starts now and at each boot"
    )
    install.add_argument(
        "--root", type=Path, default=Path("/"), help="the tree of an image instead of this system"
    )
    install.add_argument(
        "--no-start", action="store_true", help="start it at the next boot, not now"
    )
    install.set_defaults(handler=_install)
    uninstall = parts.add_parser(
        "uninstall", help="take all of it out again; banks and presets stay"
    )
    uninstall.add_argument(
        "--purge", action="store_true", help="delete the banks, presets and settings, too"
    )
    uninstall.set_defaults(handler=_uninstall)

    settings = subparsers.add_parser(
        "settings",
        help="the machine's settings: sound card, block size, board",
        description="What a builder sets once: sound card, block size, board. Kept in settings.toml of the data folder.",
    )
    parts = settings.add_subparsers(title="what to do (default: show them)", metavar="WHAT")
    settings.set_defaults(handler=_show, json=False)
    show = parts.add_parser("show", help="print all settings")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(handler=_show)
    change = parts.add_parser(
        "set", help="change settings: all that are named or, on an error, none"
    )
    change.add_argument("values", nargs="+", metavar="NAME=VALUE")
    change.set_defaults(handler=_change)
    reset = parts.add_parser("reset", help="back to the defaults")
    reset.set_defaults(handler=_reset)


def _install(args: argparse.Namespace) -> int:
    from firmware_py.jack.server import missing_tool
    from systemd.install import install

    opens_rooms = "from firmware_py.rooms.source import find_source; find_source()"
    root, start = args.root.absolute(), not args.no_start
    install(root, start=start, missing_tool=missing_tool, prepare=opens_rooms, say=print)
    return 0


def _uninstall(args: argparse.Namespace) -> int:
    from systemd.install import uninstall

    uninstall(purge=args.purge, say=print)
    return 0


def _show(args: argparse.Namespace) -> int:
    from firmware_py.state import settings as settings_file

    values = dataclasses.asdict(settings_file.load())
    if args.json:
        print(json.dumps(values))
        return 0
    print(f"# {settings_file.path()}")
    for name, value in values.items():
        print(f"{name + ' = ' + json.dumps(value):34} # {settings_file.HELP[name]}")
    return 0


def _change(args: argparse.Namespace) -> int:
    from device.profile import load
    from firmware_py.base.paths import data_dir
    from firmware_py.state import settings as settings_file

    new = settings_file.parse(args.values)
    before = settings_file.load()
    settings = settings_file.checked(dataclasses.asdict(before) | new, "settings")
    load(settings.profile, data_dir())
    settings_file.write(settings)
    for name in new:
        print(f"{name} = {getattr(settings, name)}")
    _how_to_take_effect()
    return 0


def _reset(_: argparse.Namespace) -> int:
    from firmware_py.state import settings as settings_file

    settings_file.write(settings_file.Settings())
    print("all settings have their defaults")
    _how_to_take_effect()
    return 0


def _how_to_take_effect() -> None:
    from firmware_py.base.paths import SERVICE_DATA, data_dir

    command = (
        "sudo systemctl restart nverb.target"
        if data_dir() == SERVICE_DATA
        else "stop and start `nverb run`"
    )
    print(f"takes effect with the next start: {command}")
