"""The control process' end of its socket."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from typing import Any

from dsp.errors import UserError
from firmware_py.link import lines
from firmware_py.link.client import socket_path

MAX_CLIENTS = 16


Handler = Callable[[dict[str, Any]], "dict[str, Any] | HandOver"]


class HandOver:
    """An answer: from here on the connection belongs to what `start` starts. Raises OSError or UserError: then it does not."""

    def __init__(self, start: Callable[[socket.socket], object]) -> None:
        self.start = start


class Server:
    """The control process's end: never blocks, bounds what it reads, drops clients that misbehave."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._selector = selectors.DefaultSelector()
        self._path = socket_path()
        self._path.unlink(
            missing_ok=True
        )  # a leftover: the control lock is ours, so nobody listens
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
                client.sendall(lines.encode(answer))
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
        client.sendall(lines.encode(answer))
        self._drop(client)

    def _answer(self, line: bytes) -> dict[str, Any] | HandOver:
        try:
            answer = self._handler(lines.decode(line))
            return answer if isinstance(answer, HandOver) else {"ok": True} | answer
        except (
            Exception
        ) as error:  # whatever it is: a request never ends the process that turns the knobs
            return {"ok": False, "error": " ".join(str(error).split()) or type(error).__name__}
