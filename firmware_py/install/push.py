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

import difflib
import os
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from firmware_py.install.installer import Report
from firmware_py.install.protocol import Channel, ConnectionLost, Content, deliver

AT_ONCE = 16
ATTEMPTS = 4
"""Of a push whose connection breaks while the file is on its way."""
CONNECT_S = 15
MAX_INVENTORY = 1 << 20


@dataclass(frozen=True)
class Ssh:
    """How ssh is called; None and () leave it to the user's own configuration."""

    port: int | None = None
    identity: str | None = None
    config: str | None = None
    options: tuple[str, ...] = ()
    command: str | None = None

    def over(self, other: Ssh) -> Ssh:
        """This one, and the other where this says nothing."""
        return Ssh(
            self.port or other.port,
            self.identity or other.identity,
            self.config or other.config,
            (*self.options, *other.options),  # ssh takes the first value that it is given
            self.command or other.command,
        )


@dataclass(frozen=True)
class Board:
    name: str
    host: str
    ssh: Ssh

    def words(self, *, ask: bool) -> list[str]:
        """The ssh command line. ask: ssh may ask for a password or whether a host is known."""
        words = ["ssh", "-T"]
        words += ["-F", self.ssh.config] if self.ssh.config else []
        words += ["-p", str(self.ssh.port)] if self.ssh.port else []
        words += ["-i", os.path.expanduser(self.ssh.identity)] if self.ssh.identity else []
        for option in self.ssh.options:
            words += ["-o", option]
        words += [] if ask else ["-o", "BatchMode=yes"]
        words += ["-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
        return [*words, "--", self.host, f"{self.ssh.command or 'nverb'} store"]


@dataclass(frozen=True)
class Outcome:
    board: str
    ok: bool
    text: str


def boards(target: str, inventory: Path | None, given: Ssh) -> list[Board]:
    """What a HOST on the command line means; `given` goes before what the inventory says. Raises UserError, OSError."""
    from firmware_py.base.paths import data_dir

    path = inventory or data_dir() / "boards.toml"
    if target.startswith("@"):
        known, groups = _read(path)
        name = target[1:]
        if name not in groups:
            near = difflib.get_close_matches(name, groups, n=1)
            there = f"did you mean @{near[0]}?" if near else f"there are {', '.join('@' + group for group in groups)}"
            raise UserError(f"{path}: no group {target}: {there}")
        members = groups[name]
    else:
        known = _read(path)[0] if inventory is not None or path.exists() else {}
        members = [target]
    found = [known.get(member, Board(member, member, Ssh())) for member in dict.fromkeys(members)]
    for board in found:
        if board.host.startswith("-") or not board.host or not board.host.isprintable() or " " in board.host:
            raise UserError(f"{board.host!r} is no host: write [user@]host")
    if not found:
        raise UserError(f"{path}: the group {target} is empty")
    return [replace(board, ssh=given.over(board.ssh)) for board in found]


def _read(path: Path) -> tuple[dict[str, Board], dict[str, list[str]]]:
    """Boards and groups of an inventory file."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_INVENTORY + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such inventory of boards; see docs/push.md for what it holds") from None
    try:
        if len(data) > MAX_INVENTORY:
            raise ValueError(f"larger than {MAX_INVENTORY} bytes")
        table = tomllib.loads(data.decode())
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    _known_keys(path, "", table, ("board", "group"))
    known = {}
    for name, row in _table(path, "board", table).items():
        where = f"board.{name}"
        if not isinstance(row, dict):
            raise UserError(f"{path}: write [{where}], with its keys below")
        _known_keys(path, where, row, ("host", "port", "identity", "options", "command"))
        for key, value in row.items():
            fits = {
                "port": type(value) is int and 1 <= value <= 65535,
                "options": isinstance(value, list) and all(isinstance(option, str) for option in value),
            }.get(key, isinstance(value, str) and bool(value))
            if not fits:
                needs = {"port": "a number from 1 to 65535", "options": "a list of texts"}.get(key, "text")
                raise UserError(f"{path}, {where}: {key} = {value!r}: must be {needs}")
        ssh = Ssh(row.get("port"), row.get("identity"), None, tuple(row.get("options", ())), row.get("command"))
        known[name] = Board(name, row.get("host", name), ssh)
    groups = {"all": list(known)}
    for name, members in _table(path, "group", table).items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise UserError(f'{path}, group {name}: must be a list of boards, ["left", "right"]')
        groups[name] = members
    return known, groups


def _table(path: Path, key: str, table: dict[str, Any]) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must be a table, [{key}]")
    return value


def _known_keys(path: Path, where: str, table: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            raise UserError(
                f"{path}{', ' + where if where else ''}: unknown key {key!r}: "
                + (f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}")
            )


def push(targets: list[Board], request: dict[str, Any], content: Content, report: Report) -> list[Outcome]:
    """Pushes to all boards at once; what became of each, in their order."""
    if len(targets) == 1:
        return [_push(targets[0], request, content, report, ask=True)]
    joint = _Joint(report, len(targets), content.size or 0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda board: _push(board, request, content, joint.of(board.name), ask=False), targets))


def _push(board: Board, request: dict[str, Any], content: Content, report: Report, *, ask: bool) -> Outcome:
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


def _once(board: Board, request: dict[str, Any], content: Content, report: Report, *, ask: bool) -> str:
    """One connection. Raises ConnectionLost with ssh's own last words, UserError with the board's."""
    began = _Began(report)
    try:
        process = subprocess.Popen(
            board.words(ask=ask), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise UserError("ssh is missing here: sudo apt-get install openssh-client") from None
    assert process.stdin and process.stdout and process.stderr
    words: list[str] = []
    listener = threading.Thread(target=_listen, args=(process.stderr, words), daemon=True)
    listener.start()
    try:
        channel = Channel(process.stdout.fileno(), process.stdin.fileno(), process.stdin.close, idle_s=None)
        return str(deliver(channel, request, began, content)["text"])
    except ConnectionLost:
        status = process.wait(10)
        listener.join(2)
        said = next((line for line in reversed(words) if line), "")
        if status == 127:
            raise UserError(
                f"no {board.ssh.command or 'nverb'} in the PATH there ({said}): install nverb on it, or say where it is with --command"
            ) from None
        raise ConnectionLost(said or f"the connection broke off (ssh left with {status})", began.sending) from None
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
        words[:] = [*words[-20:], "".join(c if c.isprintable() else " " for c in line.decode(errors="replace")).strip()]


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
                f"sending to {self._boards} boards", sum(self._done.values()), self._boards * self._size
            )
