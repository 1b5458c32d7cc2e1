"""The control socket under malformed and hostile requests: each is answered or its client dropped,
nothing changes, and the pedal keeps answering."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import HANG_S, wait_until

from device.controls import CONTROLS, defaults
from dsp.errors import UserError
from firmware_py.control import server
from firmware_py.control.budget import LOOK_S
from firmware_py.control.pedal import Pedal
from firmware_py.control.requests import Requests
from firmware_py.control.server import MAX_CLIENTS, Handler, HandOver, Server
from firmware_py.link import client as link_client
from firmware_py.link.client import MAX_LINE, ask, connect, socket_path
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


@pytest.fixture
def still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StillServer]:
    """A server that a test calls itself, with a handler that takes longer than the budget."""
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path))
    still = StillServer()
    yield still
    still.close()


class StillServer:
    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.server = Server(self._do, lambda request: request["do"] == "reload")
        self.clients: list[socket.socket] = []

    def _do(self, request: Any) -> dict[str, object]:
        self.done.append(request)
        time.sleep(2 * LOOK_S)
        return {"number": len(self.done)}

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(os.fspath(socket_path()))
        client.setblocking(False)
        self.clients.append(client)
        return client

    def serve(self) -> None:
        self.server.serve(0.01)

    def answers(self, client: socket.socket, count: int) -> list[dict[str, Any]]:
        data = b""

        def come() -> bool:
            nonlocal data
            with contextlib.suppress(BlockingIOError):
                data += client.recv(1 << 16)
            return data.count(b"\n") >= count

        wait_until(come, tend=self.serve, told=lambda: data)
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()


def test_slow_requests_are_done_one_a_turn(still: StillServer) -> None:
    """The knobs are read between two of them, whatever arrives."""
    clients = [still.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        for i in range(5):
            client.sendall(b'{"do": "step", "by": %d}\n' % (10 * number + i))
    turns = 0
    while len(still.done) < 20:
        before = len(still.done)
        still.serve()
        assert len(still.done) <= before + 1
        turns += 1
        assert turns < 10_000
    assert turns >= 20
    by_client = [[r["by"] for r in still.done if r["by"] // 10 == n] for n in range(4)]
    assert by_client == [[10 * n + i for i in range(5)] for n in range(4)]  # each in order
    assert {r["by"] // 10 for r in still.done[:4]} == {0, 1, 2, 3}  # in turn


def test_equal_reloads_that_wait_are_done_once(still: StillServer) -> None:
    clients = [still.connect() for _ in range(4)]
    for client in clients:
        client.sendall(b'{"do": "reload"}\n' * 200)
    for client in clients:
        assert all(answer["ok"] for answer in still.answers(client, 200))
    assert len(still.done) <= 8  # twice a client: a read takes 4 KiB


def test_reloads_with_another_request_between_are_done_in_order(still: StillServer) -> None:
    client = still.connect()
    client.sendall(b'{"do": "reload"}\n{"do": "bank"}\n{"do": "reload"}\n{"do": "reload"}\n')
    still.answers(client, 4)
    assert [request["do"] for request in still.done] == ["reload", "bank", "reload"]


def test_client_silent_for_longest_gives_way(still: StillServer) -> None:
    idle = [still.connect() for _ in range(MAX_CLIENTS)]
    wait_until(lambda: len(still.server.users) == MAX_CLIENTS, tend=still.serve)
    for client in idle[:3] + idle[4:]:
        client.sendall(b"{}\n"[:2])  # an incomplete request is no activity
    idle[0].sendall(b"\n")
    still.answers(idle[0], 1)
    newcomer = still.connect()
    newcomer.sendall(b'{"do": "get"}\n')
    assert still.answers(newcomer, 1)[0]["ok"]
    assert idle[1].recv(10) == b""  # dropped: the first of the silent ones
    for client in (idle[0], idle[2], idle[-1]):
        with pytest.raises(BlockingIOError):
            client.recv(10)


def test_flood_of_one_user_displaces_no_other_user(
    still: StillServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = 1001
    monkeypatch.setattr(server, "peer_uid", lambda _: uid)
    quiet = still.connect()
    wait_until(lambda: still.server.users == [1001], tend=still.serve)
    uid = 1002
    for _ in range(3 * MAX_CLIENTS):
        with contextlib.suppress(BlockingIOError):
            still.connect()
        still.serve()
    assert sorted(still.server.users) == [1001] + [1002] * (MAX_CLIENTS - 1)
    uid = 0
    root = still.connect()
    root.sendall(b'{"do": "get"}\n')
    assert still.answers(root, 1)[0]["ok"]
    quiet.sendall(b'{"do": "get"}\n')
    assert still.answers(quiet, 1)[0]["ok"]


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


def test_command_waits_while_all_installations_are_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path))
    tries = 0

    def handle(_: object) -> dict[str, object]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise server.Busy("4 installations are running")
        return {}

    with serving(handle):
        connection = connect({"do": "store"}, timeout_s=HANG_S)
        assert connection is not None
        connection.close()
        assert tries == 3
        tries = 0
        monkeypatch.setattr(link_client, "BUSY_S", 0.0)
        with pytest.raises(UserError, match="are running"):
            connect({"do": "store"}, timeout_s=HANG_S)
