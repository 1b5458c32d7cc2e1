"""MIDI and bypass on a running pedal: real processes and ports, and jackd on its dummy driver,
which waits for its clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playing import RATE_HZ, ask, roughness, send_midi, set_controls, sine, status, take
from waiting import HANG_S, wait_until

from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor

pytestmark = pytest.mark.live

pytest.importorskip("rtmidi", reason="python-rtmidi has no wheel here")


@pytest.fixture(scope="module")
def pedal() -> Iterator[Supervisor]:
    with private_pedal(control_arguments=("--profile", "sim", "--midi", "jack")) as supervisor:
        wait_for_room(supervisor)
        yield supervisor


def until(pedal: Supervisor, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The status, as soon as `wanted` is true for it."""
    return (
        wait_until(lambda: next(filter(wanted, [status()]), None), tend=pedal.tend, told=status)
        or {}
    )


def test_midi_sets_controls_plays_presets_and_learns(pedal: Supervisor) -> None:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.presets import Presets

    values = ask({"do": "get"})["values"]
    Presets(data_dir()).save("live", values | {"mix": 62.5})
    send_midi("b05b7f", "b05300")  # mix, bypass
    until(pedal, lambda status: status["controls"]["mix"] == 100)
    number = Presets(data_dir()).names().index("live")
    send_midi(f"c0{number:02x}")
    status = until(pedal, lambda status: status["controls"]["mix"] == 62.5)
    assert status["preset"] == "preset live"
    learning = subprocess.Popen(
        [sys.executable, "-m", "firmware_py.cli", "midi", "learn", "tilt"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert learning.stdout is not None
    assert "move the controller" in learning.stdout.readline()
    send_midi("b01540")
    assert learning.communicate(timeout=HANG_S)[0] == "CC 21 belongs to tilt\n"
    send_midi("b0157f")
    until(pedal, lambda status: status["controls"]["tilt"] == 12)
    ask({"do": "midi", "forget": None})


@pytest.mark.parametrize("trails", [1, 0])
def test_bypass_switches_without_click(pedal: Supervisor, trails: int) -> None:
    """Roughness of a 1 kHz sine while bypass goes on, off and on. The limit is that of a 20 ms
    ramp; a step has 0.25."""

    def prepare() -> None:
        set_controls(pedal, gain=0, mix=50, trails=trails, bypass=0, tilt=0)

    def press(bypass: int) -> None:
        ask({"do": "set", "values": {"bypass": bypass}})

    wave = sine(60)
    heard = take(
        pedal,
        wave,
        prepare=prepare,
        during=[lambda: press(1), lambda: press(0), lambda: press(1)],
        every_s=0.5,
    )
    assert roughness(heard[RATE_HZ // 2 :]).max() < 2e-3
    assert ask({"do": "get", "names": ["bypass"]})["values"]["bypass"] == 1
    if not trails:  # the output is the unchanged input
        end = slice(len(heard) - RATE_HZ // 50, len(heard))
        np.testing.assert_allclose(heard[end], wave[end], atol=1e-5)
    ask({"do": "set", "values": {"bypass": 0}})
