"""`nverb measure` on a real jackd, by itself and from the pedal: the pedal plays again after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import jack
import numpy as np
import pytest
import soundfile
from playing import open_client
from waiting import HANG_S, wait_until

from firmware_py.base.paths import data_dir
from firmware_py.desk.panel import press
from firmware_py.desk.player import play_blocks
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link.client import ask
from firmware_py.link.status import PedalStatus
from firmware_py.measure.loop import ends_within

pytestmark = pytest.mark.live
COMMAND = [sys.executable, "-P", "-m", "firmware_py.cli", "measure"]
ECHO_FRAMES = 480
CONNECTED = (["nverb:output_1"], ["nverb:input_1"])
"""The ports of the pedal at the input and the output of the room."""
PORTS = ["--outputs", "room:in", "--inputs", "room:out"]


class Sound:
    """What the room hears of the pedal, and a noise that the room adds to what the pedal hears."""

    def __init__(self) -> None:
        self.noise = 0.0
        self.heard = 0.0  # the largest sample since it was set to 0


class Rig(NamedTuple):
    pedal: Supervisor
    room: jack.Client
    sound: Sound


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A pedal between the output and the input of a client `room`: half of what it hears, and the
    same again ECHO_FRAMES later."""
    arguments = ("--inputs", "room:out", "--outputs", "room:in")
    with private_pedal(audio_arguments=arguments, connect=True, block_frames=256) as pedal:
        client = open_client("room")
        source, target = client.inports.register("in"), client.outports.register("out")

        heard, sound = np.zeros(ECHO_FRAMES, np.float32), Sound()
        random = np.random.default_rng(1)

        def play(frames: int) -> None:
            nonlocal heard
            heard = np.concatenate([heard[-ECHO_FRAMES:], source.get_array()])
            out = 0.5 * (heard[ECHO_FRAMES:] + heard[:frames])
            if sound.noise:
                out = sound.noise * random.standard_normal(frames).astype(np.float32)
            target.get_array()[:] = out
            sound.heard = max(sound.heard, float(np.abs(heard[ECHO_FRAMES:]).max()))

        play_blocks(client, play)
        client.activate()
        try:
            wait_for_room(pedal, HANG_S)
            wait_until(
                lambda: connections(client) == CONNECTED,
                tend=pedal.tend,
                told=lambda: f"{connections(client)}",
            )
            yield Rig(pedal, client, sound)
        finally:
            client.deactivate()
            client.close()


def connections(client: jack.Client) -> tuple[list[str], list[str]]:
    """What is connected to the room, input and output; nothing while a port is just going."""
    try:
        found = [client.get_all_connections(name) for name in ("room:in", "room:out")]
    except jack.JackError:
        return [], []
    first, second = (sorted(port.name for port in ports) for ports in found)
    return first, second


def is_aside(client: jack.Client) -> bool:
    """Whether something else than the pedal is connected to the room."""
    found = connections(client)
    return all(found) and not any(name.startswith("nverb:") for name in found[0] + found[1])


@pytest.fixture
def freewheeling(rig: Rig) -> Iterator[None]:
    """JACK waits for its clients: a busy machine loses no block."""
    rig.room.set_freewheel(True)
    yield
    rig.room.set_freewheel(False)


@pytest.mark.usefixtures("freewheeling")
def test_measured_room_is_in_the_file_and_the_pedal_plays_again(rig: Rig) -> None:
    """Both arrivals at their places; a pulse lacks 5 % without what is above the sweep."""
    pedal, room, _ = rig
    before, path = (connections(room), plays()), data_dir() / "measured.wav"
    words = ["--level", "-20", "--length", "1.5", "--file-only", "-o", str(path)]
    subprocess.run([*COMMAND, *PORTS, *words], check=True, stdout=subprocess.DEVNULL)
    ir, _ = soundfile.read(path)
    first = int(np.argmax(np.abs(ir[:300])))
    assert np.abs(ir[[first, first + ECHO_FRAMES]] - 0.475).max() < 0.02
    wait_until(lambda: connections(room) == before[0], tend=pedal.tend)
    assert plays() == before[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_measurement_gives_the_pedal_back(rig: Rig, number: int) -> None:
    pedal, room, _ = rig
    words = ["--level", "-20", "--length", "30", "--file-only", "-o", str(data_dir() / "x.wav")]
    process = subprocess.Popen(
        [*COMMAND, *PORTS, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def is_measured() -> bool:
        assert process.poll() is None, "it ended before it was killed"
        return is_aside(room)

    wait_until(is_measured, tend=pedal.tend)
    process.send_signal(number)
    process.wait(HANG_S)
    wait_until(lambda: connections(room) == CONNECTED, tend=pedal.tend)


def status() -> PedalStatus:
    found: PedalStatus = ask({"do": "status"})["status"]
    return found


def key(name: str) -> dict[str, object]:
    """The request of a key of the panel."""
    now = status()
    running = now["measuring"]["state"] == "running"
    request = press(name, "x", now["controls"], is_measuring=running)[1]
    assert request is not None
    return request


def plays() -> tuple[object, ...]:
    """What must be after a measurement as before."""
    now = status()
    return now["plays"], now["room"]["path"], now["controls"], connected(now)


def connected(now: PedalStatus) -> object:
    return now["ports"]["inputs"], now["ports"]["outputs"]


@pytest.mark.usefixtures("freewheeling")
def test_panel_measures_keeps_and_plays(rig: Rig) -> None:
    """By the key of the panel: the first output and input of the pedal, at a known level."""
    pedal, room, _ = rig
    ask(key("m") | {"level": "-20", "length": "1.5", "preset": "Echo"})
    told: list[str] = []

    def ended() -> bool:
        now = status()["measuring"]
        told.append(now["text"])
        return now["state"] not in ("none", "running")

    wait_until(ended, tend=pedal.tend, told=lambda: f"{told[-3:]}")
    now = status()
    assert now["measuring"]["state"] == "done", now["measuring"]
    assert "sweep 1.5 s at -20 dBFS" in now["measuring"]["text"]
    assert now["plays"] == {"name": "Echo", "changed": False}
    assert now["room"]["path"].startswith("measured@")
    wait_until(lambda: connections(room) == CONNECTED, tend=pedal.tend)


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_after_a_broken_measurement_the_same_bank_and_preset_play_with_sound(
    rig: Rig, end: str
) -> None:
    """Noise at the input of the pedal comes out of it."""
    pedal, room, sound = rig
    ask({"do": "preset", "load": "Hall"})
    before = plays()
    ask(key("m") | {"level": "-20", "length": "30"})
    wait_until(lambda: is_aside(room), tend=pedal.tend, told=lambda: f"{status()['measuring']}")
    if end == "killed":
        os.kill(status()["measuring"]["pid"], signal.SIGKILL)
    else:
        ask(key("m"))
    wait_until(lambda: status()["measuring"]["state"] == "failed", tend=pedal.tend)
    assert end in status()["measuring"]["text"]
    wait_until(lambda: connections(room) == CONNECTED, tend=pedal.tend)
    sound.noise, sound.heard = 0.01, 0.0
    try:
        wait_until(lambda: sound.heard > 0.005, tend=pedal.tend)
    finally:
        sound.noise = 0.0
    assert plays() == before


def test_call_that_hangs_is_left_behind() -> None:
    assert ends_within(lambda: None, HANG_S)
    never = threading.Event()
    try:
        assert not ends_within(never.wait, 0.01)
    finally:
        never.set()


def test_exit_handler_that_hangs_does_not_hold_the_command() -> None:
    """As libjack's may: here one of libc that waits for ever."""
    code = (
        "import atexit, ctypes; from firmware_py.measure.loop import limit_exit\n"
        "libc = ctypes.CDLL(None); libc.__cxa_atexit(libc.pause, None, None)\n"
        "atexit.register(limit_exit)"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code], check=False, timeout=HANG_S)
    assert ended.returncode == -signal.SIGALRM
