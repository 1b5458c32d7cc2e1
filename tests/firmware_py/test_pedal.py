"""The whole pedal, live: jackd on its dummy driver, real processes, real socket, a JACK client that plays and listens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import fftconvolve

from device.controls import find, to_position
from dsp.errors import UserError
from firmware_py import jack
from firmware_py.demo import Player, private_pedal, wait_for_room
from firmware_py.rooms import RoomMaker, find_source
from firmware_py.socket import ask
from firmware_py.supervisor import Supervisor

pytestmark = pytest.mark.live

RATE_HZ = 48000


@pytest.fixture(scope="module")
def pedal() -> Iterator[Supervisor]:
    with private_pedal(block_frames=128, rate_hz=RATE_HZ) as supervisor:
        wait_for_room(supervisor)
        yield supervisor


def status() -> dict[str, Any]:
    return ask({"do": "status"})["status"]


def set_controls(pedal: Supervisor, **values: float) -> None:
    """Sets and waits until all of it sounds."""
    ask({"do": "set", "values": values})
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pedal.tend()
        time.sleep(0.1)
        if not status()["audio"]["fading"]:
            break
    time.sleep(0.3)


def play(
    pedal: Supervisor, sound: np.ndarray, *, during: Callable[[], None] | None = None, tend: bool = True
) -> np.ndarray:
    """Plays `sound` (frames, 2) through the pedal; what came back, aligned (the loop through two JACK clients takes a block)."""
    player = Player(os.environ["JACK_DEFAULT_SERVER"], np.asarray(sound, np.float32))
    try:
        player.start(2)
        deadline = time.monotonic() + 60
        while not player.done and time.monotonic() < deadline:
            if during is not None and player.position > len(sound) // 3:
                during()
                during = None
            if tend:
                pedal.tend()
            time.sleep(0.02)
        assert player.done, "JACK took no more blocks"
        return player.recording[player.block_frames : len(sound)]
    finally:
        player.close()


def sine(seconds: float) -> np.ndarray:
    wave = 0.25 * np.sin(2 * np.pi * 1000 * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    return np.repeat(wave[:, None], 2, axis=1)


def roughness(signal_: np.ndarray) -> np.ndarray:
    x = signal_[:, 0].astype(float)
    return np.abs(x[2:] - 2 * np.cos(2 * np.pi * 1000 / RATE_HZ) * x[1:-1] + x[:-2])


def test_live_output_is_the_convolution_without_offset(pedal: Supervisor) -> None:
    set_controls(pedal, gain=0, mix=100, limiter=0, x=3, y=5, z=4, width=1)
    sound = 0.1 * np.random.default_rng(1).standard_normal((2 * RATE_HZ, 2)).astype(np.float32)
    got = play(pedal, sound)
    ir = RoomMaker(find_source(), RATE_HZ, 10 * RATE_HZ).ir(ask({"do": "get"})["values"]).astype(float)
    expected = np.stack([fftconvolve(sound[:, c].astype(float), ir[c])[: len(got)] for c in range(2)], axis=1)
    assert 20 * np.log10(np.abs(got - expected).max() / np.abs(expected).max()) < -100


def test_turning_every_room_knob_while_it_plays_does_not_click(pedal: Supervisor) -> None:
    """Roughness of a steady 1 kHz sine through changing rooms, against the bar of a 50 ms crossfade between any two levels."""
    set_controls(pedal, gain=0, mix=50, fade=50, x=2, y=2, z=2, width=1)

    def turn() -> None:
        for x in range(9):
            ask({"do": "set", "values": {"x": x, "y": 9 - x, "width": x / 3}})
            time.sleep(0.1)

    got = play(pedal, sine(3), during=turn)
    assert roughness(got[RATE_HZ // 2 :]).max() < 5e-3


def test_killing_the_control_process_leaves_the_sound_and_its_successor_takes_over(pedal: Supervisor) -> None:
    set_controls(pedal, gain=0, mix=30, x=6, y=3, z=5, width=2)
    before = ask({"do": "get"})["values"]
    control = pedal.children[1]
    assert control.process is not None
    old_pid = control.process.pid
    time.sleep(1)  # the session is kept twice a second

    def kill() -> None:
        os.kill(old_pid, signal.SIGKILL)

    got = play(pedal, sine(2), during=kill, tend=False)
    assert roughness(got[RATE_HZ // 2 :]).max() < 1e-3  # it played on, without its control process

    def start_again() -> None:
        wait_for_room(pedal)

    got = play(pedal, sine(3), during=start_again)
    assert roughness(got[RATE_HZ // 2 :]).max() < 1e-3  # the successor took over without a click
    assert status()["control"]["pid"] != old_pid
    for name, value in ask({"do": "get"})[
        "values"
    ].items():  # a knob that stands where its control is may fine-tune it: 1 % of travel
        assert abs(to_position(find(name), value) - to_position(find(name), before[name])) < 0.01, name


def test_a_killed_audio_process_is_back_with_the_same_room(pedal: Supervisor) -> None:
    set_controls(pedal, gain=0, mix=100, limiter=0, x=3, y=4, z=1, width=1, bypass=0)
    sound = sine(0.5)
    time.sleep(4)  # what rang before has died away
    before = play(pedal, sound)
    old_pid = status()["audio"]["pid"]
    os.kill(old_pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while wait_for_room(pedal, 15)["audio"]["pid"] == old_pid:
        assert time.monotonic() < deadline, "the audio process was not started again"
    time.sleep(0.5)
    after = play(pedal, sound)
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def nverb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_commands_steer_the_running_pedal(pedal: Supervisor) -> None:
    done = nverb("set", "mix=40%", "lowpass=on", "lowpass_hz=2kHz")
    assert done.returncode == 0, done.stderr
    assert json.loads(nverb("get", "--json").stdout)["lowpass_hz"] == 2000
    assert "lowpass = on" in nverb("get", "lowpass").stdout
    screen = nverb("status").stdout
    assert "playing" in screen and "mix" in screen
    assert json.loads(nverb("status", "--json").stdout)["audio"]["block_frames"] == 128
    nverb("set", "lowpass=off")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "mux=40"), "mix"),
        (("set", "mix=140"), "0 to 100"),
        (("set", "mix=40", "x=99"), "0 to 9"),
        (("set", "mix"), "NAME=VALUE"),
        (("get", "lowpas"), "lowpass"),
    ],
)
def test_a_bad_value_or_name_is_one_line_and_changes_nothing(
    pedal: Supervisor, words: tuple[str, ...], told: str
) -> None:
    before = ask({"do": "get"})["values"]
    done = nverb(*words)
    assert done.returncode != 0
    assert told in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert ask({"do": "get"})["values"] == before


@pytest.mark.parametrize("command", ["audio", "control"])
def test_a_second_process_is_refused(pedal: Supervisor, command: str) -> None:
    done = nverb(command)
    assert done.returncode == 1
    assert "already running" in done.stderr.splitlines()[-1]


def test_run_plays_refuses_a_second_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """`nverb run` as a person starts it, with a jackd of its own on the dummy driver."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="nverb-run-", dir="/dev/shm") as runtime,
    ):
        patch.setenv("NVERB_RUNTIME_DIR", runtime)
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-run-{os.getpid()}")
        with open(tmp_path / "log", "wb") as log:
            run = subprocess.Popen(
                [sys.executable, "-m", "firmware_py.cli", "run", "--dummy"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + 60
            while "playing" not in nverb("status").stdout:
                assert run.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            pids = {status()[name]["pid"] for name in ("audio", "control")}
            second = nverb("run", "--dummy")
            assert second.returncode == 1
            assert f"nverb run is already running (process {run.pid})" in second.stderr
            assert second.stderr.count("\n") == 1
        finally:
            run.terminate()
            assert run.wait(20) == 0
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        assert not jack.is_running(os.environ["JACK_DEFAULT_SERVER"])


def own_jackds() -> list[int]:
    """The jackds of this test's JACK server, answering or not."""
    name, found = os.environ["JACK_DEFAULT_SERVER"], []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_text().split("\0")
            found += [int(path.parent.name)] if words[0].endswith("jackd") and name in words else []
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_while_jackd_starts_it_leaves_no_jackd_on_the_card(number: signal.Signals) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="nverb-run-", dir="/dev/shm") as runtime,
    ):
        patch.setenv("NVERB_RUNTIME_DIR", runtime)
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-soon-{os.getpid()}")
        run = subprocess.Popen(
            [sys.executable, "-m", "firmware_py.cli", "run", "--dummy"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not own_jackds() and time.monotonic() < deadline:
            time.sleep(0.002)
        run.send_signal(number)
        run.wait(20)
        left = own_jackds()
        for pid in left:
            os.kill(pid, signal.SIGTERM)
        assert not left


def test_a_log_that_cannot_be_written_does_not_end_the_pedal(tmp_path: Path) -> None:
    """stderr on a full disk: all three processes have something to say, and say it to nobody."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="nverb-run-", dir="/dev/shm") as runtime,
        open("/dev/full", "wb") as full,
    ):
        patch.setenv("NVERB_RUNTIME_DIR", runtime)
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-full-{os.getpid()}")
        run = subprocess.Popen(
            [sys.executable, "-m", "firmware_py.cli", "run", "--dummy"], stdin=subprocess.DEVNULL, stderr=full
        )
        try:
            for _ in range(2):
                deadline = time.monotonic() + 60
                while "playing" not in nverb("status").stdout:
                    assert run.poll() is None and time.monotonic() < deadline
                    time.sleep(0.2)
                os.kill(status()["control"]["pid"], signal.SIGKILL)  # of which the supervisor has to tell
        finally:
            run.terminate()
            assert run.wait(20) == 0


def test_without_a_pedal_commands_say_so() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_RUNTIME_DIR", os.environ["NVERB_RUNTIME_DIR"] + "-nobody")
        done = nverb("status")
        os.rmdir(os.environ["NVERB_RUNTIME_DIR"])
    assert done.returncode == 1
    assert "nverb run" in done.stderr and done.stderr.count("\n") == 1


def test_without_jack_the_audio_process_says_so_and_leaves() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_DEFAULT_SERVER", "nobody")
        patch.setenv("NVERB_RUNTIME_DIR", os.environ["NVERB_RUNTIME_DIR"] + "/nojack")
        done = nverb("audio")
    assert done.returncode == 69
    assert "no JACK server" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"no json", b'{"do": "set"}', b'{"do": "set", "values": {"x": []}}', b"\xff\xfe", b"[" * 5000],
)
def test_a_hostile_client_gets_an_error_and_the_pedal_goes_on(pedal: Supervisor, line: bytes) -> None:
    import socket as sockets

    from firmware_py.socket import socket_path

    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(socket_path()))
        client.sendall(line + b"\n")
        answer = json.loads(client.makefile().readline())
    assert answer["ok"] is False and answer["error"]
    assert status()["audio"]["alive"]


def test_a_client_that_never_ends_its_line_is_dropped(pedal: Supervisor) -> None:
    import socket as sockets

    from firmware_py.socket import MAX_LINE, socket_path

    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(socket_path()))
        with pytest.raises(OSError):
            for _ in range(MAX_LINE // 1000 + 100):
                client.sendall(b"x" * 1000)
                time.sleep(0.001)
            assert client.recv(1) != b"", "dropped"
            raise OSError
    with pytest.raises(UserError):
        ask({"do": "nothing"})
