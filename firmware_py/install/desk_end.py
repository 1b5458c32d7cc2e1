"""The sending end of a push: what `nverb push` and `nverb install` send from a desk."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install.protocol import (
    FINISH_S,
    MAX_NOTES,
    MAX_REPLIES,
    OLD_SILENCE_S,
    REPLY_S,
    SILENCE_S,
    VERSION,
    AtStage,
    Channel,
    Done,
    Have,
    Note,
    Refused,
    reply_of,
)
from firmware_py.install.receive import CHUNK, Chunks
from firmware_py.link.lines import Message, NothingReceived


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

    Raises UserError with the board's own message or for a line that is not of the protocol,
    NothingReceived if the board is silent, ConnectionLost if the connection breaks.
    """
    deadline = time.monotonic() + REPLY_S + FINISH_S
    notes, patience_s = 0, REPLY_S
    try:
        channel.send({"nverb": VERSION, **request})
        for _ in range(MAX_REPLIES):
            message = _line(channel, max(min(deadline - time.monotonic(), patience_s), 0))
            if message is None:
                break
            patience_s = SILENCE_S if message.get("beats") is True else OLD_SILENCE_S
            match reply_of(message):
                case Have(at):
                    if content is None or at > (content.size or 0):
                        raise UserError(f"the board asks for bytes from {at} on, which it has not")
                    _send(channel, content, at, report)
                    content, deadline = None, time.monotonic() + FINISH_S
                case AtStage(name, done, total):
                    report.progress(name, done, total)
                case Note(text):
                    notes += 1
                    if notes > MAX_NOTES:
                        raise UserError(f"the board sends more than {MAX_NOTES} notes")
                    report.note(text)
                case Done(answer):
                    if content is not None:
                        raise UserError("the board says that it has the file, but did not ask")
                    return answer
                case Refused(text):
                    raise UserError(text)
        else:
            raise UserError(f"the board sends more than {MAX_REPLIES} lines and no answer")
    except (BrokenPipeError, ConnectionResetError):
        pass
    raise ConnectionLost("the connection broke")


def _line(channel: Channel, within_s: float) -> Message | None:
    """The board's next line. Raises NothingReceived with the remedy."""
    try:
        return channel.line(within_s)
    except NothingReceived:
        raise NothingReceived(
            f"the board has sent nothing for {within_s:.0f} s: it hangs, or the connection is "
            "lost; push again, the upload resumes"
        ) from None


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
        yield Channel(number, number, lambda: connection.shutdown(socket.SHUT_WR))


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
