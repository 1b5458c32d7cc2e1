"""`nverb image`: a disk image of a pedal, for a card."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_dry_run

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

EPILOG = """example, on a Debian desk:
  make board-wheels BOARD=trixie-arm64
  sudo nverb image 2026-06-18-raspios-trixie-arm64-lite.img.xz -o pedal.img \\
       --wheels dist/trixie-arm64 --key ~/.ssh/id_ed25519.pub \\
       --set profile=pi-mcp3008 --set card=hw:sndrpihifiberry
See docs/board.md."""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "image",
        help="make the disk image of a whole pedal, for a card",
        description="Makes a disk image from a complete system: with the pedal, the system\n"
        "read-only with memory over it, and one partition for the pedal's data. As root.\n"
        "The system is copied, not changed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "system",
        type=Path,
        metavar="SYSTEM",
        help="an OS image (.img, .img.xz), a .tar, or the folder that mmdebstrap made",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PEDAL.img",
        help="write the image there",
    )
    parser.add_argument(
        "--wheels",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="nverb's wheel and all it needs, from `make board-wheels`",
    )
    _add_options(parser)
    parser.set_defaults(handler=_image)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting, as in `nverb settings`",
    )
    parser.add_argument("--hostname", default="pedal", metavar="NAME", help="default: %(default)s")
    parser.add_argument(
        "--user", default="pedal", metavar="NAME", help="who logs in by ssh; default: %(default)s"
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE.pub",
        help="this user's ssh public key; none: nobody can log in",
    )
    parser.add_argument(
        "--add",
        type=Path,
        metavar="FOLDER",
        help="copy its files over the system: etc/..., var/lib/nverb/profiles/mine.toml",
    )
    parser.add_argument(
        "--data",
        type=int,
        default=256,
        metavar="MIB",
        help="size of the pedal's partition; default: %(default)s",
    )
    parser.add_argument(
        "--spare",
        type=int,
        default=512,
        metavar="MIB",
        help="free space in the system, for later updates; default: %(default)s",
    )
    add_dry_run(parser, "check the order, and say what would be made; needs no root")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the output of the tools")


def check_settings(values: Sequence[str]) -> None:
    """Raises UserError for settings (NAME=VALUE) that `nverb settings set` would reject."""
    from firmware_py.state import settings

    settings.checked(settings.parse(list(values)), "settings")


def _read_key(path: Path) -> str:
    from dsp.errors import UserError

    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not an ssh public key") from None


def _image(args: argparse.Namespace) -> int:
    from systemd.tree import Order, check, make

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if args.key is None:
        say("no --key: nobody will be able to log in")
    order = Order(
        source=args.system,
        wheels=args.wheels,
        settings=tuple(args.settings),
        hostname=args.hostname,
        user=args.user,
        key=_read_key(args.key) if args.key else "",
        added=args.add,
        data_mib=args.data,
        spare_mib=args.spare,
        verbose=args.verbose,
        say=say,
    )
    if args.dry_run:
        check(order, check_settings)
        settings = ", ".join(order.settings) or "the defaults"
        print(
            f"would make {args.output} from {args.system} and {args.wheels}: "
            f"host {order.hostname}, "
            f"user {order.user}, settings {settings}, "
            f"{order.data_mib} MiB for the pedal"
        )
        return 0
    made = make(order, args.output.absolute(), check_settings)
    if "SUDO_UID" in os.environ:
        os.chown(args.output, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    print(
        f"{args.output}: {made.boot_mib} MiB to boot, {made.root_mib} MiB system (read-only), "
        f"{made.data_mib} MiB for the pedal\n"
        f"to the card: sudo dd if={args.output} of=/dev/sdX bs=4M conv=fsync status=progress   "
        "(lsblk names the card)"
    )
    if order.key:
        print(f"then: ssh {order.user}@{order.hostname}.local")
    return 0
