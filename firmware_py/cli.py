"""The command `nverb`. Thin: each command's module is imported to describe its arguments, its heavy parts only when it runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from firmware_py.completion import complete
from firmware_py.errors import UserError, reason

COMMANDS = (
    "run",
    "steer",
    "see",
    "render",
    "encode",
    "bank",
    "model",
    "board",
    "preset",
    "store",
    "midi",
    "service",
    "image",
    "doctor",
    "bench",
)
"""Modules of firmware_py.commands, in the order of `nverb --help`."""
ALONE = (
    dict.fromkeys(("jack", "audio", "control"), "run")
    | dict.fromkeys(("set", "get", "status"), "steer")
    | {"preset": "preset"}
)
"""Commands whose module is loaded alone: those that start at power-on and stay, to which the others would cost time and 2 MB each, and
those that scripts and hands call often, for which loading the others is most of the time on a small board."""


def version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("nverb")
    except PackageNotFoundError:
        return "unknown (not installed)"


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"nverb {version()}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text above it."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nverb",
        description="A neural reverb pedal: run it, steer it, render files through it, and make rooms for it.",
        epilog="Each command has its own --help.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        module = importlib.import_module(f"firmware_py.commands.{name}")
        add: Callable[[object], None] = module.add_parsers
        add(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    parser = build_parser([ALONE[words[0]]] if words and words[0] in ALONE else COMMANDS)
    complete(parser)
    args = parser.parse_args(arguments)
    try:
        return int(args.handler(args) or 0)
    except BrokenPipeError:  # its reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (UserError, ValueError, OSError, ImportError) as error:
        if os.environ.get("NVERB_TRACEBACK"):
            raise
        print(f"nverb: {reason(error)}", file=sys.stderr)
        return getattr(error, "status", 1)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
