"""The protocol of a push when the other end is hostile, broken or asleep."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import HANG_S, wait_until

from dsp.errors import UserError
from firmware_py.base.process import nverb_command
from firmware_py.base.progress import Report
from firmware_py.install import board_end, desk_end, protocol
from firmware_py.install.desk_end import ConnectionLost, Content, deliver
from firmware_py.install.inventory import PushTarget, Ssh
from firmware_py.install.protocol import (
    MAX_NOTES,
    MAX_REPLIES,
    VERSION,
    AtStage,
    Channel,
    Done,
    Note,
    Refused,
    reply_of,
    request_of,
)
from firmware_py.install.push import push
from firmware_py.link.lines import Message, NothingReceived

EVIL = "bank x plays\x1b]0;PWNED\x07\x1b[2J\nnverb: done\u202e"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([EVIL, "\ud800", 10**400, 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
REPLIES = st.dictionaries(
    st.sampled_from(["ok", "text", "rows", "error", "have", "stage", "done", "of", "note"]),
    VALUES,
    max_size=5,
)
REQUESTS = st.dictionaries(
    st.sampled_from(["nverb", "do", "name", "kind", "size", "sha256", "signature"]),
    VALUES | st.sampled_from([VERSION, "install", "bank", "a" * 64]),
    max_size=7,
)


class Shown(Report):
    """What a user sees."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def progress(self, stage: str, done: int, total: int) -> None:
        assert done >= 0 and total >= 0
        self.lines.append(stage)

    def note(self, text: str) -> None:
        self.lines.append(text)


@given(message=REPLIES)
def test_line_of_a_board_has_a_meaning_or_is_refused_in_one_line(message: Message) -> None:
    try:
        reply = reply_of(message)
    except UserError as error:
        assert str(error).isprintable()
        return
    match reply:
        case Done(answer):
            assert answer["text"].isprintable() and isinstance(answer["rows"], list)
        case Note(text) | Refused(text):
            assert text.isprintable()
        case AtStage(name, done, total):
            assert name.isprintable() and 0 <= done <= total


@given(message=REQUESTS)
def test_line_of_a_desk_is_a_request_or_is_refused_in_one_line(message: Message) -> None:
    try:
        request = request_of(message)
    except UserError as error:
        assert str(error).isprintable()
        return
    assert request["name"].isprintable()
    assert request["kind"] in ("", *protocol.KINDS)
    assert request["size"] is None or 0 <= request["size"] <= protocol.MAX_SIZE
    assert isinstance(request["signature"], str)


@pytest.fixture
def content(tmp_path: Path) -> Iterator[Content]:
    (tmp_path / "p.json").write_bytes(b"{}" * 5000)
    file = os.open(tmp_path / "p.json", os.O_RDONLY)
    yield Content.of(file, lambda *_: None)
    os.close(file)


@contextlib.contextmanager
def board(lines: list[bytes], *, then_closes: bool = True) -> Iterator[Channel]:
    """The desk's channel to a board that says these lines, whatever it is sent."""
    ours, theirs = socket.socketpair()

    def say() -> None:
        with contextlib.suppress(OSError):
            for line in lines:
                theirs.sendall(line)
            if then_closes:
                theirs.shutdown(socket.SHUT_WR)
            while theirs.recv(65536):
                pass

    thread = threading.Thread(target=say)
    thread.start()
    try:
        yield Channel(ours.fileno(), ours.fileno(), idle_s=HANG_S)
    finally:
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()
        ours.close()
        theirs.close()


def line(**message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


@pytest.mark.parametrize(
    "lines",
    [
        *[[line(have=value)] for value in ("abc", -5, 10**30, None, [1], True, 10_001)],
        [b'{"have": Infinity}\n'],
        [b'{"have": NaN}\n'],
        [b'{"have": ' + b"9" * 5000 + b"}\n"],
        [line(have=0), line(have=0), line(ok=True, text="ok")],
        [line(ok=True, text="lied: it asked for no byte")],
        [line(have=0), line(ok=True, text=["a"])],
        [line(stage="x", done="a")],
        [b'{"stage": "x", "done": Infinity, "of": 1}\n'],
        [line(error=None)],
        [line(ok=False, error=EVIL)],
        [line(note="n")] * (MAX_NOTES + 1),
        [line(stage="s")] * (MAX_REPLIES + 1),
        [b"\x00\xff\x1b[31mhello\n"],
        [b"[" * 60_000 + b"\n"],
        [b"x" * 70_000],
        [b"[1, 2]\n"],
        [b"\n"],
        [],
    ],
    ids=lambda lines: repr(lines[:1])[:40],
)
def test_hostile_board_is_reported_in_one_line(lines: list[bytes], content: Content) -> None:
    shown = Shown()
    with board(lines) as channel, pytest.raises(UserError) as caught:
        deliver(channel, {"do": "install"}, shown, content)
    assert str(caught.value).isprintable() and str(caught.value)
    assert all(text.isprintable() for text in shown.lines)
    assert len(shown.lines) <= MAX_REPLIES


def test_texts_of_a_board_reach_the_user_without_control_characters(content: Content) -> None:
    shown = Shown()
    lines = [line(note=EVIL), line(stage=EVIL), line(have=0), line(ok=True, text=EVIL)]
    with board(lines) as channel:
        answer = deliver(channel, {"do": "install"}, shown, content)
    assert answer["text"].isprintable() and "bank x plays" in answer["text"]
    assert all(text.isprintable() for text in shown.lines)


def test_board_that_sends_without_end_is_given_up(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither silence nor a drip of bytes keeps the desk."""
    monkeypatch.setattr(desk_end, "FINISH_S", 0.2)
    monkeypatch.setattr(desk_end, "REPLY_S", 0.0)
    for lines in ([line(have=0)], [line(have=0), b'{"note'], []):
        with board(lines, then_closes=False) as channel, pytest.raises(NothingReceived):
            deliver(channel, {"do": "install"}, Shown(), content)


def test_board_that_falls_silent_is_given_up_with_a_remedy(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sooner if it has promised beats."""
    monkeypatch.setattr(desk_end, "SILENCE_S", 0.2)
    lines = [line(have=0, beats=True)]
    with (
        board(lines, then_closes=False) as channel,
        pytest.raises(NothingReceived, match=r"sent nothing for 0 s.*push again"),
    ):
        deliver(channel, {"do": "install"}, Shown(), content)
    monkeypatch.setattr(desk_end, "SILENCE_S", HANG_S)
    monkeypatch.setattr(desk_end, "OLD_SILENCE_S", 0.2)
    with (
        board([line(have=0)], then_closes=False) as channel,
        pytest.raises(NothingReceived, match="push again"),
    ):
        deliver(channel, {"do": "install"}, Shown(), content)


def test_board_that_works_long_is_not_given_up(
    tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it does, but nothing while the file arrives."""
    monkeypatch.setattr(board_end, "BEAT_S", 0.01)
    said: list[str] = []

    class Heard(Report):
        def progress(self, stage: str, done: int, total: int) -> None:
            said.append(stage)

    def perform(_request: object, receive: Callable[[int], Iterator[bytes]], **_: object) -> Any:
        wait_until(lambda: said.count("preparing") > 3)
        arrived = sum(map(len, receive(0)))
        before = said.count("preparing")
        wait_until(lambda: said.count("preparing") > before + 3)
        return {"text": f"{arrived} bytes"}

    monkeypatch.setattr(board_end, "perform", perform)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs.fileno(), theirs.fileno(), idle_s=HANG_S)
        thread = threading.Thread(target=board_end.serve, args=(channel, tmp_path))
        thread.start()
        request = {"do": "install", "name": "a", "size": content.size}
        desk = Channel(ours.fileno(), ours.fileno(), idle_s=HANG_S)
        assert deliver(desk, request, Heard(), content)["text"] == f"{content.size} bytes"
        thread.join()
    first, count = said.index("sending"), said.count("sending")
    assert said[first : first + count] == ["sending"] * count


def test_board_that_reads_nothing_is_given_up() -> None:
    reader, writer = os.pipe()
    channel = Channel(reader, writer, idle_s=0.2)
    with pytest.raises(NothingReceived, match="read nothing"):
        channel.write(bytes(1 << 20))
    os.close(reader)
    os.close(writer)


def test_desk_that_drips_its_request_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_end, "REQUEST_S", 0.2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b" ")
        channel = Channel(ours.fileno(), ours.fileno(), idle_s=HANG_S)
        assert board_end.serve(channel, tmp_path) == 1
        assert b"too long" in theirs.recv(1000)


def test_board_without_its_data_folder_says_why(tmp_path: Path) -> None:
    data = tmp_path / "file"
    data.touch()
    answer = subprocess.run(
        nverb_command("store", "--here"),
        input=json.dumps({"nverb": VERSION, "do": "list"}).encode() + b"\n",
        stdout=subprocess.PIPE,
        env=os.environ | {"NVERB_DATA_DIR": str(data)},
        check=False,
    )
    assert answer.returncode == 1
    said = json.loads(answer.stdout)
    assert said["ok"] is False and str(data) in said["error"]


def test_file_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "IDLE_S", 0.0)
    monkeypatch.setattr(protocol, "SLOWEST_BYTES_S", 10**12)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"ab")
        channel = Channel(ours.fileno(), ours.fileno(), idle_s=HANG_S)
        with pytest.raises(NothingReceived, match="bytes a second"):
            list(channel.some(100))


def test_bug_at_one_board_leaves_the_outcomes_of_the_others(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(target: PushTarget) -> Callable[..., str]:
        raise ZeroDivisionError("by\nzero")

    def once(target: PushTarget, *_: object, **__: object) -> str:
        if target.name == "bad":
            fail(target)
        if target.name == "lost":
            raise ConnectionLost("the connection broke")
        return "installed"

    monkeypatch.setattr("firmware_py.install.push._once", once)
    targets = [PushTarget(name, name, Ssh()) for name in ("good", "bad", "lost", "fine")]
    outcomes = push(targets, {}, content, Report())
    assert [outcome.ok for outcome in outcomes] == [True, False, False, True]
    assert outcomes[1].text == "internal error (by zero)"
