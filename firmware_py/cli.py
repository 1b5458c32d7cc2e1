"""The command `nverb`. Thin: each command's module is imported to describe its arguments, its heavy parts only when it runs."""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence

from dsp.errors import UserError, reason
from firmware_py.base.log import keep_stderr_harmless
from firmware_py.base.version import version
from firmware_py.commands.completers import complete

COMMANDS = (
    "run",
    "demo",
    "jack",
    "audio",
    "control",
    "set",
    "get",
    "status",
    "controls",
    "panel",
    "logs",
    "completion",
    "render",
    "encode",
    "bank",
    "model",
    "board",
    "preset",
    "install",
    "push",
    "list",
    "use",
    "rollback",
    "remove",
    "store",
    "midi",
    "service",
    "settings",
    "image",
    "doctor",
    "bench",
)
"""The commands, in the order of `nverb --help`; each is a module of firmware_py.commands.

A command is loaded alone when its word is the first argument: on a small board, loading the others
takes most of the time of a short command, and 2 MB of each process that stays.
"""


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
        module.add_parser(subparsers)
    return parser


class _Stop:
    """SIGINT, SIGTERM and SIGHUP: all end what goes on as Ctrl-C does, so that neither a temporary file nor a worker process is left.

    The number is kept, for a module that is being loaded, or a library that calls back, may make another error of the exception.
    """

    def __init__(self) -> None:
        self.number, self._at_s = 0, 0.0

    def heed(self) -> None:
        """From now on. What is ignored (under nohup, in a shell's background) stays so."""
        atexit.register(self._die)  # first, so that it comes last
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        now_s = time.monotonic()
        if self.number and now_s - self._at_s < 1:
            return  # a terminal that is closed says it twice: not while things are put away
        self.number, self._at_s = number, now_s
        sys.unraisablehook = self._lost
        raise KeyboardInterrupt

    def _lost(self, what: sys.UnraisableHookArgs) -> None:
        """What was raised in a finaliser or in what a library calls back ends there, unheard: it is raised again, a moment later."""
        if isinstance(what.exc_value, KeyboardInterrupt):
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.02)

    def _die(self) -> None:
        """By the signal itself: from a status a shell takes it that the signal was seen to, and its loop goes on."""
        if self.number:
            signal.signal(self.number, signal.SIG_DFL)
            os.kill(os.getpid(), self.number)


_stop = _Stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, or `arguments` (those of a test, whose signals are its own); the exit status."""
    if arguments is None:
        keep_stderr_harmless()
        _stop.heed()
        if sys.stdout is not None:
            sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # a file's name need not be UTF-8
        arguments = sys.argv[1:]
    try:
        status = _command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # now, for what fails when Python ends is told by a traceback
        return status
    except BaseException as error:
        if _stop.number or isinstance(error, KeyboardInterrupt):
            return 128 + (_stop.number or signal.SIGINT)
        if isinstance(error, BrokenPipeError):  # its reader (`| head`) has seen enough
            return 0
        if not isinstance(error, UserError | ValueError | OSError | ImportError) or os.environ.get(
            "NVERB_TRACEBACK"
        ):
            raise
        print(f"nverb: {reason(error)}", file=sys.stderr)
        return getattr(error, "status", 1)
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # told, or not worth telling: Python's end is not to try it again
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _command(arguments: Sequence[str]) -> int:
    parser = build_parser(arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS)
    complete(parser)
    try:
        args = parser.parse_args(arguments)
    except SystemExit as said:  # --help, or what is wrong with the arguments
        return int(said.code or 0)
    return int(args.handler(args) or 0)


if __name__ == "__main__":
    sys.exit(main())
