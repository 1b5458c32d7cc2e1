"""Push files to pedals over the user's own OpenSSH client, to one or many at once.

The inventory, `boards.toml` in the data folder of the desk, names boards and groups of boards:

    [board.left]                   every key is optional
    host = "pedal-left.local"      [user@]host, or a name of ~/.ssh/config; default: the name
    port = 22
    identity = "~/.ssh/pedals"     private key
    options = ["ConnectTimeout=5"] any options of ssh_config(5)
    command = "/opt/nverb/bin/nverb"  nverb on the board; default: nverb

    [group]
    rack = ["left", "right", "pi@10.0.0.7"]   boards by name, or [user@]host

`nverb push left ...` pushes to one board, `nverb push @rack ...` to a group, `@all` to every board
of the file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsp.errors import UserError, reason
from firmware_py.base.log import logger
from firmware_py.base.progress import Report
from firmware_py.install.desk_end import ConnectionLost, Content, deliver
from firmware_py.install.inventory import PushTarget
from firmware_py.install.protocol import Channel, printable
from firmware_py.install.ssh import ssh_call

log = logger("push")

AT_ONCE = 16
ATTEMPTS = 4
"""Attempts of a push whose connection breaks during the transfer."""


@dataclass(frozen=True)
class Outcome:
    """The result of a push to one board; text: the board's answer or the error, one line."""

    board: str
    ok: bool
    text: str


def push(
    targets: list[PushTarget], request: Mapping[str, object], content: Content, report: Report
) -> list[Outcome]:
    """Push to all boards, up to AT_ONCE in parallel; return an outcome for each, in order."""
    if len(targets) == 1:
        return [_push(targets[0], request, content, report, ask=True)]
    joint = _JointReport(report, len(targets), content.size or 0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(
            pool.map(
                lambda board: _push(board, request, content, joint.of(board.name), ask=False),
                targets,
            )
        )


def _push(
    board: PushTarget, request: Mapping[str, object], content: Content, report: Report, *, ask: bool
) -> Outcome:
    for attempt in range(ATTEMPTS):
        if attempt:
            report.note(f"{board.name}: the connection broke; trying again")
            time.sleep(2 ** (attempt - 1))
        try:
            return Outcome(board.name, True, _once(board, request, content, report, ask=ask))
        except ConnectionLost as error:
            lost = str(error)
            if not error.had_begun:
                break
        except (UserError, OSError) as error:
            return Outcome(board.name, False, printable(error))
        except Exception as error:  # a bug must not hide the outcomes of the other boards
            log.exception("%s: a bug in the push", board.name)
            return Outcome(board.name, False, f"internal error ({printable(reason(error))})")
    return Outcome(board.name, False, lost)


def _once(
    board: PushTarget, request: Mapping[str, object], content: Content, report: Report, *, ask: bool
) -> str:
    """Push over one connection; return the board's answer.

    Raises ConnectionLost with ssh's last message, UserError with the board's.
    """
    progress = _SendingReport(report)
    with ssh_call(board, "store", ask=ask) as call:
        try:
            channel = Channel(call.stdout.fileno(), call.stdin.fileno(), call.stdin.close)
            return str(deliver(channel, request, progress, content)["text"])
        except ConnectionLost:
            status, last = call.end()
            raise ConnectionLost(
                last or f"the connection broke (ssh exited with status {status})", progress.sending
            ) from None


class _SendingReport(Report):
    """Passes reports on; `sending` is True once part of the file was sent."""

    def __init__(self, report: Report) -> None:
        self._report, self.sending = report, False

    def progress(self, stage: str, done: int, total: int) -> None:
        self.sending = self.sending or stage == "sending"
        self._report.progress(stage, done, total)

    def note(self, text: str) -> None:
        self._report.note(text)


class _JointReport:
    """Sums the progress of many boards for one progress bar."""

    def __init__(self, report: Report, boards: int, size: int) -> None:
        self._report, self._size, self._boards = report, size, boards
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Report:
        """The report of one board; called from its thread."""
        joint = self

        class BoardReport(Report):
            def progress(self, stage: str, done: int, total: int) -> None:
                if stage == "sending":
                    joint._sent(name, done)

            def note(self, text: str) -> None:
                with joint._lock:
                    joint._report.note(text if text.startswith(f"{name}: ") else f"{name}: {text}")

        return BoardReport()

    def _sent(self, name: str, done: int) -> None:
        with self._lock:
            self._done[name] = done
            self._report.progress(
                f"sending to {self._boards} boards",
                sum(self._done.values()),
                self._boards * self._size,
            )
