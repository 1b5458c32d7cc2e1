"""The control socket: accepts clients, reads their requests, sends the answers."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Mapping

from dsp.errors import InvalidValue, UserError, reason
from firmware_py.base.log import logger
from firmware_py.link import lines
from firmware_py.link.client import socket_path

log = logger("control")
MAX_CLIENTS = 16
SEND_S = 0.05


Request = Mapping[str, object]
Answer = dict[str, object]
"""JSON objects; firmware_py.link.client has the table."""


class HandOver:
    """An answer: the connection now belongs to what `start` starts, unless it raises OSError or
    UserError."""

    def __init__(self, start: Callable[[socket.socket], object]) -> None:
        self.start = start


Handler = Callable[[Request], Answer | HandOver]


class Server:
    """Answers clients without blocking. Bounds what it reads and drops clients that misbehave.

    handler: its UserError or OSError is the client's answer. Any other exception is a bug: the
    client is answered, the traceback is logged, and the control process continues.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._selector = selectors.DefaultSelector()
        self._path = socket_path()
        # A leftover: this process holds the control lock, so no other process listens.
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(self._path))
        os.chmod(self._path, 0o660)
        self._listener.listen(MAX_CLIENTS)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pending: dict[socket.socket, bytes] = {}

    def serve(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for clients and answer their requests. Returns True."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj)
        return True

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
        client.settimeout(SEND_S)  # bounds the delay by a client that does not read its answer
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
        if not data or len(self._pending[client]) + len(data) > lines.MAX_LINE:
            self._drop(client)
            return
        *complete, self._pending[client] = (self._pending[client] + data).split(b"\n")
        for line in complete:
            answer = self._answer(line)
            try:
                if isinstance(answer, HandOver):
                    self._hand_over(client, answer)
                    return
                client.sendall(answer)
            except OSError:
                self._drop(client)
                return

    def _hand_over(self, client: socket.socket, to: HandOver) -> None:
        client.setblocking(True)
        try:
            to.start(client)
            answer = lines.encode({"ok": True})
        except Exception as error:
            answer = _refusal(error)
        client.sendall(answer)
        self._drop(client)

    def _answer(self, line: bytes) -> bytes | HandOver:
        try:
            answer = self._handler(_parse(line))
            return answer if isinstance(answer, HandOver) else lines.encode({"ok": True} | answer)
        except Exception as error:
            return _refusal(error)


def _parse(line: bytes) -> Request:
    try:
        return lines.decode(line)
    except ValueError as error:
        raise InvalidValue(f"the request is not a line of JSON: {reason(error)}") from None


def _refusal(error: Exception) -> bytes:
    """The answer for an exception. If it is a bug, its traceback is logged."""
    text = reason(error)
    if not isinstance(error, UserError | OSError):
        log.error("a bug in the answer of a request", exc_info=error)
        text = f"internal error ({text}): its traceback is in the pedal's log; please report it"
    return lines.encode({"ok": False, "error": text})
