"""The control socket: accepts clients, reads their requests, sends the answers."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dsp.errors import InvalidValue, UserError, reason
from firmware_py.base.log import logger
from firmware_py.control.budget import Budget
from firmware_py.link import lines
from firmware_py.link.client import socket_path

log = logger("control")
MAX_CLIENTS = 16


Request = Mapping[str, object]
Answer = dict[str, object]
"""JSON objects; firmware_py.link.client has the table."""


class Busy(UserError):
    """A request that may succeed soon."""


class HandOver:
    """An answer: the connection now belongs to what `start` starts, unless it raises OSError or
    UserError."""

    def __init__(self, start: Callable[[socket.socket], object]) -> None:
        self.start = start


Handler = Callable[[Request], Answer | HandOver]


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", data)[1])


@dataclass
class _Client:
    uid: int
    heard: float
    """When it connected or sent its last complete request: time.monotonic."""
    rest: bytes = b""
    """The beginning of its next request."""
    waiting: deque[bytes] = field(default_factory=deque)
    """Its requests that are not answered yet."""
    unsent: bytes = b""
    """What it has not read of its answers."""

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.unsent)


class Server:
    """Answers clients without blocking. Bounds what it reads, and the time that requests take.

    A client that sends more than the budget allows waits, one that does not read its answers gets
    no further ones. When all places are taken, the user with the most of them loses the one that
    has been silent longest: nobody can lock out root or another user.

    handler: its UserError or OSError is the client's answer. Any other exception is a bug: the
    client is answered, the traceback is logged, and the control process continues. is_repeatable:
    whether doing a request twice in a row does the same as once. Equal ones of them that wait are
    done once and all answered.
    """

    def __init__(
        self, handler: Handler, is_repeatable: Callable[[Request], bool] = lambda _: False
    ) -> None:
        self._handler, self._is_repeatable = handler, is_repeatable
        self._budget = Budget()
        self._selector = selectors.DefaultSelector()
        self._path = socket_path()
        self._clients: dict[socket.socket, _Client] = {}
        self._turns: deque[socket.socket] = deque()
        """Clients whose requests wait, the next one first."""
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        # A leftover: this process holds the control lock, so no other process listens.
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(self._path))
        os.chmod(self._path, 0o660)
        listener.listen(MAX_CLIENTS)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._inode = os.lstat(self._path).st_ino
        return listener

    def keep(self) -> bool:
        """Listen again if somebody has removed the socket; True if so. Raises OSError."""
        try:
            if os.lstat(self._path).st_ino == self._inode:
                return False
        except FileNotFoundError:
            pass
        before, self._listener = self._listener, self._listen()
        self._selector.unregister(before)
        before.close()
        return True

    @property
    def users(self) -> list[int]:
        """The user of each client."""
        return [client.uid for client in self._clients.values()]

    def serve(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for clients and answer their requests. Returns True."""
        if self._budget.rest_s:
            time.sleep(min(self._budget.rest_s, timeout_s))
            return True
        found = self._selector.select(0 if self._turns else timeout_s)
        self._budget.begin()
        try:
            for key, events in found:
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if client is self._listener or client not in self._clients:
                    continue
                if events & selectors.EVENT_WRITE:
                    self._send(client, b"")
                else:
                    self._read(client)
            if any(key.fileobj is self._listener for key, _ in found):
                self._accept()
            while self._turns and not self._budget.is_spent:
                self._answer_next()
        finally:
            self._budget.end()
        return True

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        """Accept who waits, and read at once what they sent: a flood then cannot displace them."""
        for _ in range(MAX_CLIENTS):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setblocking(False)
            uid = peer_uid(client)
            if len(self._clients) >= MAX_CLIENTS:
                self._make_room(uid)
            self._clients[client] = _Client(uid, time.monotonic())
            self._selector.register(client, selectors.EVENT_READ)
            self._read(client)

    def _make_room(self, newcomer: int) -> None:
        """Drop a client of the user with the most, preferably an idle one."""
        counts = Counter([newcomer, *(client.uid for client in self._clients.values())])
        most = max(counts[client.uid] for client in self._clients.values())
        candidates = [c for c, state in self._clients.items() if counts[state.uid] == most]
        self._drop(
            min(candidates, key=lambda c: (self._clients[c].is_busy, self._clients[c].heard))
        )

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._clients[client]
        if client in self._turns:
            self._turns.remove(client)
        client.close()

    def _read(self, client: socket.socket) -> None:
        state = self._clients[client]
        if state.is_busy:  # it waits until its requests are answered
            return
        try:
            data = client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(state.rest) + len(data) > lines.MAX_LINE:
            self._drop(client)
            return
        *complete, state.rest = (state.rest + data).split(b"\n")
        if complete:
            state.heard = time.monotonic()
            state.waiting.extend(complete)
            self._turns.append(client)

    def _answer_next(self) -> None:
        """Answer one request of the client whose turn it is."""
        client = self._turns.popleft()
        line = self._clients[client].waiting.popleft()
        answer = self._answer(line)
        if isinstance(answer, HandOver):
            self._hand_over(client, answer)
            return
        self._send(client, answer)
        equal = [c for c, state in self._clients.items() if line in list(state.waiting)[:1]]
        if equal and self._repeats(line):
            for other in equal:
                self._answer_equal(other, line, answer)
        self._continue(client)

    def _answer_equal(self, client: socket.socket, line: bytes, answer: bytes) -> None:
        """Answer the client's next requests as long as they equal `line`."""
        state = self._clients[client]
        while state.waiting and state.waiting[0] == line and not state.unsent:
            state.waiting.popleft()
            self._send(client, answer)
            if client not in self._clients:
                return
        if not state.waiting and client in self._turns:
            self._turns.remove(client)

    def _continue(self, client: socket.socket) -> None:
        """Let the client have another turn if it has more requests and has read its answers."""
        state = self._clients.get(client)
        if state is not None and state.waiting and not state.unsent and client not in self._turns:
            self._turns.append(client)

    def _repeats(self, line: bytes) -> bool:
        try:
            return self._is_repeatable(lines.decode(line))
        except ValueError:
            return False

    def _send(self, client: socket.socket, answer: bytes) -> None:
        """Send what the client can take now; keep the rest until it reads."""
        state = self._clients[client]
        was_blocked, state.unsent = bool(state.unsent), state.unsent + answer
        try:
            state.unsent = state.unsent[client.send(state.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if was_blocked or state.unsent:
            events = selectors.EVENT_WRITE if state.unsent else selectors.EVENT_READ
            self._selector.modify(client, events)
            self._continue(client)

    def _hand_over(self, client: socket.socket, to: HandOver) -> None:
        client.setblocking(True)
        try:
            to.start(client)
            answer = lines.encode({"ok": True})
        except Exception as error:
            answer = _refusal(error)
        with contextlib.suppress(OSError):
            client.send(answer, socket.MSG_DONTWAIT)  # the process shares the mode of the socket
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
    busy = {"busy": True} if isinstance(error, Busy) else {}
    return lines.encode({"ok": False, "error": text} | busy)
