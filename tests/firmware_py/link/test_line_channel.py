"""Lines of JSON: what a channel sends, and what it rejects."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from dsp.errors import UserError
from firmware_py.install.protocol import Channel
from firmware_py.link.lines import MAX_LINE, LineChannel, NothingReceived, decode, encode


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, LineChannel]]:
    """The other side's socket, and the channel of this side."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield theirs, LineChannel(ours.fileno(), ours.fileno(), idle_s=0.2)


def test_line_is_one_json_object_and_a_newline() -> None:
    assert encode({"do": "set", "text": "a\nb"}) == b'{"do": "set", "text": "a\\nb"}\n'


@pytest.mark.parametrize("line", [b"", b"[]", b"3", b"{", b"\xff", b"[" * 60_000])
def test_decode_rejects_anything_but_an_object(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(line)


def test_channel_reads_lines_in_order_then_the_end(
    pair: tuple[socket.socket, LineChannel],
) -> None:
    other, channel = pair
    other.sendall(b'{"a": 1}\n{"b"')
    assert channel.line() == {"a": 1}
    other.sendall(b": 2}\n")
    other.shutdown(socket.SHUT_WR)
    assert channel.line() == {"b": 2}
    assert channel.line() is None


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b'{"a"', "incomplete line"),
        (b"Welcome to the board\n", "Welcome"),
        (b"x" * (MAX_LINE + 5000), "does not speak"),
    ],
)
def test_channel_rejects_what_is_not_the_protocol(
    pair: tuple[socket.socket, LineChannel], sent: bytes, message: str
) -> None:
    other, channel = pair
    other.sendall(sent)
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(UserError, match=message):
        channel.line()


def test_channel_reports_a_silent_other_side(pair: tuple[socket.socket, LineChannel]) -> None:
    with pytest.raises(NothingReceived, match=r"0\.2 s"):
        pair[1].line()


def test_channel_passes_file_bytes_after_a_line() -> None:
    reader, writer = os.pipe()
    channel = Channel(reader, writer)
    os.write(writer, b'{"size": 5}\n01234567')
    assert channel.line() == {"size": 5}
    assert b"".join(channel.some(5)) == b"01234"
    os.close(writer)
    assert b"".join(channel.chunks()) == b"567"
    os.close(reader)
