"""Port.watch: pings the watchdog while blocks arrive at their rate, and returns when anything
happens."""

from __future__ import annotations

import ctypes
import mmap
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import wait_until

from dsp import _engine

RATE_HZ, BLOCK = 48000, 128
BLOCKS_OFFSET = 1024
"""Offset of meters.blocks, see port.h."""
ENDLESS_S = 60.0


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, _engine.port_bytes(_engine.plan(BLOCK, 4800, 2)))


@pytest.fixture
def port(memory: mmap.mmap) -> _engine.Port:
    return _engine.Port(memory, layout=_engine.plan(BLOCK, 4800, 2), rate_hz=RATE_HZ)


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        yield heard


@contextmanager
def blocks_arrive(memory: mmap.mmap, pace: float = 1.0) -> Iterator[None]:
    """Counts blocks in a Python thread, so blocks arrive only while the GIL is free."""
    done = threading.Event()

    def play() -> None:
        start = time.monotonic()
        while not done.wait(0.005):
            struct.pack_into(
                "<Q",
                memory,
                BLOCKS_OFFSET,
                int(pace * (time.monotonic() - start) * RATE_HZ / BLOCK) + 1000,
            )

    struct.pack_into("<Q", memory, BLOCKS_OFFSET, 1000)
    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def messages(heard: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(heard.recv(100))
        except BlockingIOError:
            return found


def test_watch_pings_while_blocks_arrive(
    memory: mmap.mmap, port: _engine.Port, notify: socket.socket
) -> None:
    def heard() -> list[bytes]:
        assert port.watch([signal.SIGUSR1], 0.5, notify.getsockname(), 0.05) == 0
        return messages(notify)

    with blocks_arrive(memory):
        assert set(wait_until(heard)) == {b"WATCHDOG=1"}  # on a busy machine blocks may be late


def test_watch_pings_abstract_address(memory: mmap.mmap, port: _engine.Port) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("")  # Linux selects an address
        heard.setblocking(False)

        def found() -> list[bytes]:
            assert (
                port.watch([signal.SIGUSR1], 0.5, "@" + heard.getsockname()[1:].decode(), 0.05) == 0
            )
            return messages(heard)

        with blocks_arrive(memory):
            assert set(wait_until(found)) == {b"WATCHDOG=1"}


@pytest.mark.parametrize(
    "pace", [0.0, 0.5, 2.0], ids=["stopped", "JACK's block doubled", "JACK's block halved"]
)
def test_watch_returns_on_another_block_rate(
    memory: mmap.mmap, port: _engine.Port, pace: float
) -> None:
    with blocks_arrive(memory, pace):
        assert port.watch([signal.SIGUSR1], ENDLESS_S) == 0


def test_watch_does_not_ping_without_blocks(port: _engine.Port, notify: socket.socket) -> None:
    assert port.watch([signal.SIGUSR1], ENDLESS_S, notify.getsockname(), 0.05) == 0
    assert not messages(notify)


def test_watch_returns_signal(memory: mmap.mmap, port: _engine.Port) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        with blocks_arrive(memory):
            assert port.watch([signal.SIGUSR1, signal.SIGUSR2], ENDLESS_S) == signal.SIGUSR1
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_watch_ignores_missing_notify_socket(
    memory: mmap.mmap, port: _engine.Port, tmp_path: Path
) -> None:
    with blocks_arrive(memory):
        assert port.watch([signal.SIGUSR1], 0.3, str(tmp_path / "nobody"), 0.05) == 0
        assert port.watch([signal.SIGUSR1], 0.3, "x" * 200, 0.05) == 0


def test_watch_rejects_invalid_signals_and_times(port: _engine.Port) -> None:
    for signals, seconds in (
        ([0], 1.0),
        ([1000], 1.0),
        ([signal.SIGUSR1], float("nan")),
        ([signal.SIGUSR1], -1.0),
    ):
        with pytest.raises(ValueError, match=r"signal|seconds"):
            port.watch(signals, seconds)


def test_xruns_are_counted() -> None:
    """As libjack calls it, from a thread that knows nothing of Python."""
    count = ctypes.c_int(5)
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_engine.COUNT)
    assert callback(ctypes.addressof(count)) == 0
    assert count.value == 6
