"""The sending end of a push: what `nverb push` and `nverb install` send from a desk."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install.protocol import VERSION, Channel, printable
from firmware_py.install.receive import CHUNK, Chunks
from firmware_py.link.lines import Message


@dataclass(frozen=True)
class Content:
    """An open file with the size and SHA-256 that it had when hashed, or a pipe (`size` None)."""

    file: int
    size: int | None
    sha256: str

    @classmethod
    def of(cls, file: int, progress: Callable[[str, int, int], None]) -> Content:
        """Read a regular file once, for its hash."""
        import hashlib

        size, digest, at = os.fstat(file).st_size, hashlib.sha256(), 0
        while part := os.pread(file, CHUNK, at):
            digest.update(part)
            at += len(part)
            progress("reading", at, max(size, at))
        return cls(file, at, digest.hexdigest())

    def chunks(self, at: int) -> Chunks:
        """The content from byte `at` on; a pipe has no offset and starts where it is."""
        if self.size is None:
            while part := os.read(self.file, CHUNK):
                yield part
        else:
            while at < self.size and (part := os.pread(self.file, min(CHUNK, self.size - at), at)):
                at += len(part)
                yield part


class ConnectionLost(UserError):
    """The connection ended without a final answer. had_begun: part of the file was sent."""

    def __init__(self, message: str, had_begun: bool = False) -> None:
        super().__init__(message)
        self.had_begun = had_begun


def deliver(
    channel: Channel,
    request: Mapping[str, object],
    report: Report,
    content: Content | None = None,
) -> Message:
    """Send a request to a board, and the content when the board asks for it; return the answer.

    Raises UserError with the board's own message, ConnectionLost if the connection breaks.
    """
    try:
        channel.send({"nverb": VERSION, **request})
        while (message := channel.line()) is not None:
            if "have" in message and content is not None:
                _send(channel, content, int(message["have"]), report)
                content = None
            elif "stage" in message:
                report.progress(
                    str(message["stage"]), int(message.get("done", 0)), int(message.get("of", 0))
                )
            elif "note" in message:
                report.note(printable(message["note"]))
            elif message.get("ok"):
                return message
            elif "error" in message:
                raise UserError(printable(message["error"]))
    except (BrokenPipeError, ConnectionResetError):
        pass
    raise ConnectionLost("the connection broke")


def _send(channel: Channel, content: Content, at: int, report: Report) -> None:
    for part in content.chunks(at):
        if channel.has_input():  # the board has refused the file: stop sending
            return
        try:
            channel.write(part)
        except (BrokenPipeError, ConnectionResetError):
            return  # the reason is in the line that follows
        at += len(part)
        report.progress("sending", at, content.size or at)
    if content.size is None:
        channel.end()


@contextlib.contextmanager
def board() -> Iterator[Channel | None]:
    """A channel to the pedal running here, which works as its own user; None if none is running.

    Raises UserError.
    """
    from firmware_py.link.client import connect

    connection = connect({"do": "store"})
    if connection is None:
        yield None
        return
    with connection:
        number = connection.fileno()
        yield Channel(number, number, lambda: connection.shutdown(socket.SHUT_WR), idle_s=None)


def relay(connection: socket.socket) -> None:
    """Copy stdin to the connection and the connection to stdout, until the connection ends."""
    stdin = sys.stdin.fileno()
    sources = [stdin, connection.fileno()]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if connection.fileno() in ready:
            data = connection.recv(CHUNK)
            if not data:
                return
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        if stdin in ready:
            data = os.read(stdin, CHUNK)
            try:
                if data:
                    connection.sendall(data)
                else:
                    sources.remove(stdin)
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                sources = [connection.fileno()]  # its final answer is still to come
