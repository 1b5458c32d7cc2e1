"""`nverb install|push|list|use|rollback|remove`: what is installed on a pedal, here and over ssh."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firmware_py.base.progress import Report
    from firmware_py.install.desk_end import Content

KINDS = ("bank", "model", "preset", "profile")


def add_parsers(subparsers: Any) -> None:
    installer = subparsers.add_parser(
        "install",
        help="install a bank, model, presets or a board profile on this pedal; it plays at once",
        description="Install a file on this pedal. A bank or model plays at once; if it cannot, what played before goes on.",
    )
    installer.add_argument("file", metavar="FILE", help="the file, or - for stdin")
    installer.add_argument(
        "--kind", choices=KINDS, help="refuse anything else (default: whatever the file is)"
    )
    installer.add_argument("--name", help="the name to keep it under (default: the file's)")
    installer.add_argument(
        "--signature",
        type=Path,
        metavar="FILE.sig",
        help="its signature (default: FILE.sig, if there)",
    )
    installer.set_defaults(handler=_install)

    push = subparsers.add_parser(
        "push",
        help="install a file on other pedals, over ssh",
        description="Install a file on other pedals, over your own ssh: your keys, agent and ~/.ssh/config count. A push that broke off "
        "goes on where it was.",
        epilog="An inventory names boards and groups of them; see docs/push.md.",
    )
    push.add_argument(
        "host",
        metavar="HOST",
        help="as ssh takes it ([user@]host, a name of ~/.ssh/config), a board or an @group",
    )
    push.add_argument("kind", choices=KINDS)
    push.add_argument("file", type=Path, metavar="FILE")
    push.add_argument("--name", help="the name to keep it under (default: the file's)")
    push.add_argument("-p", "--port", type=int, help="ssh's port")
    push.add_argument("-i", "--identity", metavar="KEY", help="ssh's private key")
    push.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="OPTION",
        help="any option of ssh_config(5)",
    )
    push.add_argument("-F", "--ssh-config", metavar="FILE", help="another file than ~/.ssh/config")
    push.add_argument(
        "--command",
        default=None,
        metavar="NVERB",
        help="nverb on the board, if it is not in the PATH there",
    )
    push.add_argument(
        "--inventory",
        type=Path,
        metavar="FILE",
        help="boards and groups (default: boards.toml in the data folder)",
    )
    push.add_argument(
        "--signature",
        type=Path,
        metavar="FILE.sig",
        help="its signature (default: FILE.sig, if there)",
    )
    push.add_argument("--sign", type=Path, metavar="KEY", help="sign it now with this ssh key")
    push.set_defaults(handler=_push)

    lister = subparsers.add_parser(
        "list", help="the banks and models that are installed; * marks what plays"
    )
    lister.add_argument("--json", action="store_true", help="for programs")
    lister.set_defaults(handler=_list)

    user = subparsers.add_parser(
        "use",
        help="play an installed bank or model",
        description="Play an installed bank or model, from now on.",
    )
    user.add_argument(
        "name",
        metavar="NAME",
        help="NAME, NAME@HASH or HASH as `nverb list` shows them, or built-in",
    )
    user.set_defaults(handler=_use, do="use")

    rollback = subparsers.add_parser(
        "rollback",
        help="go back to the bank or model that was in use before",
        description="Go back to the bank or model that was in use before this one. A second rollback undoes the first.",
    )
    rollback.add_argument("kind", choices=("bank", "model"))
    rollback.set_defaults(handler=_rollback)

    remover = subparsers.add_parser(
        "remove", help="delete an installed bank or model that is not in use"
    )
    remover.add_argument(
        "name", metavar="NAME", help="NAME, NAME@HASH or HASH as `nverb list` shows them"
    )
    remover.set_defaults(handler=_use, do="remove")

    store = subparsers.add_parser(
        "store"
    )  # no help: for programs. What a push runs on the board; see firmware_py.install.protocol
    store.add_argument("--here", action="store_true")
    store.set_defaults(handler=_store)


def _install(args: argparse.Namespace) -> int:
    from firmware_py.install.desk_end import Content
    from firmware_py.install.receive import STDIN, open_input

    is_stdin = args.file == "-"
    file = sys.stdin.fileno() if is_stdin else open_input(Path(args.file))
    with _shown() as report:
        content = Content(file, None, "") if is_stdin else Content.of(file, report.progress)
        name = args.name or (STDIN if is_stdin else os.path.basename(args.file))
        signature = _signature(args.signature, None if is_stdin else Path(args.file))
        print(_carry_out(_offer(name, args.kind, content, signature), report, content)["text"])
    return 0


def _offer(name: str, kind: str | None, content: Content, signature: str) -> dict[str, Any]:
    return {
        "do": "install",
        "name": name,
        "kind": kind or "",
        "size": content.size,
        "sha256": content.sha256,
        "signature": signature,
    }


def _signature(named: Path | None, file: Path | None) -> str:
    from firmware_py.install.signatures import MAX_SIGNATURE

    path = named
    if path is None and file is not None and file.with_name(file.name + ".sig").exists():
        path = file.with_name(file.name + ".sig")
    if path is None:
        return ""
    with open(path, "rb") as opened:
        return opened.read(MAX_SIGNATURE + 1).decode(errors="replace")


def _push(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.install import signatures
    from firmware_py.install.desk_end import Content
    from firmware_py.install.inventory import Ssh, boards
    from firmware_py.install.push import push
    from firmware_py.install.receive import HEAD, kind_of, open_input

    if args.port is not None and not 1 <= args.port <= 65535:
        raise UserError(f"--port {args.port}: from 1 to 65535")
    given = Ssh(args.port, args.identity, args.ssh_config, tuple(args.option), args.command)
    targets = boards(args.host, args.inventory, given)
    file = open_input(args.file)
    kind = kind_of(os.pread(file, HEAD, 0), args.file.name)
    if kind != args.kind:
        raise UserError(f"{args.file}: is a {kind}, not a {args.kind}")
    with _shown() as report:
        content = Content.of(file, report.progress)
        signature = (
            signatures.sign(args.sign, file) if args.sign else _signature(args.signature, args.file)
        )
        request = _offer(args.name or args.file.name, args.kind, content, signature)
        outcomes = push(targets, request, content, report)
    width = max(len(outcome.board) for outcome in outcomes)
    for outcome in outcomes:
        if len(outcomes) == 1 and not outcome.ok:
            raise UserError(f"{outcome.board}: {outcome.text}")
        print(f"{outcome.board:{width}}  {'ok    ' if outcome.ok else 'FAILED'}  {outcome.text}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _list(args: argparse.Namespace) -> int:
    import json

    with _shown() as report:
        rows = _carry_out({"do": "list"}, report)["rows"]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        mark = "*" if row["plays"] else "-" if row["in_use"] else " "
        print(f"{mark} {row['kind']:6} {row['reference']:54} {row['bytes'] / 1e6:8.2f} MB")
    if not any(row["plays"] for row in rows):
        print("* built-in rooms")
    return 0


def _use(args: argparse.Namespace) -> int:
    with _shown() as report:
        print(_carry_out({"do": args.do, "name": args.name}, report)["text"])
    return 0


def _rollback(args: argparse.Namespace) -> int:
    with _shown() as report:
        print(_carry_out({"do": "rollback", "kind": args.kind}, report)["text"])
    return 0


def _store(args: argparse.Namespace) -> int:
    from firmware_py.base.paths import data_dir
    from firmware_py.install import board_end, desk_end, protocol
    from firmware_py.install.installer import become_owner
    from firmware_py.link.client import connect

    if not args.here:
        connection = connect({"do": "store"})
        if connection is not None:
            with connection:
                desk_end.relay(connection)
            return 0
    board_end.behave()
    channel = protocol.Channel(sys.stdin.fileno(), sys.stdout.fileno())
    data = data_dir()
    become_owner(data)
    return board_end.serve(channel, data)


def _carry_out(
    request: dict[str, Any], report: Report, content: Content | None = None
) -> dict[str, Any]:
    """By the pedal that runs here, as its own user; if none runs, by this process."""
    from firmware_py.base.paths import data_dir
    from firmware_py.install import board_end, desk_end
    from firmware_py.install.installer import become_owner

    with desk_end.board() as channel:
        if channel is not None:
            return desk_end.deliver(channel, request, report, content)
    data = data_dir()
    become_owner(data)
    chunks = content.chunks if content is not None else lambda _: iter(())
    return board_end.perform(request, chunks, data=data, report=report)


@contextlib.contextmanager
def _shown() -> Iterator[Report]:
    """Progress as a bar on stderr; notes as lines there."""
    from firmware_py.base.progress import Bar, Report

    class Shown(Report):
        def __init__(self) -> None:
            self.bar = Bar() if sys.stderr.isatty() else None

        def progress(self, stage: str, done: int, total: int) -> None:
            if self.bar is not None and total:
                self.bar(stage, done, total)

        def note(self, text: str) -> None:
            if self.bar is not None:
                self.bar.close()
            print(f"nverb: {text}", file=sys.stderr)

    shown = Shown()
    try:
        yield shown
    finally:
        if shown.bar is not None:
            shown.bar.close()
