"""The control socket under fire: whatever comes in, it answers or drops the client, changes nothing, and goes on."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import HANG_S

from device.controls import CONTROLS, defaults
from firmware_py.control.pedal import Pedal
from firmware_py.control.requests import Requests
from firmware_py.control.server import MAX_CLIENTS, Server
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
"""Of the requests' own words, so that what they hold is looked at; none of them makes a file or starts anything."""
BROKEN_SETS = st.dictionaries(
    WORDS, VALUES.filter(lambda v: isinstance(v, list | dict | type(None))), min_size=1, max_size=4
)


class Answering:
    """A control state behind a real socket, served in a thread."""

    def __init__(self, folder: Path) -> None:
        self.pedal = Pedal(defaults(), find_source(), "")
        self.server = Server(Requests(self.pedal).answer)
        self._stop = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop:
            self.server.serve(0.02)
        self.server.close()

    def close(self) -> None:
        self._stop = True
        self._thread.join()


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        answering = Answering(tmp_path_factory.mktemp("data"))
        yield answering
        answering.close()


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
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(line=st.binary(max_size=300).map(lambda data: data.replace(b"\n", b"")))
def test_bytes(answering: Answering, line: bytes) -> None:
    answer = exchange(line)
    assert answer is not None and answer["ok"] is False and answer["error"]


@FUZZ
@given(request=REQUESTS)
def test_requests_of_its_own_words(answering: Answering, request: dict[str, Any]) -> None:
    before = dict(answering.pedal.values)
    answer = exchange(json.dumps(request).encode())
    assert answer is not None and isinstance(answer["ok"], bool)
    if not answer["ok"]:
        assert answer["error"] and "\n" not in answer["error"]
        assert answering.pedal.values == before
    for control in CONTROLS:
        assert control.minimum <= answering.pedal.values[control.name] <= control.maximum


@FUZZ
@given(values=BROKEN_SETS, good=st.floats(0, 9))
def test_a_set_with_one_bad_value_sets_nothing(
    answering: Answering, values: dict[str, Any], good: float
) -> None:
    before = dict(answering.pedal.values)
    answer = exchange(json.dumps({"do": "set", "values": {"x": good} | values}).encode())
    assert answer is not None and answer["ok"] is False
    assert answering.pedal.values == before


def test_deep_nesting_great_numbers_and_names_that_are_none(answering: Answering) -> None:
    for line in (
        b'{"do":"get","names":[5]}',
        b'{"do":"get","names":[null]}',
        b'{"do":"get","names":"mix"}',
        b'{"do":"set","values":{"x":' + b"9" * 400 + b"}}",  # an integer, beyond what a float holds
        b"[" * 60000,
        b'{"a":' * 12000,
        b'{"do":"set","values":{"x":' + b"9" * 5000 + b"}}",
        b'{"do":"set","values":{"x":1e999}}',
    ):
        answer = exchange(line)
        assert answer is not None and answer["ok"] is False
    assert exchange(b"x" * (MAX_LINE + 10)) is None


def test_more_clients_than_it_takes(answering: Answering) -> None:
    """The surplus is dropped; the pedal still answers once some have left."""
    idle = []
    for _ in range(3 * MAX_CLIENTS):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(HANG_S)
        with contextlib.suppress(BlockingIOError):  # the queue is full: dropped by the kernel
            client.connect(os.fspath(socket_path()))
        idle.append(client)
    for client in idle:
        client.close()
    assert ask({"do": "get"}, timeout_s=HANG_S)["ok"]


def test_a_client_that_reads_nothing_holds_nobody_up(answering: Answering) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(os.fspath(socket_path()))
        deaf.settimeout(0.2)
        try:
            for _ in range(5000):
                deaf.sendall(b'{"do": "status"}\n')
        except OSError:
            pass
        assert ask({"do": "get"}, timeout_s=HANG_S)["ok"]


def test_nobody_else_may_come_in(answering: Answering) -> None:
    """Owner and group, by the socket's mode and the folder's."""
    assert stat.S_IMODE(os.stat(socket_path()).st_mode) == 0o660
