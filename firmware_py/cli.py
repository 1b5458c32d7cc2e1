"""The command `nverb`: finds the command's module, runs it, and reports what goes wrong."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from dsp.errors import UserError, reason
from dsp.names import shown
from firmware_py.base.say import say, speak_as
from firmware_py.base.stderr import keep_stderr_harmless

LASTING = ("run", "jack", "audio", "control")
"""Commands that run until they are stopped: a stop signal is their orderly end, status 0."""
RETRY_S = 0.02
"""After this time a stop signal that could not be obeyed at once is tried again."""


class _Stopped(KeyboardInterrupt):
    """Not KeyboardInterrupt itself: where that leaves an exec(), Python exits by SIGINT later, also
    when it was caught since."""


class _Stop:
    """SIGINT, SIGTERM and SIGHUP end the command as Ctrl-C does: with KeyboardInterrupt.

    So temporary files are removed and worker processes end. `number` is the signal: a library that
    calls back may turn the exception into another one.
    """

    def __init__(self) -> None:
        self.number, self._at_s = 0, 0.0
        self._is_orderly = False

    def install(self, *, is_orderly: bool) -> None:
        """Handle the signals, except those that are ignored (nohup, a shell's background job).

        is_orderly: they end the command with status 0, not by the signal.
        """
        self._is_orderly = is_orderly
        atexit.register(self._die)  # registered first, so it runs last
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self.number and now_s - self._at_s < 1:
            return  # a closing terminal sends SIGHUP twice; ignore the second during cleanup
        is_first = not self.number
        self.number, self._at_s = number, now_s
        sys.unraisablehook = self._dropped
        signal.signal(signal.SIGALRM, self._raise)
        if is_first:
            self._raise(number, frame)
        raise _Stopped

    def _raise(self, _number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, but not inside an import: later then.

        The initialisation of a C extension turns it into an ImportError, and whoever has another
        way without that module goes on as if nobody had asked to stop.
        """
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                self._raise_soon()
                return
            frame = frame.f_back
        raise _Stopped

    def _raise_soon(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, RETRY_S)

    def obeyed(self) -> None:
        """The command has ended: try no more. Later Python no longer handles the timer's signal."""
        if self.number:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _dropped(self, what: sys.UnraisableHookArgs) -> None:
        """Python drops exceptions of finalisers and of C callbacks: raise ours again."""
        if isinstance(what.exc_value, KeyboardInterrupt):
            self._raise_soon()

    @property
    def status(self) -> int:
        """The exit status of a command that was stopped."""
        return 0 if self._is_orderly else 128 + (self.number or signal.SIGINT)

    def _die(self) -> None:
        """End by the signal itself: after an exit status a shell would continue its loop."""
        if self.number and not self._is_orderly:
            signal.signal(self.number, signal.SIG_DFL)
            os.kill(os.getpid(), self.number)


_stop = _Stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    A test passes `arguments`, and keeps its own signal handlers. UserError, OSError and ImportError
    are printed as one line; NVERB_TRACEBACK=1 prints their traceback, too. Any other exception is a
    bug: its traceback goes to stderr, and so to the service's log.
    """
    try:
        return _run(arguments)
    except _Stopped:  # while the end of the command was reported
        _stop.obeyed()
        return _stop.status


def _run(arguments: Sequence[str] | None) -> int:
    speak_as()
    if arguments is None:
        _stop.install(is_orderly=sys.argv[1:2] in [[name] for name in LASTING])
        keep_stderr_harmless()
        os.environ["PYTHONSAFEPATH"] = "1"  # for child processes: see firmware_py.base.process
        if sys.stdout is not None:
            # File names need not be UTF-8.
            sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        arguments = sys.argv[1:]
    try:
        status = _command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # now: Python's own flush at exit fails with a traceback
        return status
    except BaseException as error:
        return _status_of(error)
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # reported above, or a closed pipe: Python must not try again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _status_of(error: BaseException) -> int:
    """Report what ended the command; the exit status."""
    _stop.obeyed()
    if _stop.number or isinstance(error, KeyboardInterrupt):
        return _stop.status
    if isinstance(error, BrokenPipeError):  # the reader (`| head`) has closed the pipe
        return 0
    if not isinstance(error, Exception):  # SystemExit
        raise error
    is_bug = not isinstance(error, UserError | OSError | ImportError)
    if is_bug or os.environ.get("NVERB_TRACEBACK"):
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            print(shown(line), file=sys.stderr)
    if is_bug:
        say(f"{type(error).__name__}: a bug in nverb; please report it with the lines above")
        return 1
    say(_what(error))
    return getattr(error, "status", 1)


def _what(error: Exception) -> str:
    """The error in one line; for a package that is not installed, with the command that does."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        from models.packages import NAMES, how_to_install

        module = error.name.partition(".")[0]
        package = NAMES.get(module, module)
        return f"this needs {package}, which is not installed: {how_to_install(package)}"
    return reason(error)


def _command(arguments: Sequence[str]) -> int:
    # Not at the top: they take most of the time until stop signals are handled.
    from firmware_py.commands.completers import complete
    from firmware_py.commands.table import COMMANDS, build_parser

    if arguments[:1] == ["help"] and "_ARGCOMPLETE" not in os.environ:
        arguments = [*arguments[1:], "--help"]
    parser = build_parser(arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS)
    complete(parser)
    try:
        args = parser.parse_args(arguments)
    except SystemExit as end:  # --help, or invalid arguments
        return int(end.code or 0)
    speak_as(args.command_name)
    if getattr(args, "as_owner", False) and os.geteuid() == 0:
        from firmware_py.base.ownership import become_owner_of_data

        become_owner_of_data()
    if not getattr(args, "quiet", False):
        return int(args.handler(args) or 0)
    from firmware_py.base import progress

    progress.is_quiet = True
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return int(args.handler(args) or 0)


if __name__ == "__main__":
    sys.exit(main())
