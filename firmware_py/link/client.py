"""The control socket: how `nverb set|get|status` and other programs speak to the control process.

A Unix stream socket in the runtime folder, mode 0660: the folder and the socket let in the pedal's user and group, nobody else.
Each message is one line of JSON, UTF-8, at most MAX_LINE bytes, answered by one line.

| request                              | answer, with "ok": true              | error, "ok": false              |
|--------------------------------------|--------------------------------------|---------------------------------|
| {"do": "set", "values": {name: ...}} | "values": {name: number}, as set     | all or none: nothing was set    |
| {"do": "get", "names": [name, ...]}  | "values"; an empty list means all    | an unknown name                 |
| {"do": "status"}                     | "status": see firmware_py.desk.screen     |                                 |
| {"do": "bank", "path": "..."}        | "bank": its name; path: as rooms_named | a bad file: the old bank plays |
| {"do": "store"}                      | the connection goes to a process that | too many at once               |
|                                      | speaks firmware_py.install.protocol on it        |                                 |
| {"do": "reload"}                     | "bank": what the store has in force  | a bad slot: the old bank plays  |
| {"do": "preset", "load": name}, or "step": 1 or -1 | "preset": the name of the one that plays | what plays goes on |
| {"do": "preset", "kept": name}       | the same; it is on already, nothing is set | -                         |
| {"do": "midi"}, with "learn": name or null, "assign": name and "cc": 0..119, "forget": name or null, "channel": 1..16 or null
|                                      | "midi": see firmware_py.control.midi.Midi.answer | nothing was changed         |

An error's answer is {"ok": false, "error": "one line"}.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from firmware_py.base.paths import running_dir, runtime_dir

MAX_LINE = 65536
MAX_CLIENTS = 16

Handler = Callable[[dict[str, Any]], "dict[str, Any] | HandOver"]


class HandOver:
    """An answer: from here on the connection belongs to what `start` starts. Raises OSError or UserError: then it does not."""

    def __init__(self, start: Callable[[socket.socket], object]) -> None:
        self.start = start


def socket_path() -> Path:
    """Where the control process of this user listens."""
    return runtime_dir() / "control.sock"


class NoPedal(UserError):
    """No control process runs here."""


def ask(request: dict[str, Any], *, timeout_s: float = 5.0) -> dict[str, Any]:
    """Sends a request to the control process and returns its answer. Raises UserError: no pedal (NoPedal), no answer, or its refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return _ask(connection, request, timeout_s)


def connect(request: dict[str, Any], *, timeout_s: float = 5.0) -> socket.socket | None:
    """The connection over which `request` was granted, for what comes next on it; None if no pedal runs. Raises UserError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _ask(connection, request, timeout_s)
        connection.settimeout(None)
        return connection
    except NoPedal:
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise


def _ask(connection: socket.socket, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    path = running_dir() / "control.sock"
    connection.settimeout(timeout_s)
    try:
        _connect(connection, path, time.monotonic() + timeout_s)
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = connection.recv(MAX_LINE)
            if not part:
                raise UserError("the pedal closed the connection without an answer: see its log")
            answer += part
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoPedal(f"no pedal runs here (no control process at {path}): start it with `nverb run`") from None
    except PermissionError:
        raise UserError(f"{path}: permission denied; join the pedal's group") from None
    except TimeoutError:
        raise UserError(f"the pedal did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    decoded: dict[str, Any] = json.loads(answer)
    if not decoded.get("ok"):
        raise UserError(decoded.get("error", "the pedal refused, and did not say why"))
    return decoded


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connects; where the queue of those who wait is full, tries again until `deadline` (time.monotonic). Raises OSError."""
    while True:
        try:
            connection.connect(os.fspath(path))
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.01)


class Server:
    """The control process's end: never blocks, bounds what it reads, drops clients that misbehave."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._selector = selectors.DefaultSelector()
        self._path = socket_path()
        self._path.unlink(missing_ok=True)  # a leftover: the control lock is ours, so nobody listens
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(self._path))
        os.chmod(self._path, 0o660)
        self._listener.listen(MAX_CLIENTS)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pending: dict[socket.socket, bytes] = {}

    def serve(self, timeout_s: float) -> None:
        """Waits at most `timeout_s` for clients and answers what they asked."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj)

    def close(self) -> None:
        for client in list(self._pending):
            self._drop(client)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if len(self._pending) >= MAX_CLIENTS:
            client.close()
            return
        client.settimeout(0.05)  # a client that does not read its answer may not hold the pedal up
        self._pending[client] = b""
        self._selector.register(client, selectors.EVENT_READ)

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._pending[client]
        client.close()

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        if not data or len(self._pending[client]) + len(data) > MAX_LINE:
            self._drop(client)
            return
        *lines, self._pending[client] = (self._pending[client] + data).split(b"\n")
        for line in lines:
            answer = self._answer(line)
            try:
                if isinstance(answer, HandOver):
                    self._hand_over(client, answer)
                    return
                client.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                self._drop(client)
                return

    def _hand_over(self, client: socket.socket, to: HandOver) -> None:
        client.setblocking(True)
        try:
            to.start(client)
            answer: dict[str, Any] = {"ok": True}
        except (UserError, OSError) as error:
            answer = {"ok": False, "error": str(error)}
        client.sendall(json.dumps(answer).encode() + b"\n")
        self._drop(client)

    def _answer(self, line: bytes) -> dict[str, Any] | HandOver:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")
            answer = self._handler(request)
            return answer if isinstance(answer, HandOver) else {"ok": True} | answer
        except Exception as error:  # whatever it is: a request never ends the process that turns the knobs
            return {"ok": False, "error": " ".join(str(error).split()) or type(error).__name__}
