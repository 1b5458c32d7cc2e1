"""Feet and MIDI on a whole pedal that plays: jackd on its dummy driver (which waits for its clients), real processes, real ports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_midi import SENDER

from firmware_py.demo import Player, private_pedal, wait_for_room
from firmware_py.socket import ask
from firmware_py.supervisor import Supervisor

pytestmark = pytest.mark.live

pytest.importorskip("rtmidi", reason="python-rtmidi has no wheel here")
RATE_HZ = 48000


@pytest.fixture(scope="module")
def pedal() -> Iterator[Supervisor]:
    with private_pedal(control_arguments=("--profile", "sim", "--midi", "jack")) as supervisor:
        wait_for_room(supervisor)
        yield supervisor


def midi(*messages: str) -> None:
    subprocess.run([sys.executable, "-c", SENDER, *messages], check=True, timeout=60, stderr=subprocess.DEVNULL)


def until(pedal: Supervisor, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        pedal.tend()
        status: dict[str, Any] = ask({"do": "status"})["status"]
        if wanted(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def test_midi_moves_controls_plays_presets_and_is_learnt(pedal: Supervisor) -> None:
    from firmware_py.paths import data_dir
    from firmware_py.presets import Presets

    values = ask({"do": "get"})["values"]
    Presets(data_dir()).save("live", values | {"mix": 62.5})
    midi("b05b7f", "b05300")  # mix, bypass
    until(pedal, lambda status: status["controls"]["mix"] == 100)
    number = Presets(data_dir()).names().index("live")
    midi(f"c0{number:02x}")
    status = until(pedal, lambda status: status["controls"]["mix"] == 62.5)
    assert status["preset"] == "preset live"
    learning = subprocess.Popen(
        [sys.executable, "-m", "firmware_py.cli", "midi", "learn", "tilt"], stdout=subprocess.PIPE, text=True
    )
    assert learning.stdout is not None
    assert "move the controller" in learning.stdout.readline()
    midi("b01540")
    assert learning.communicate(timeout=30)[0] == "CC 21 belongs to tilt\n"
    midi("b0157f")
    until(pedal, lambda status: status["controls"]["tilt"] == 12)
    ask({"do": "midi", "forget": None})


@pytest.mark.parametrize("trails", [1, 0])
def test_bypass_while_it_plays_does_not_click(pedal: Supervisor, trails: int) -> None:
    """Roughness of a steady 1 kHz sine through in, out and in again; the bar is that of a 20 ms ramp, far below a step's 0.25."""
    ask({"do": "set", "values": {"gain": 0, "mix": 50, "trails": trails, "bypass": 0, "tilt": 0}})
    until(pedal, lambda status: status["audio"] is not None and status["audio"]["alive"])
    time.sleep(0.5)
    wave = 0.25 * np.sin(2 * np.pi * 1000 * np.arange(3 * RATE_HZ) / RATE_HZ)
    player = Player(os.environ["JACK_DEFAULT_SERVER"], np.repeat(wave[:, None], 2, axis=1).astype(np.float32))
    try:
        player.start(2)
        pressed = 0
        deadline = time.monotonic() + 60
        while not player.done and time.monotonic() < deadline:
            if pressed < 3 and player.position > (pressed + 1) * len(wave) // 4:
                pressed += 1
                ask({"do": "set", "values": {"bypass": pressed % 2}})
            time.sleep(0.02)
        assert player.done and pressed == 3
        heard = player.recording[player.block_frames : len(wave), 0].astype(float)
    finally:
        player.close()
    rough = np.abs(heard[2:] - 2 * np.cos(2 * np.pi * 1000 / RATE_HZ) * heard[1:-1] + heard[:-2])
    assert rough[RATE_HZ // 2 :].max() < 2e-3
    assert ask({"do": "get", "names": ["bypass"]})["values"]["bypass"] == 1
    end = heard[-RATE_HZ // 50 :]
    sent = wave[: len(heard)][-RATE_HZ // 50 :]
    if not trails:  # bypassed for good: the input, untouched
        np.testing.assert_allclose(end, sent, atol=1e-5)
    ask({"do": "set", "values": {"bypass": 0}})
