"""How a desk and a board speak about what is installed: lines of JSON, and the bytes of a file.

The same over ssh (`nverb push` runs `nverb store` on the board) and over the control socket of a pedal that runs here.

| who   | line                                                                       | then                                     |
|-------|----------------------------------------------------------------------------|------------------------------------------|
| desk  | {"nverb": 1, "do": "install", "name": "halls.nvbank", "kind": "" or kind,  |                                          |
|       |  "size": N or null, "sha256": "" or hex, "signature": "" or text}          |                                          |
|       | {"nverb": 1, "do": "use" or "remove", "name": "...", "kind": null or kind} |                                          |
|       | {"nverb": 1, "do": "rollback", "kind": "bank" or "model"}                  |                                          |
|       | {"nverb": 1, "do": "list"}                                                 |                                          |
| board | {"have": n}                                                                | desk sends the file's bytes from n on,   |
|       |                                                                            | and ends (if size is null)               |
| board | {"stage": "verifying"}, {"note": "..."}: once all has come                 | any number of them                       |
| board | {"ok": true, "text": "...", "rows": [...] for a list}                      | the end                                  |
| board | {"ok": false, "error": "..."}                                              | the end, at any time                     |

A line has at most MAX_LINE bytes; a board that hears nothing for IDLE_S gives up.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_py.state.store import KINDS
from dsp.errors import UserError
from firmware_py.install import installer as install
from firmware_py.install.installer import CHUNK, Chunks, Offer, Report

VERSION = 1
MAX_LINE = 65536
IDLE_S = 60.0


class Channel:
    """Two descriptors, lines and bytes. `close_write` ends what we send; `idle_s`: how long to wait for the other side (None: for ever)."""

    def __init__(
        self, reader: int, writer: int, close_write: Callable[[], None] | None = None, idle_s: float | None = IDLE_S
    ) -> None:
        self._reader, self._writer, self._close_write, self._idle_s = reader, writer, close_write, idle_s
        self._buffer = b""

    def line(self) -> dict[str, Any] | None:
        """The next line; None at the end. Raises UserError for what is no line of ours, or when nothing comes."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE:
                raise UserError("the other side does not speak nverb's protocol")
            part = self._read(4096)
            if not part:
                if self._buffer:
                    raise UserError(f"the other side said {self._buffer[:80]!r}")
                return None
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise UserError(f"the other side said {text[:80].decode(errors='replace')!r}, not what nverb says")
        return message

    def chunks(self) -> Chunks:
        """All bytes that come until the end."""
        if self._buffer:
            yield self._buffer
            self._buffer = b""
        while part := self._read(CHUNK):
            yield part

    def some(self, size: int) -> Chunks:
        """The next `size` bytes, fewer if the end comes before."""
        while size > 0:
            part = self._buffer[:size] or self._read(min(CHUNK, size))
            self._buffer = self._buffer[len(part) :]
            if not part:
                return
            size -= len(part)
            yield part

    def _read(self, size: int) -> bytes:
        if not select.select([self._reader], [], [], self._idle_s)[0]:
            raise UserError(f"nothing came for {self._idle_s:g} s")
        try:
            return os.read(self._reader, size)
        except ConnectionResetError:
            return b""

    def send(self, message: dict[str, Any]) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._writer, view) :]

    def end(self) -> None:
        if self._close_write is not None:
            self._close_write()

    def has_word(self) -> bool:
        """Has the other side said something?"""
        return b"\n" in self._buffer or bool(select.select([self._reader], [], [], 0)[0])


# The desk's end.


@dataclass(frozen=True)
class Content:
    """A file open for reading (`size` and `sha256` as it was then), or a pipe: `size` None."""

    file: int
    size: int | None
    sha256: str

    @classmethod
    def of(cls, file: int, progress: Callable[[str, int, int], None]) -> Content:
        """Reads a regular file once, for its hash."""
        import hashlib

        size, digest, at = os.fstat(file).st_size, hashlib.sha256(), 0
        while part := os.pread(file, CHUNK, at):
            digest.update(part)
            at += len(part)
            progress("reading", at, max(size, at))
        return cls(file, at, digest.hexdigest())

    def chunks(self, at: int) -> Chunks:
        if self.size is None:
            while part := os.read(self.file, CHUNK):
                yield part
        else:
            while at < self.size and (part := os.pread(self.file, min(CHUNK, self.size - at), at)):
                at += len(part)
                yield part


def deliver(
    channel: Channel, request: dict[str, Any], report: Report, content: Content | None = None
) -> dict[str, Any]:
    """Says a request to a board, and sends the content when it asks for it; its last line. Raises UserError with the board's own, or
    when the connection breaks (ConnectionLost)."""
    try:
        channel.send({"nverb": VERSION} | request)
        while (message := channel.line()) is not None:
            if "have" in message and content is not None:
                _send(channel, content, int(message["have"]), report)
                content = None
            elif "stage" in message:
                report.progress(str(message["stage"]), int(message.get("done", 0)), int(message.get("of", 0)))
            elif "note" in message:
                report.note(_plain(message["note"]))
            elif message.get("ok"):
                return message
            elif "error" in message:
                raise UserError(_plain(message["error"]))
    except (BrokenPipeError, ConnectionResetError):
        pass
    raise ConnectionLost("the connection broke off")


class ConnectionLost(UserError):
    """The other side is gone without a last word. had_begun: some of the file was sent."""

    def __init__(self, message: str, had_begun: bool = False) -> None:
        super().__init__(message)
        self.had_begun = had_begun


def _send(channel: Channel, content: Content, at: int, report: Report) -> None:
    for part in content.chunks(at):
        if channel.has_word():  # a refusal: there is no use in more
            return
        try:
            channel.write(part)
        except (BrokenPipeError, ConnectionResetError):
            return  # why stands in the line that comes
        at += len(part)
        report.progress("sending", at, content.size or at)
    if content.size is None:
        channel.end()


def _plain(text: Any) -> str:
    """What another machine says, as one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:2000])


# The board's end.


class _Speaker(Report):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage != "receiving":  # the desk knows what it has sent, and takes any word before the end for a refusal
            self._say({"stage": stage, "done": done, "of": total})

    def note(self, text: str) -> None:
        self._say({"note": text})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # who asked is gone: the work is done all the same
            self._channel.send(message)


def behave() -> None:
    """An installer leaves the processor and the disk to the pedal: the control process that starts it may have real-time priority."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(10)


def serve(channel: Channel, data: Path) -> int:
    """Answers the one request that comes. In a process of its own, as the owner of the data folder; its exit status."""
    try:
        request = channel.line()
        if request is None:
            return 0
        if request.get("nverb") != VERSION:
            raise UserError(
                f"the other side speaks version {request.get('nverb')!r}, this nverb {VERSION}: update the older one"
            )

        def receive(at: int) -> Chunks:
            channel.send({"have": at})
            size = request["size"]
            return channel.chunks() if size is None else channel.some(size - at)

        answer = {"ok": True} | perform(request, receive, data=data, report=_Speaker(channel))
    except Exception as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        answer = {"ok": False, "error": " ".join(text.split()) or type(error).__name__}
    with contextlib.suppress(OSError):
        channel.send(answer)
    return 0 if answer["ok"] else 1


def perform(request: dict[str, Any], receive: Callable[[int], Chunks], *, data: Path, report: Report) -> dict[str, Any]:
    """Does what a request says. Raises UserError, ValueError, OSError."""
    kind = request.get("kind") or None
    name = _plain(request.get("name", ""))
    match request.get("do"):
        case "install":
            size, sha256 = request.get("size"), str(request.get("sha256", ""))
            if not (size is None or (type(size) is int and size >= 0)):
                raise UserError(f"no size: {size!r:.40}")
            if sha256 and not (len(sha256) == 64 and set(sha256) <= set("0123456789abcdef")):
                raise UserError(f"no SHA-256: {sha256[:80]!r}")
            offer = Offer(name, kind or "", size, sha256, str(request.get("signature", "")))
            return {"text": install.install(offer, receive, data=data, report=report, live=take_over)}
        case "use":
            return {"text": install.use(name, kind, data=data, report=report, live=take_over)}
        case "rollback" if kind in KINDS:
            assert kind is not None
            return {"text": install.roll_back(kind, data=data, report=report, live=take_over)}
        case "remove":
            return {"text": install.remove(name, kind, data=data)}
        case "list":
            return {"text": "", "rows": install.listing(data)}
    raise UserError(f"unknown request {request.get('do')!r:.40}: update nverb here")


def take_over() -> str:
    """Has the running pedal play what the store has in force; how that went, in words. Raises UserError: it refuses, or hangs."""
    from firmware_py.link.client import NoPedal, ask

    try:
        ask({"do": "reload"}, timeout_s=10)
    except NoPedal:
        return "is in force"
    return "plays"


# Between them.


@contextlib.contextmanager
def board() -> Iterator[Channel | None]:
    """A channel to the pedal that runs here, which does the work as its own user; None if none runs. Raises UserError."""
    from firmware_py.link.client import connect

    connection = connect({"do": "store"})
    if connection is None:
        yield None
        return
    with connection:
        number = connection.fileno()
        yield Channel(number, number, lambda: connection.shutdown(socket.SHUT_WR), idle_s=None)


def relay(connection: socket.socket) -> None:
    """Copies stdin to the connection and the connection to stdout, until that ends."""
    here = sys.stdin.fileno()
    sources = [here, connection.fileno()]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if connection.fileno() in ready:
            data = connection.recv(CHUNK)
            if not data:
                return
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        if here in ready:
            data = os.read(here, CHUNK)
            try:
                if data:
                    connection.sendall(data)
                else:
                    sources.remove(here)
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                sources = [connection.fileno()]  # its last word is still to come
