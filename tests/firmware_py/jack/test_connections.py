"""Connections to the pedal's ports that a player has made come back with the audio process."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from waiting import HANG_S, wait_until

from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.jack.connections import DOUBT_LOOKS, RESTORE_S, Pair, Remembered
from firmware_py.jack.server import connect

PORTS = {"nverb:in", "nverb:out"}
OWN: Pair = ("guitar:out", "nverb:in")
OTHER: Pair = ("nverb:out", "mixer:in")


class FakePortGraph:
    def __init__(self) -> None:
        self.there, self.made, self.refused = set(PORTS), {OWN, OTHER}, set[Pair]()
        self.lives = 1

    def life(self) -> str | None:
        return str(self.lives) if self.there else None

    def ports(self) -> set[str]:
        return set(self.there)

    def pairs(self) -> set[Pair]:
        return {pair for pair in self.made if set(pair) & self.there}

    def connect(self, pair: Pair) -> bool:
        if pair not in self.refused:
            self.made.add(pair)
        return pair in self.made

    def restart(self, memory: Remembered, looks: int = 3) -> None:
        self.there.clear()
        self.made.clear()
        for _ in range(looks):
            memory.look(0.0)
        self.lives += 1
        self.there |= PORTS


@pytest.fixture
def patchbay() -> FakePortGraph:
    return FakePortGraph()


@pytest.fixture
def memory(patchbay: FakePortGraph) -> Remembered:
    memory = Remembered(patchbay)
    memory.look(0.0)
    return memory


def test_connections_come_back_with_the_ports(patchbay: FakePortGraph, memory: Remembered) -> None:
    for looks in (3, 1, 0, 0):  # 0: the next client is there before anybody has looked
        patchbay.restart(memory, looks)
        memory.look(0.0)
        assert patchbay.made == {OWN, OTHER}
    memory.look(0.0)


def test_connections_that_end_before_their_client_come_back(
    patchbay: FakePortGraph, memory: Remembered
) -> None:
    patchbay.made.clear()
    for _ in range(DOUBT_LOOKS):
        memory.look(0.0)
    patchbay.restart(memory)
    memory.look(0.0)
    assert patchbay.made == {OWN, OTHER}


def test_look_between_two_clients_forgets_nothing(
    patchbay: FakePortGraph, memory: Remembered, monkeypatch: pytest.MonkeyPatch
) -> None:
    patchbay.made.clear()
    with monkeypatch.context() as patch:
        patch.setattr(patchbay, "life", iter(["1", "2"]).__next__)
        memory.look(0.0)
    patchbay.lives = 2
    memory.look(0.0)
    assert patchbay.made == {OWN, OTHER}


def test_connection_that_a_player_removed_stays_removed(
    patchbay: FakePortGraph, memory: Remembered
) -> None:
    patchbay.made.remove(OTHER)
    for _ in range(DOUBT_LOOKS + 1):
        memory.look(0.0)
    patchbay.restart(memory)
    memory.look(0.0)
    assert patchbay.made == {OWN}
    patchbay.made.clear()
    memory.look(0.0)
    memory.look(0.0)
    assert not patchbay.made


def test_port_that_comes_late_is_connected_within_the_time(
    patchbay: FakePortGraph, memory: Remembered
) -> None:
    patchbay.refused = {OTHER, OWN}
    patchbay.restart(memory)
    memory.look(1000.0)
    patchbay.refused = {OWN}
    memory.look(1000.0 + RESTORE_S - 1)
    memory.look(1000.0 + RESTORE_S + 1)
    patchbay.refused = set()
    memory.look(1000.0 + RESTORE_S + 2)
    assert patchbay.made == {OTHER}


LOOKER = """
import sys, time
from firmware_py.jack.connections import Jack, Remembered
memory = Remembered(Jack("nverb"))
for line in sys.stdin:
    memory.look(time.monotonic())
    print("looked", flush=True)
import os
os._exit(0)
"""
"""A process of its own: libjack may end it. It looks when the test says so."""


LSP_S = 20.0


@pytest.mark.live
def test_patched_port_is_patched_again_after_a_restart_of_audio() -> None:
    with private_pedal() as pedal:
        wait_for_room(pedal, HANG_S)
        assert pedal.jack is not None
        server = pedal.jack.name
        looker = subprocess.Popen(
            [sys.executable, "-c", LOOKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert looker.stdin is not None and looker.stdout is not None

        def look() -> None:
            looker.stdin.write(b"\n")
            looker.stdin.flush()
            assert looker.stdout.readline() == b"looked\n"

        try:
            names = jack_lsp(server).split()
            source = next(name for name in names if name.startswith("system:capture"))
            target = next(name for name in names if name.startswith("nverb:in"))
            assert connect(source, target, server)
            for _ in range(2):
                wait_for_room(pedal, HANG_S)
                look()
                audio = pedal.children[0].process
                assert audio is not None
                audio.kill()
                audio.wait()
                wait_until(lambda: target not in jack_lsp(server).split())
                look()  # before the next audio process starts

                def restart() -> None:
                    pedal.tend()
                    look()

                wait_until(lambda: target in connected(source, server), tend=restart)
        finally:
            looker.stdin.close()
            looker.wait(HANG_S)
            looker.stdout.close()


def jack_lsp(server: str | None, *words: str) -> str:
    """Its output. It may hang while a client of the server goes: asked again."""
    command = ["jack_lsp", *(["-s", server] if server else []), *words]

    def output() -> tuple[str] | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LSP_S, check=False
            )
            return (done.stdout,)
        return None

    return wait_until(output)[0]


def connected(port: str, server: str | None) -> list[str]:
    """The ports that jack_lsp shows as connected to this one."""
    lines = jack_lsp(server, "-c", port).splitlines()
    return [line.strip() for line in lines if line.startswith(" ")]
