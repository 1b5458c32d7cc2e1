"""`nverb panel`, `nverb logs`, `nverb completion`: looking at the pedal, and help with typing."""

from __future__ import annotations

import argparse
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add_parsers(subparsers: Any) -> None:
    panel = subparsers.add_parser(
        "panel",
        help="the running pedal live in the terminal: meters, knobs, the place in the cube; keys turn them",
        description="The running pedal live in the terminal. Arrow keys choose a control and turn it, q leaves.",
    )
    panel.set_defaults(handler=_panel)

    logs = subparsers.add_parser(
        "logs",
        help="what the pedal's services have said",
        description="What the pedal's services (JACK, audio, control) have said, from systemd's journal.",
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they speak")
    logs.add_argument(
        "-n",
        "--lines",
        type=int,
        default=50,
        metavar="N",
        help="how many lines (default: %(default)s)",
    )
    logs.add_argument("-b", "--boot", action="store_true", help="all since power-on")
    logs.set_defaults(handler=_logs)

    completion = subparsers.add_parser(
        "completion",
        help="print what makes the shell complete nverb's commands",
        description='Shell completion: put `eval "$(nverb completion bash)"` into ~/.bashrc; for fish, `nverb completion fish | source`.',
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(handler=_completion)


def _panel(_: argparse.Namespace) -> int:
    from firmware_py.desk.panel import run

    run()
    return 0


def _logs(args: argparse.Namespace) -> int:
    import os
    import shutil

    from dsp.errors import UserError

    journalctl = shutil.which("journalctl")
    if journalctl is None or not os.path.isdir("/run/systemd/system"):
        raise UserError(
            "no systemd runs here: what the pedal says stands in the terminal of `nverb run`"
        )
    words = ["-u", "nverb-*", "-o", "short", "--no-pager", *(["-f"] if args.follow else [])]
    words += ["-b"] if args.boot else ["-n", str(args.lines)]
    os.execv(journalctl, [journalctl, *words])


def _completion(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["nverb"], shell=args.shell))
    return 0
