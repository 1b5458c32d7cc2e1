"""JACK's places for servers: those of dead ones are freed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from waiting import wait_until

from firmware_py.jack import places
from firmware_py.jack.server import dummy, is_running

pytestmark = pytest.mark.live


def test_server_starts_after_more_dead_ones_than_places() -> None:
    """Other tests may free places meanwhile, so how many are taken is not asserted."""
    killed: list[subprocess.Popen[bytes]] = []
    shared = Path("/dev/shm")
    living = dummy(f"nverb-living-{os.getpid()}")
    try:
        for i in range(places.PLACES):
            name = f"nverb-dead{i}-{os.getpid()}"
            dead = subprocess.Popen(
                ["jackd", "-r", "-n", name, "--port-max", "64", "-d", "dummy"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            wait_until(lambda p=dead, n=name: p.poll() is not None or is_running(n))  # type: ignore[misc]
            dead.kill()
            killed.append(dead)
            if i % 2:
                dead.wait()
            elif (
                dead.returncode is None
            ):  # as in a container whose first process waits for no child
                os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        another = dummy(f"nverb-another-{os.getpid()}")
        assert is_running(another.name) and is_running(living.name)
        registry = places.REGISTRY.read_bytes()
        another.close()
        for name in (living.name, another.name):
            assert f":{name}:".encode() in registry
        assert b"nverb-dead" not in registry
    finally:
        living.close()
        for dead in killed:
            dead.wait()
        for left in shared.glob(f"jack*nverb-dead?-{os.getpid()}_*"):
            left.unlink()


@pytest.mark.parametrize("content", [b"", b"garbage", b"KCAJ" + bytes(100), bytes(70744)])
def test_free_stale_places_leaves_unknown_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(places, "REGISTRY", tmp_path / "registry")
    places.REGISTRY.write_bytes(content)
    assert places.free_stale_places() == 0
    assert places.REGISTRY.read_bytes() == content
