"""The protocol of installing: lines of JSON, and the bytes of a file.

The same over ssh (`nverb push` runs `nverb store` on the board) and over the control socket of a
pedal running on this machine.

| sender | line                                                     | then                         |
|--------|----------------------------------------------------------|------------------------------|
| desk   | {"nverb": 1, "do": "install", "name": "halls.nvbank",    |                              |
|        |  "kind": "" or kind, "size": N or null,                  |                              |
|        |  "sha256": "" or hex, "signature": "" or text}           |                              |
| desk   | {"nverb": 1, "do": "use" or "remove", "name": "...",     |                              |
|        |  "kind": null or kind}                                   |                              |
| desk   | {"nverb": 1, "do": "rollback", "kind": "bank" or         |                              |
|        |  "model"}                                                |                              |
| desk   | {"nverb": 1, "do": "list"}                               |                              |
| board  | {"have": n}                                              | the desk sends the file from |
|        |                                                          | byte n on, and closes its    |
|        |                                                          | side if size is null         |
| board  | {"stage": "verifying"}, {"note": "..."}                  | any number, once the file    |
|        |                                                          | has arrived                  |
| board  | {"ok": true, "text": "...", "rows": [...] for a list}    | end                          |
| board  | {"ok": false, "error": "..."}                            | end, at any time             |

A line has at most link.lines.MAX_LINE bytes. The board gives up when nothing arrives for IDLE_S.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from firmware_py.install.receive import CHUNK, Chunks
from firmware_py.link.lines import LineChannel

VERSION = 1
IDLE_S = 60.0


class Channel(LineChannel):
    """Lines of JSON and the bytes of a file, on two descriptors.

    close_write: ends what this side sends. idle_s: see LineChannel.
    """

    def __init__(
        self,
        reader: int,
        writer: int,
        close_write: Callable[[], None] | None = None,
        idle_s: float | None = IDLE_S,
    ) -> None:
        super().__init__(reader, writer, idle_s)
        self._close_write = close_write

    def chunks(self) -> Chunks:
        """All bytes up to the end of the input."""
        if self._buffer:
            yield self._buffer
            self._buffer = b""
        while part := self._read(CHUNK):
            yield part

    def some(self, size: int) -> Chunks:
        """The next `size` bytes; fewer if the input ends before."""
        while size > 0:
            part = self._buffer[:size] or self._read(min(CHUNK, size))
            self._buffer = self._buffer[len(part) :]
            if not part:
                return
            size -= len(part)
            yield part

    def end(self) -> None:
        """End what this side sends, if the channel can."""
        if self._close_write is not None:
            self._close_write()

    def has_input(self) -> bool:
        """True if a line, the end of the input or other bytes can be read without waiting."""
        return b"\n" in self._buffer or bool(select.select([self._reader], [], [], 0)[0])


def printable(text: object) -> str:
    """Text from another machine as one line: at most 2000 characters, none of them control."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:2000])
