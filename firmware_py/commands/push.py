"""`nverb push`: install a file on other pedals, over ssh."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import KINDS, offer, progress_shown, read_signature
from firmware_py.commands.parsers import add_dry_run
from firmware_py.commands.ssh_options import HOST, add_ssh, boards_of

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from firmware_py.install.inventory import PushTarget


def add_parser(subparsers: Subparsers) -> None:
    push = subparsers.add_parser(
        "push",
        help="install a file on other pedals, over ssh",
        description="Install a file on other pedals, over your own ssh: it uses your keys, agent "
        "and ~/.ssh/config. An interrupted push resumes where it stopped.",
        epilog="An inventory names boards and groups of them; see docs/push.md.",
    )
    push.add_argument("host", metavar="HOST", help=f"{HOST}, or an @group")
    push.add_argument("kind", choices=KINDS)
    push.add_argument("file", type=Path, metavar="FILE")
    push.add_argument("--name", help="install it under this name (default: the file's)")
    add_ssh(push, "-o", "--option")
    push.add_argument(
        "--signature",
        type=Path,
        metavar="FILE.sig",
        help="its signature (default: FILE.sig, if it exists)",
    )
    push.add_argument("--sign", type=Path, metavar="KEY", help="sign it now with this ssh key")
    add_dry_run(push, "check the file and name the boards; connect to none")
    push.set_defaults(handler=_push)


def _push(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.install import signatures
    from firmware_py.install.desk_end import Content
    from firmware_py.install.push import push
    from firmware_py.install.receive import HEAD, kind_of, open_input

    targets = boards_of(args)
    if args.dry_run:
        return _preview(args, targets)
    file = open_input(args.file)
    kind = kind_of(os.pread(file, HEAD, 0), args.file.name)
    if kind != args.kind:
        raise UserError(f"{args.file}: is a {kind}, not a {args.kind}")
    with progress_shown() as report:
        content = Content.of(file, report.progress)
        if args.sign:
            signature = signatures.sign(args.sign, file)
        else:
            signature = read_signature(args.signature, args.file)
        request = offer(args.name or args.file.name, args.kind, content, signature)
        outcomes = push(targets, request, content, report)
    width = max(len(outcome.board) for outcome in outcomes)
    for outcome in outcomes:
        if len(outcomes) == 1 and not outcome.ok:
            raise UserError(f"{outcome.board}: {shown(outcome.text)}")
        result = "ok    " if outcome.ok else "FAILED"
        print(f"{outcome.board:{width}}  {result}  {shown(outcome.text)}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _preview(args: argparse.Namespace, targets: list[PushTarget]) -> int:
    from firmware_py.install.preview import preview

    what = preview(args.file, args.kind, args.name)
    for target in targets:
        print(f"{target.name}: {shown(what)}, over {' '.join(target.words('store', ask=False))}")
    return 0
