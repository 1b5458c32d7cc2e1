"""The control socket under malformed and hostile requests: each is answered or its client dropped,
nothing changes, and the pedal keeps answering."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import HANG_S

from device.controls import CONTROLS, defaults
from dsp.errors import UserError
from firmware_py.control import server
from firmware_py.control.pedal import Pedal
from firmware_py.control.requests import Requests
from firmware_py.control.server import MAX_CLIENTS, Handler, HandOver, Server
from firmware_py.link.client import MAX_LINE, ask, socket_path
from firmware_py.rooms.source import find_source

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)
WORDS = st.sampled_from(
    ["set", "get", "status", "do", "values", "names", *(control.name for control in CONTROLS)]
)
REQUESTS = st.dictionaries(WORDS | st.text(max_size=8), VALUES | WORDS, max_size=4)
"""Made of the words of real requests, so that the values are checked too. None of them writes a
file or starts a process."""
BROKEN_SETS = st.dictionaries(
    WORDS, VALUES.filter(lambda v: isinstance(v, list | dict | type(None))), min_size=1, max_size=4
)


@contextlib.contextmanager
def serving(handler: Handler) -> Iterator[None]:
    """A real socket, served in a thread."""
    served, stop = Server(handler), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            served.serve(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        served.close()


def keep_logged_bugs(patch: pytest.MonkeyPatch) -> list[str]:
    """The tracebacks that the server logs from now on."""
    logged: list[str] = []

    def keep(_: str, *, exc_info: BaseException) -> None:
        logged.append("".join(traceback.format_exception(exc_info)))

    patch.setattr(server.log, "error", keep)
    return logged


@pytest.fixture(scope="module")
def pedal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pedal]:
    """A pedal that answers on its socket. Nothing may be logged: no request finds a bug."""
    with pytest.MonkeyPatch.context() as patch:
        logged = keep_logged_bugs(patch)
        patch.setenv("NVERB_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        pedal = Pedal(defaults(), find_source(), "")
        with serving(Requests(pedal).answer):
            yield pedal
    assert not logged


def exchange(line: bytes) -> dict[str, Any] | None:
    """The answer to one line; None if the client was dropped."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(HANG_S)
        try:
            client.connect(os.fspath(socket_path()))
            client.sendall(line + b"\n")
            answer = client.makefile("rb").readline()
        except OSError:
            return None
    return json.loads(answer) if answer else None


FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(line=st.binary(max_size=300).map(lambda data: data.replace(b"\n", b"")))
def test_server_rejects_random_bytes(pedal: Pedal, line: bytes) -> None:
    answer = exchange(line)
    assert answer is not None and answer["ok"] is False and answer["error"]


@FUZZ
@given(request=REQUESTS)
def test_rejected_request_changes_nothing(pedal: Pedal, request: dict[str, Any]) -> None:
    before = dict(pedal.values)
    answer = exchange(json.dumps(request).encode())
    assert answer is not None and isinstance(answer["ok"], bool)
    if not answer["ok"]:
        assert answer["error"] and "\n" not in answer["error"]
        assert pedal.values == before
    for control in CONTROLS:
        assert control.minimum <= pedal.values[control.name] <= control.maximum


@FUZZ
@given(values=BROKEN_SETS, good=st.floats(0, 9))
def test_set_with_one_bad_value_sets_nothing(
    pedal: Pedal, values: dict[str, Any], good: float
) -> None:
    before = dict(pedal.values)
    answer = exchange(json.dumps({"do": "set", "values": {"x": good} | values}).encode())
    assert answer is not None and answer["ok"] is False
    assert pedal.values == before


@pytest.mark.parametrize(
    "line",
    [
        b'{"do":"get","names":[5]}',
        b'{"do":"get","names":[null]}',
        b'{"do":"get","names":"mix"}',
        b'{"do":"set","values":{"x":' + b"9" * 400 + b"}}",  # too large for a float
        b"[" * 60000,
        b'{"a":' * 12000,
        b'{"do":"set","values":{"x":' + b"9" * 5000 + b"}}",
        b'{"do":"set","values":{"x":1e999}}',
        b'{"do":["set"]}',
        b'{"do":"bank"}',
        b'{"do":"bank","path":"/a\\u0000b"}',
        b'{"do":"bank","path":"/\\ud800"}',
        b'{"do":"preset","load":"\\ud800"}',
        b'{"do":"preset","step":[1]}',
        b'{"do":"midi","assign":"mix"}',
    ],
    ids=lambda line: line[:40],
)
def test_server_rejects_malformed_request(pedal: Pedal, line: bytes) -> None:
    answer = exchange(line)
    assert answer is not None and answer["ok"] is False


def test_server_drops_client_with_too_long_line(pedal: Pedal) -> None:
    assert exchange(b"x" * (MAX_LINE + 10)) is None


def test_server_drops_surplus_clients_and_answers_when_some_have_left(pedal: Pedal) -> None:
    idle = []
    for _ in range(3 * MAX_CLIENTS):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(HANG_S)
        with contextlib.suppress(BlockingIOError):  # the queue is full: the kernel drops it
            client.connect(os.fspath(socket_path()))
        idle.append(client)
    for client in idle:
        client.close()
    assert ask({"do": "get"}, timeout_s=HANG_S)["ok"]


def test_client_that_never_reads_does_not_block_others(pedal: Pedal) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(os.fspath(socket_path()))
        deaf.settimeout(0.2)
        try:
            for _ in range(5000):
                deaf.sendall(b'{"do": "status"}\n')
        except OSError:
            pass
        assert ask({"do": "get"}, timeout_s=HANG_S)["ok"]


def test_socket_is_open_to_owner_and_group_only(pedal: Pedal) -> None:
    assert stat.S_IMODE(os.stat(socket_path()).st_mode) == 0o660


@pytest.mark.parametrize(
    ("failure", "text", "is_bug"),
    [
        (ZeroDivisionError("by zero"), "internal error (by zero)", True),
        (ValueError("two\nlines"), "internal error (two lines)", True),
        (UserError("no such room"), "no such room", False),
        (FileNotFoundError(2, "No such file", "/a"), "/a: No such file", False),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("place", ["handler", "hand-over", "answer"])
def test_failed_request_is_answered_and_bug_is_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    text: str,
    is_bug: bool,
    place: str,
) -> None:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path))

    def fail(_: object) -> dict[str, object]:
        raise failure

    def handle(request: object) -> dict[str, object] | HandOver:
        if place == "answer":
            return {"not JSON": fail}
        return HandOver(fail) if place == "hand-over" else fail(request)

    logged = keep_logged_bugs(monkeypatch)
    with serving(handle):
        answer = exchange(b"{}")
        assert answer is not None and answer["ok"] is False
        assert exchange(b"[]") is not None  # the server still answers
    if place == "answer":
        assert "internal error" in answer["error"] and "TypeError" in logged[0]
        return
    assert answer["error"].startswith(text)
    assert bool(logged) is is_bug
    if is_bug:
        assert "Traceback" in logged[0] and type(failure).__name__ in logged[0]
