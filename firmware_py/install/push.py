"""Pushing files to pedals over the user's own OpenSSH client, one or many at once.

The inventory, `boards.toml` in the data folder of the desk, names boards and groups of them:

    [board.left]                   every key may be left out
    host = "pedal-left.local"      as ssh takes it: [user@]host or a name of ~/.ssh/config   (default: the board's name)
    port = 22
    identity = "~/.ssh/pedals"     private key
    options = ["ConnectTimeout=5"] any of ssh_config(5)
    command = "/opt/nverb/bin/nverb"  nverb on the board                                     (default: nverb)

    [group]
    rack = ["left", "right", "pi@10.0.0.7"]   boards by name, or as ssh takes them

`nverb push left ...` means the board, `nverb push @rack ...` all of the group, `@all` every board of the file.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install.desk_end import ConnectionLost, Content, deliver
from firmware_py.install.inventory import Board
from firmware_py.install.protocol import Channel

AT_ONCE = 16
ATTEMPTS = 4
"""Of a push whose connection breaks while the file is on its way."""


@dataclass(frozen=True)
class Outcome:
    board: str
    ok: bool
    text: str


def push(
    targets: list[Board], request: dict[str, Any], content: Content, report: Report
) -> list[Outcome]:
    """Pushes to all boards at once; what became of each, in their order."""
    if len(targets) == 1:
        return [_push(targets[0], request, content, report, ask=True)]
    joint = _Joint(report, len(targets), content.size or 0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(
            pool.map(
                lambda board: _push(board, request, content, joint.of(board.name), ask=False),
                targets,
            )
        )


def _push(
    board: Board, request: dict[str, Any], content: Content, report: Report, *, ask: bool
) -> Outcome:
    for attempt in range(ATTEMPTS):
        if attempt:
            report.note(f"{board.name}: the connection broke off; trying again")
            time.sleep(2 ** (attempt - 1))
        try:
            return Outcome(board.name, True, _once(board, request, content, report, ask=ask))
        except ConnectionLost as error:
            lost = str(error)
            if not error.had_begun:
                break
        except (UserError, OSError) as error:
            return Outcome(board.name, False, str(error))
    return Outcome(board.name, False, lost)


def _once(
    board: Board, request: dict[str, Any], content: Content, report: Report, *, ask: bool
) -> str:
    """One connection. Raises ConnectionLost with ssh's own last words, UserError with the board's."""
    began = _Began(report)
    try:
        process = subprocess.Popen(
            board.words(ask=ask),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise UserError("ssh is missing here: sudo apt-get install openssh-client") from None
    assert process.stdin and process.stdout and process.stderr
    words: list[str] = []
    listener = threading.Thread(target=_listen, args=(process.stderr, words), daemon=True)
    listener.start()
    try:
        channel = Channel(
            process.stdout.fileno(), process.stdin.fileno(), process.stdin.close, idle_s=None
        )
        return str(deliver(channel, request, began, content)["text"])
    except ConnectionLost:
        status = process.wait(10)
        listener.join(2)
        said = next((line for line in reversed(words) if line), "")
        if status == 127:
            raise UserError(
                f"no {board.ssh.command or 'nverb'} in the PATH there ({said}): install nverb on it, or say where it is with --command"
            ) from None
        raise ConnectionLost(
            said or f"the connection broke off (ssh left with {status})", began.sending
        ) from None
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout):
            _close(stream.close)
        process.wait()
        listener.join(2)
        _close(process.stderr.close)


def _close(close: Callable[[], None]) -> None:
    try:
        close()
    except OSError:
        pass


def _listen(stream: Any, words: list[str]) -> None:
    """Keeps ssh's last words: its warnings first, why it failed at the end."""
    for line in stream:
        words[:] = [
            *words[-20:],
            "".join(c if c.isprintable() else " " for c in line.decode(errors="replace")).strip(),
        ]


class _Began(Report):
    """Knows whether the file was on its way."""

    def __init__(self, report: Report) -> None:
        self._report, self.sending = report, False

    def progress(self, stage: str, done: int, total: int) -> None:
        self.sending = self.sending or stage == "sending"
        self._report.progress(stage, done, total)

    def note(self, text: str) -> None:
        self._report.note(text)


class _Joint:
    """One bar for many boards."""

    def __init__(self, report: Report, boards: int, size: int) -> None:
        self._report, self._size, self._boards = report, size, boards
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Report:
        joint = self

        class One(Report):
            def progress(self, stage: str, done: int, total: int) -> None:
                if stage == "sending":
                    joint._sent(name, done)

            def note(self, text: str) -> None:
                with joint._lock:
                    joint._report.note(text if text.startswith(f"{name}: ") else f"{name}: {text}")

        return One()

    def _sent(self, name: str, done: int) -> None:
        with self._lock:
            self._done[name] = done
            self._report.progress(
                f"sending to {self._boards} boards",
                sum(self._done.values()),
                self._boards * self._size,
            )
