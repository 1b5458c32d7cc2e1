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

import json
import os
import select
from collections.abc import Callable
from typing import Any

from dsp.errors import UserError
from firmware_py.install.receive import CHUNK, Chunks

VERSION = 1
MAX_LINE = 65536
IDLE_S = 60.0


class Channel:
    """Two descriptors, lines and bytes. `close_write` ends what we send; `idle_s`: how long to wait for the other side (None: for ever)."""

    def __init__(
        self,
        reader: int,
        writer: int,
        close_write: Callable[[], None] | None = None,
        idle_s: float | None = IDLE_S,
    ) -> None:
        self._reader, self._writer, self._close_write, self._idle_s = (
            reader,
            writer,
            close_write,
            idle_s,
        )
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
            raise UserError(
                f"the other side said {text[:80].decode(errors='replace')!r}, not what nverb says"
            )
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


def _plain(text: Any) -> str:
    """What another machine says, as one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:2000])


# The board's end.


# Between them.
