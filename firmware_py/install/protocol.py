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
| board  | {"stage": "verifying"}, {"note": "..."}                  | any number, but none while   |
|        |                                                          | the file arrives; a stage at |
|        |                                                          | least every BEAT_S           |
| board  | {"ok": true, "text": "...", "rows": [...] for a list}    | end                          |
| board  | {"ok": false, "error": "..."}                            | end, at any time             |

A line has at most link.lines.MAX_LINE bytes. The lines of a board that sends a stage at least every
BEAT_S have "beats": true; older boards are silent while they work. Neither side trusts the other:
`request_of` and `reply_of` check every line and clean its texts, and all waits end:

| who   | waits for                                | at most                                  |
|-------|------------------------------------------|------------------------------------------|
| board | the request                              | REQUEST_S                                |
| board | the file                                 | IDLE_S without a byte, SLOWEST_BYTES_S   |
|       |                                          | in each IDLE_S, TRANSFER_S in total      |
| desk  | the board's first line                   | REPLY_S: ssh may ask for a password      |
| desk  | the next one                             | SILENCE_S, or of a board without beats   |
|       |                                          | OLD_SILENCE_S                            |
| desk  | the board to read                        | IDLE_S                                   |
| desk  | the end, once the file is sent           | FINISH_S and MAX_REPLIES lines           |
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass

from dsp.errors import UserError
from firmware_py.install.receive import CHUNK, Chunks
from firmware_py.link.lines import LineChannel, Message, NothingReceived

VERSION = 1
IDLE_S = 60.0
REQUEST_S = 15.0
SLOWEST_BYTES_S = 200
TRANSFER_S = 7200.0
REPLY_S, FINISH_S = 300.0, 900.0
BEAT_S, SILENCE_S, OLD_SILENCE_S = 5.0, 30.0, 120.0
MAX_REPLIES, MAX_NOTES = 1000, 50
MAX_SIZE = 1 << 40
KINDS = ("bank", "model", "preset", "profile")
REQUESTS = ("install", "use", "remove", "rollback", "list")


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
        """All bytes up to the end of the input. Raises NothingReceived if they come too slowly."""
        return self.some(MAX_SIZE)

    def some(self, size: int) -> Chunks:
        """The next `size` bytes; fewer if the input ends before. Raises NothingReceived if they
        come too slowly."""
        pace = _Pace()
        while size > 0:
            part = self._buffer[:size] or self._read(min(CHUNK, size))
            self._buffer = self._buffer[len(part) :]
            if not part:
                return
            size -= len(part)
            pace.received(len(part))
            yield part

    def end(self) -> None:
        """End what this side sends, if the channel can."""
        if self._close_write is not None:
            self._close_write()

    def has_input(self) -> bool:
        """True if a line, the end of the input or other bytes can be read without waiting."""
        return b"\n" in self._buffer or bool(select.select([self._reader], [], [], 0)[0])


class _Pace:
    """Ends a transfer that single bytes keep alive. The upload can be resumed."""

    def __init__(self) -> None:
        self._begun = self._window = time.monotonic()
        self._bytes = 0

    def received(self, count: int) -> None:
        """Count bytes. Raises NothingReceived if they are too few."""
        self._bytes += count
        now = time.monotonic()
        if now - self._begun > TRANSFER_S:
            raise NothingReceived(f"the file did not arrive within {TRANSFER_S / 3600:g} hours")
        if now - self._window > IDLE_S:
            if self._bytes < SLOWEST_BYTES_S * (now - self._window):
                raise NothingReceived(f"less than {SLOWEST_BYTES_S} bytes a second arrive")
            self._window, self._bytes = now, 0


def printable(text: object) -> str:
    """Text from another machine as one line: at most 2000 characters, none of them control."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:2000])


@dataclass(frozen=True)
class Have:
    """The board wants the file from this byte on."""

    at: int


@dataclass(frozen=True)
class AtStage:
    """What the board does, and how much of it is done."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """A line for the user."""

    text: str


@dataclass(frozen=True)
class Done:
    """The request is carried out. message: the texts and rows of the answer."""

    message: Message


@dataclass(frozen=True)
class Refused:
    """The request failed."""

    text: str


Reply = Have | AtStage | Note | Done | Refused


def reply_of(message: Message) -> Reply:
    """The meaning of a line from the board. Raises UserError if it has none."""
    if message.get("ok") is True:
        rows = message.get("rows", [])
        if not isinstance(rows, list):
            raise _not_protocol("rows", rows)
        text = _text(message, "text")
        return Done({"ok": True, "text": text, "rows": [_row(row) for row in rows]})
    if "error" in message:
        return Refused(_text(message, "error") or "the board gives no reason")
    if "have" in message:
        return Have(_count(message, "have"))
    if "stage" in message:
        done, total = _count(message, "done"), _count(message, "of")
        return AtStage(_text(message, "stage"), min(done, total), total)
    if "note" in message:
        return Note(_text(message, "note"))
    raise _not_protocol("line", message)


def request_of(message: Message) -> Message:
    """The request of a line from the desk, with all keys. Raises UserError if it is invalid."""
    if message.get("nverb") != VERSION:
        raise UserError(
            f"the other side speaks version {printable(message.get('nverb'))[:40]}, "
            f"this nverb {VERSION}: update the older one"
        )
    if message.get("do") not in REQUESTS:
        raise UserError(
            f"unknown request {printable(message.get('do'))[:40]!r}: update nverb on this machine"
        )
    kind, sha256 = message.get("kind") or "", message.get("sha256") or ""
    if kind not in ("", *KINDS):
        raise UserError(f"kind = {printable(kind)[:40]!r}: must be one of {', '.join(KINDS)}")
    if sha256 and not _is_sha256(sha256):
        raise UserError(f"sha256 = {printable(sha256)[:80]!r}: must be 64 lower-case hex digits")
    size = message.get("size")
    if not (size is None or (type(size) is int and 0 <= size <= MAX_SIZE)):
        raise UserError(f"size = {printable(size)[:40]}: must be a number of bytes, or null")
    signature = message.get("signature") or ""
    if not isinstance(signature, str):
        raise UserError("signature: must be text")
    return {
        "do": message["do"],
        "name": _text(message, "name"),
        "kind": kind,
        "size": size,
        "sha256": sha256,
        "signature": signature,
    }


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def _text(message: Message, key: str) -> str:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise _not_protocol(key, value)
    return printable(value or "")


def _count(message: Message, key: str) -> int:
    value = message.get(key, 0)
    if type(value) is not int or not 0 <= value <= MAX_SIZE:
        raise _not_protocol(key, value)
    return value


def _row(row: object) -> Message:
    """A row of a list: texts, numbers and marks."""
    if not isinstance(row, dict):
        raise _not_protocol("row", row)
    texts = {key: _text(row, key) for key in ("kind", "name", "sha256", "reference")}
    marks = {key: row.get(key) is True for key in ("in_use", "plays")}
    return {**texts, "bytes": _count(row, "bytes"), **marks}


def _not_protocol(what: str, value: object) -> UserError:
    return UserError(
        f"the other side sent {what} = {printable(value)[:80]!r}, not nverb's protocol"
    )
