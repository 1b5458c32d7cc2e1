"""Blocks of JACK that are no power of two, and blocks that cannot be played, on real jackds."""

from __future__ import annotations

import os

import jack as jack_client
import numpy as np
import pytest
from playing import ask, set_controls, status, take
from waiting import HANG_S, wait_until

from firmware_py.desk.doctor import ports_check
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.screen import complete, screen

pytestmark = pytest.mark.live


@pytest.mark.parametrize(("block", "added"), [(192, 0), (441, 15), (2048, 0), (4096, 0)])
def test_any_block_plays_and_its_latency_is_reported(block: int, added: int) -> None:
    """The dry path is exact but for 1e-6, late by what the status says."""
    with private_pedal(block_frames=block) as pedal:
        wait_for_room(pedal)
        set_controls(pedal, gain=0, mix=0, limiter=0)
        sound = 0.1 * np.random.default_rng(1).standard_normal((48000, 2)).astype(np.float32)
        heard = take(pedal, sound)
        assert status()["audio"]["added_frames"] == added
        expected = sound[: len(heard) - added]
        np.testing.assert_allclose(heard[added:], expected, rtol=0, atol=1e-6)
        text = screen(complete(ask({"do": "status"})["status"]))
        assert f"{block} frames at 48000 Hz" in text
        assert ("adds 0.31 ms" in text) == bool(added)


def test_block_that_cannot_play_is_reported_once_until_it_changes() -> None:
    """8192 frames: the audio process waits, without restarts, and plays when JACK changes."""
    with private_pedal(block_frames=8192, synchronous=False) as pedal:
        wait_until(lambda: _faults() != [], tend=pedal.tend)
        assert "8192 frames" in _faults()[0] and "nverb settings set" in _faults()[0]
        result = ports_check()
        assert result.state == "bad" and "block_frames=" in result.remedy
        assert pedal.children[0].starts == 1
        server = os.environ["JACK_DEFAULT_SERVER"]
        client = jack_client.Client("resize", servername=server, no_start_server=True)
        client.activate()
        client.blocksize = 256
        wait_until(lambda: _block_frames() == 256, tend=pedal.tend)
        assert wait_for_room(pedal, HANG_S)["audio"]["block_frames"] == 256
        assert _faults() == [] and pedal.children[0].starts == 2
        client.deactivate()
        client.close()


def _faults() -> list[str]:
    """Faults of the ports; none while the control process starts."""
    try:
        return list(status()["ports"]["faults"])
    except Exception:
        return []


def _block_frames() -> int:
    audio = status()["audio"]
    return int(audio["block_frames"]) if audio else 0
