"""A killed `nverb measure` on a real jackd: the pedal is connected again."""

from __future__ import annotations

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
from firmware_py.desk.player import play_blocks
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.measure.loop import ends_within

pytestmark = pytest.mark.live
COMMAND = [sys.executable, "-P", "-m", "firmware_py.cli", "measure"]
ECHO_FRAMES = 480
CONNECTED = (["nverb:output_1"], ["nverb:input_1"])
"""The ports of the pedal at the input and the output of the room."""
PORTS = ["--outputs", "room:in", "--inputs", "room:out"]


class Rig(NamedTuple):
    pedal: Supervisor
    room: jack.Client


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A pedal between the output and the input of a client `room`: half of what it hears, and the
    same again ECHO_FRAMES later."""
    arguments = ("--inputs", "room:out", "--outputs", "room:in")
    with private_pedal(audio_arguments=arguments, connect=True, block_frames=256) as pedal:
        client = open_client("room")
        source, target = client.inports.register("in"), client.outports.register("out")

        heard = np.zeros(ECHO_FRAMES, np.float32)

        def play(frames: int) -> None:
            nonlocal heard
            heard = np.concatenate([heard[-ECHO_FRAMES:], source.get_array()])
            target.get_array()[:] = 0.5 * (heard[ECHO_FRAMES:] + heard[:frames])

        play_blocks(client, play)
        client.activate()
        try:
            wait_for_room(pedal, HANG_S)
            wait_until(
                lambda: connections(client) == CONNECTED,
                tend=pedal.tend,
                told=lambda: f"{connections(client)}",
            )
            yield Rig(pedal, client)
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


@pytest.fixture
def freewheeling(rig: Rig) -> Iterator[None]:
    """JACK waits for its clients: a busy machine loses no block."""
    rig.room.set_freewheel(True)
    yield
    rig.room.set_freewheel(False)


@pytest.mark.usefixtures("freewheeling")
def test_measured_room_is_in_the_file_and_the_pedal_plays_again(rig: Rig) -> None:
    """Both arrivals at their places; a pulse lacks 5 % without what is above the sweep."""
    pedal, room = rig
    before, path = connections(room), data_dir() / "measured.wav"
    words = ["--level", "-20", "--length", "1.5", "--file-only", "-o", str(path)]
    subprocess.run([*COMMAND, *PORTS, *words], check=True, stdout=subprocess.DEVNULL)
    ir, _ = soundfile.read(path)
    first = int(np.argmax(np.abs(ir[:300])))
    assert np.abs(ir[[first, first + ECHO_FRAMES]] - 0.475).max() < 0.02
    wait_until(lambda: connections(room) == before, tend=pedal.tend)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_measurement_gives_the_pedal_back(rig: Rig, number: int) -> None:
    pedal, room = rig
    words = ["--level", "-20", "--length", "30", "--file-only", "-o", str(data_dir() / "x.wav")]
    process = subprocess.Popen(
        [*COMMAND, *PORTS, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def is_aside() -> bool:
        assert process.poll() is None, "it ended before it was killed"
        found = connections(room)
        return all(found) and not any(name.startswith("nverb:") for name in found[0] + found[1])

    wait_until(is_aside, tend=pedal.tend)
    process.send_signal(number)
    process.wait(HANG_S)
    wait_until(lambda: connections(room) == CONNECTED, tend=pedal.tend)


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
