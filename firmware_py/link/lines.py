"""Lines of JSON between processes: the control socket (link.client) and a push (install.protocol).

Each message is one JSON object on one line, UTF-8, at most MAX_LINE bytes.
"""

from __future__ import annotations

import json
import os
import select
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

    idle_s: how long to wait for the other side, in seconds; None: without limit.
    """

    def __init__(self, reader: int, writer: int, idle_s: float | None) -> None:
        self._reader, self._writer, self._idle_s = reader, writer, idle_s
        self._buffer = b""

    def line(self) -> Message | None:
        """The next message; None at the end of the input.

        Raises UserError if the line is too long, incomplete or not a JSON object, and
        NothingReceived after `idle_s`.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE:
                raise UserError("the other side does not speak nverb's protocol")
            part = self._read(4096)
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
        view = memoryview(data)
        while view:
            view = view[os.write(self._writer, view) :]

    def _read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end of the input or when the connection is reset."""
        if not select.select([self._reader], [], [], self._idle_s)[0]:
            raise NothingReceived(f"the other side sent nothing for {self._idle_s:g} s")
        try:
            return os.read(self._reader, size)
        except ConnectionResetError:
            return b""

    def _start(self) -> str:
        return self._buffer[:80].decode(errors="replace")
