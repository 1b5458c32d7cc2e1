"""Lines of JSON between processes: the control socket (link.client) and a push (install.protocol).

Each message is one JSON object on one line, UTF-8, at most MAX_LINE bytes.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Any

from dsp.errors import UserError
from models.reading import json_table

MAX_LINE = 65536
Message = dict[str, Any]
"""A JSON object as read: the reader checks the types of its values."""


class NothingReceived(UserError):
    """The other side has sent nothing for the idle time of the channel."""


def encode(message: Mapping[str, object]) -> bytes:
    """The message as a line, with its newline."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line. Raises ValueError if it is not a JSON object within bounds.

    Its texts may be names of files that are not UTF-8.
    """
    return json_table(line, "message", text_errors="surrogateescape")


class LineChannel:
    """Reads and writes lines on two descriptors, which may be the same socket.

    idle_s: how long to wait for the other side to read, or to send anything while no other time is
    given; in seconds; None: without limit.
    """

    def __init__(self, reader: int, writer: int, idle_s: float | None) -> None:
        self._reader, self._writer, self._idle_s = reader, writer, idle_s
        self._buffer = b""

    def line(self, within_s: float | None = None) -> Message | None:
        """The next message; None at the end of the input.

        within_s: the time for the complete line, so that single bytes do not extend it. Raises
        UserError if the line is too long, incomplete or not a JSON object, and NothingReceived
        after `within_s`, else after `idle_s`.
        """
        deadline = None if within_s is None else time.monotonic() + within_s
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE:
                raise UserError("the other side does not speak nverb's protocol")
            part = self._read(4096, deadline)
            if not part:
                if self._buffer:
                    raise UserError(f"the other side sent an incomplete line: {self._start()!r}")
                return None
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return decode(text)
        except ValueError:
            sent = text[:80].decode(errors="replace")
            raise UserError(f"the other side sent {sent!r}, not nverb's protocol") from None

    def send(self, message: Mapping[str, object]) -> None:
        self.write(encode(message))

    def write(self, data: bytes) -> None:
        """Write all. Raises OSError, NothingReceived if the other side reads nothing for
        `idle_s`."""
        view = memoryview(data)
        while view:
            if not select.select([], [self._writer], [], self._idle_s)[1]:
                raise NothingReceived(f"the other side read nothing for {self._idle_s:g} s")
            # More could block, although select has reported the pipe as writable.
            view = view[os.write(self._writer, view[: select.PIPE_BUF]) :]

    def _read(self, size: int, deadline: float | None = None) -> bytes:
        """Up to `size` bytes; none at the end of the input or when the connection is reset.

        Raises NothingReceived at `deadline` (time.monotonic), else after `idle_s`.
        """
        wait_s = self._idle_s if deadline is None else max(deadline - time.monotonic(), 0)
        if not select.select([self._reader], [], [], wait_s)[0]:
            if deadline is None:
                raise NothingReceived(f"the other side sent nothing for {self._idle_s:g} s")
            raise NothingReceived("the other side takes too long to send a line")
        try:
            return os.read(self._reader, size)
        except ConnectionResetError:
            return b""

    def _start(self) -> str:
        return self._buffer[:80].decode(errors="replace")
