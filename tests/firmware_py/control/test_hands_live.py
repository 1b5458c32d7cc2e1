"""MIDI and bypass on a running pedal: real processes and ports, and jackd on its dummy driver,
which waits for its clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playing import RATE_HZ, ask, roughness, send_midi, set_controls, sine, status, take
from waiting import HANG_S, wait_until

from bank.build import build
from firmware_py.base.paths import data_dir
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.state.presets import Presets
from models.generator import room_at

pytestmark = pytest.mark.live


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


def test_preset_without_its_bank_is_not_in_the_way(pedal: Supervisor, tmp_path: Path) -> None:
    """`nverb preset next` on the command line, with a stick that is pulled out and put back."""
    presets = Presets(data_dir())
    build(tmp_path / "church.nvbank", room_at, steps=2, name="church")
    banks = {"one": "", "two": f"{tmp_path}/church.nvbank", "three": ""}
    for name, bank in banks.items():
        presets.save(name, ask({"do": "get"})["values"], bank)

    def nverb(*words: str) -> str:
        command = [sys.executable, "-m", "firmware_py.cli", "preset", *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=HANG_S
        ).stdout

    ask({"do": "preset", "load": "one"})
    assert [nverb("next") for _ in range(3)] == ["two plays\n", "three plays\n", "one plays\n"]
    (tmp_path / "church.nvbank").rename(tmp_path / "gone")
    assert [nverb("next") for _ in range(2)] == ["three plays\n", "one plays\n"]
    assert nverb("previous") == "three plays\n"
    two = next(line for line in nverb("list").splitlines() if " two" in line)
    assert "cannot play" in two and "church.nvbank" in two
    (tmp_path / "gone").rename(tmp_path / "church.nvbank")
    assert nverb("previous") == "two plays\n"
    for name in banks:
        presets.remove(name)


def test_midi_sets_controls_plays_presets_and_learns(pedal: Supervisor) -> None:
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
