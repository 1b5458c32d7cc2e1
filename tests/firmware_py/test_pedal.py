"""The complete pedal, live: jackd with its dummy driver, all processes, and a JACK client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playing import RATE_HZ, SILENT_S, ask, roughness, set_controls, settle, sine, status, take
from scipy.signal import fftconvolve
from traps import lay_traps
from waiting import HANG_S, wait_until

from device.controls import find, to_position
from dsp.errors import UserError
from firmware_py.base.paths import data_path
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.desk.what_plays import of_pedal
from firmware_py.jack import server
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source
from firmware_py.state.session import load_session

pytestmark = pytest.mark.live
MAKES_NOISE = True  # see conftest.py


@pytest.fixture(scope="module")
def pedal() -> Iterator[Supervisor]:
    with private_pedal(block_frames=128, rate_hz=RATE_HZ) as supervisor:
        wait_for_room(supervisor)
        yield supervisor


def test_noise_of_rooms_is_kept_in_the_data_folder(pedal: Supervisor) -> None:
    kept = data_path() / "noise"
    wait_until(lambda: any(kept.glob(f"{RATE_HZ}-*")), tend=pedal.tend)


def test_live_output_is_the_convolution_without_offset(pedal: Supervisor) -> None:
    set_controls(
        pedal, gain=0, mix=100, limiter=0, x=3, y=5, z=4, width=2
    )  # no knob is there, to fine-tune it
    sound = 0.1 * np.random.default_rng(1).standard_normal((2 * RATE_HZ, 2)).astype(np.float32)
    got = take(pedal, sound)
    ir = (
        RoomMaker(find_source(), RATE_HZ, 10 * RATE_HZ)
        .ir(ask({"do": "get"})["values"])
        .astype(float)
    )
    expected = np.stack(
        [fftconvolve(sound[:, c].astype(float), ir[c])[: len(got)] for c in range(2)], axis=1
    )
    assert 20 * np.log10(np.abs(got - expected).max() / np.abs(expected).max()) < -100


def test_turning_every_room_knob_while_it_plays_does_not_click(pedal: Supervisor) -> None:
    """The roughness of a steady 1 kHz sine stays below that of a 50 ms crossfade of any levels."""
    set_controls(pedal, gain=0, mix=50, mix_law=2, fade=50, x=2, y=2, z=2, width=1)

    turns = [{"x": x, "y": 9 - x, "width": x / 3} for x in range(9)]
    acts = [lambda values=values: ask({"do": "set", "values": values}) for values in turns]
    got = take(pedal, sine(60), during=acts)
    assert roughness(got[RATE_HZ // 2 :]).max() < 5e-3


def test_a_glide_between_scenes_and_modulators_do_not_click(pedal: Supervisor) -> None:
    """Levels and rooms change, as above; at the end scene B plays."""
    off = {"mod1_source": "off", "mod2_source": "off"}
    on = {"mod1_source": "sine", "mod1_target": "width", "mod1_rate_hz": 3}
    on |= {"mod2_source": "random", "mod2_target": "mix", "mod2_rate_hz": 9}
    set_controls(pedal, gain=-20, mix=20, mix_law=2, fade=50, x=2, y=2, z=2, morph_glide_s=1)
    ask({"do": "scene", "act": "a"})
    set_controls(pedal, gain=0, mix=50, x=7)
    ask({"do": "scene", "act": "b"})

    def begin() -> None:
        ask({"do": "set", "values": off | {"morph": 0}})
        settle(pedal)  # modulated rooms never do
        assert ask({"do": "set", "values": on}) and ask({"do": "get"})["values"]["gain"] == -20

    def glide() -> None:
        ask({"do": "scene", "act": "toggle"})
        wait_until(lambda: ask({"do": "get"})["values"]["morph"] == 100, tend=pedal.tend)

    try:
        got = take(pedal, sine(60), prepare=begin, during=[glide], every_s=0.5)
    finally:
        ask({"do": "set", "values": off})
        ask({"do": "scene", "act": "forget"})
    assert roughness(got[RATE_HZ // 2 :]).max() < 5e-3
    first, last = got[RATE_HZ // 2 : RATE_HZ], got[-RATE_HZ // 4 :]
    assert 3 < np.sqrt(np.mean(last**2) / np.mean(first**2)) < 30  # 20 dB, and other mixes


def test_a_late_client_costs_time_and_no_sound_and_jackd_tells_where_it_gave_up(
    pedal: Supervisor,
) -> None:
    set_controls(pedal, gain=0, mix=30, mix_law=2)
    assert pedal.jack is not None

    def hold_up() -> None:
        late = status()["audio"]["pid"]
        os.kill(late, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(late, signal.SIGCONT)

    got = take(pedal, sine(60), during=[hold_up])
    assert roughness(got[RATE_HZ // 2 :]).max() < 1e-3
    lost, gone = pedal.jack.lost_blocks(), status()["audio"]["pid"]
    os.kill(gone, signal.SIGSTOP)
    wait_until(lambda: pedal.jack and pedal.jack.lost_blocks() > lost)
    os.kill(gone, signal.SIGCONT)
    wait_for_room(pedal, HANG_S)


def test_killing_the_control_process_leaves_the_sound_and_its_successor_takes_over(
    pedal: Supervisor,
) -> None:
    set_controls(pedal, gain=0, mix=30, mix_law=2, x=6, y=3, z=5, width=2)
    wait_until(lambda: load_session(0).values == ask({"do": "get"})["values"])
    before = ask({"do": "get"})["values"]
    control = pedal.children[1]
    assert control.process is not None
    old_pid = control.process.pid

    def kill() -> None:
        assert control.process is not None
        control.process.kill()
        control.process.wait()

    got = take(
        pedal, sine(60), prepare=lambda: wait_for_room(pedal, HANG_S), during=[kill], tend=False
    )
    assert roughness(got[RATE_HZ // 2 :]).max() < 1e-3  # without the control process

    def kill_a_ready_one() -> None:
        wait_for_room(pedal, HANG_S)  # one that died early is restarted after a pause
        kill()

    got = take(
        pedal,
        sine(60),
        prepare=kill_a_ready_one,
        during=[lambda: wait_for_room(pedal, HANG_S)],
        tend=False,
    )
    assert roughness(got[RATE_HZ // 2 :]).max() < 1e-3  # the successor took over without a click
    assert status()["control"]["pid"] != old_pid
    for name, value in ask({"do": "get"})["values"].items():
        # A knob at its control's value may fine-tune it: 1 % of travel.
        assert abs(to_position(find(name), value) - to_position(find(name), before[name])) < 0.01, (
            name
        )


def test_a_killed_audio_process_is_back_with_the_same_room(pedal: Supervisor) -> None:
    set_controls(pedal, gain=0, mix=100, limiter=0, x=3, y=4, z=1, width=2, bypass=0)
    sound = sine(0.5)
    settle(pedal, SILENT_S)  # until the previous sound has decayed
    before = take(pedal, sound)
    old_pid = status()["audio"]["pid"]
    os.kill(old_pid, signal.SIGKILL)
    wait_until(lambda: wait_for_room(pedal, HANG_S)["audio"]["pid"] != old_pid)
    settle(pedal)
    after = take(pedal, sound)
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def nverb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *words],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_commands_steer_the_running_pedal(pedal: Supervisor) -> None:
    done = nverb("set", "mix=40%", "lowpass=on", "lowpass_hz=2kHz")
    assert done.returncode == 0, done.stderr
    assert json.loads(nverb("get", "--json").stdout)["lowpass_hz"] == 2000
    assert "lowpass = on" in nverb("get", "lowpass").stdout
    screen = nverb("status").stdout
    assert "playing" in screen and "mix" in screen
    assert json.loads(nverb("status", "--json").stdout)["audio"]["block_frames"] == 128
    nverb("set", "lowpass=toggle", "bypass=toggle", "mix=-15%")
    assert json.loads(nverb("get", "lowpass", "bypass", "mix", "--json").stdout) == {
        "lowpass": 0,
        "bypass": 1,
        "mix": 25,
    }
    assert "BYPASS" in nverb("status").stdout
    rendered = of_pedal()  # in bypass nobody wants to render
    assert (rendered.values["mix"], rendered.values["bypass"]) == (25, 0)
    assert "running pedal" in rendered.whose
    nverb("set", "bypass=toggle")


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


def wait_until_it_plays(run: subprocess.Popen[bytes], log: Path = Path(os.devnull)) -> None:
    def plays() -> bool:
        assert run.poll() is None, log.read_text()
        return "playing" in nverb("status").stdout

    wait_until(plays, told=log.read_text)


def test_run_plays_refuses_a_second_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """`nverb run` with its own jackd, which uses the dummy driver.

    It starts in a folder of traps: none of its processes may import a module from there.
    """
    caught = lay_traps(tmp_path)
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="nverb-run-", dir="/dev/shm") as runtime,
    ):
        patch.setenv("NVERB_RUNTIME_DIR", runtime)
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-run-{os.getpid()}")
        with open(tmp_path / "log", "wb") as log:
            run = subprocess.Popen(
                [Path(sys.executable).parent / "nverb", "run", "--dummy"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        try:
            wait_until_it_plays(run, tmp_path / "log")
            pids = {status()[name]["pid"] for name in ("audio", "control")}
            second = nverb("run", "--dummy")
            assert second.returncode == 1
            assert f"nverb run is already running (process {run.pid})" in second.stderr
            assert second.stderr.count("\n") == 1
        finally:
            run.terminate()
            assert run.wait(HANG_S) == 0
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        assert not server.is_running(os.environ["JACK_DEFAULT_SERVER"])
        assert not caught.exists(), caught.read_text()


def own_jackds() -> list[int]:
    """The jackd processes of this test's JACK server, also hanging ones."""
    name, found = os.environ["JACK_DEFAULT_SERVER"], []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            # Other tests run processes with names that are not UTF-8.
            words = os.fsdecode(path.read_bytes()).split("\0")
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
        try:
            wait_until(own_jackds)
            run.send_signal(number)
            run.wait(HANG_S)
        finally:
            run.kill()
            left = own_jackds()
            for pid in left:
                os.kill(pid, signal.SIGTERM)
        assert not left


@pytest.mark.parametrize(
    "interrupted",
    [
        # After 0.3 s jackd runs.
        "Thread.start = lambda self, start=Thread.start: (start(self), hold(0.3), stop())",
        "Thread.start = lambda self, start=Thread.start: stop()",
        "server.is_running = lambda _: stop()",
        # After the start of jackd, before `run` keeps it.
        "server.lock_code = lambda *_: None",
    ],
)
def test_ctrl_c_anywhere_in_the_start_of_jackd_leaves_none(interrupted: str) -> None:
    program = f"""if True:
        import os, sys
        from threading import Thread
        from time import sleep as hold
        from firmware_py.jack import server
        def stop():
            raise KeyboardInterrupt
        {interrupted}
        server.dummy(os.environ["JACK_DEFAULT_SERVER"])
        stop()"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-early-{os.getpid()}")
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        left = own_jackds()
        for pid in left:
            os.kill(pid, signal.SIGTERM)
    assert done.returncode == -signal.SIGINT and done.stderr.endswith("KeyboardInterrupt\n"), (
        done.stderr
    )
    assert not left


def test_a_log_that_cannot_be_written_does_not_end_the_pedal(tmp_path: Path) -> None:
    """stderr is on a full disk while all three processes write messages."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="nverb-run-", dir="/dev/shm") as runtime,
        open("/dev/full", "wb") as full,
    ):
        patch.setenv("NVERB_RUNTIME_DIR", runtime)
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-full-{os.getpid()}")
        run = subprocess.Popen(
            [sys.executable, "-m", "firmware_py.cli", "run", "--dummy"],
            stdin=subprocess.DEVNULL,
            stderr=full,
        )
        try:
            for _ in range(2):
                wait_until_it_plays(run)
                # The supervisor reports the kill.
                os.kill(status()["control"]["pid"], signal.SIGKILL)
        finally:
            run.terminate()
            assert run.wait(HANG_S) == 0


def test_a_player_is_closed_while_python_is_busy() -> None:
    """In a process of its own, because it hangs if libjack ends a thread that waits for the GIL."""
    program = """if True:
        import os, threading
        import numpy as np
        from firmware_py.jack import server as jack
        from firmware_py.desk.player import Player
        def spin():
            while True:
                sum(range(1000))
        name = os.environ["JACK_DEFAULT_SERVER"]
        server = jack.dummy(name)
        for _ in range(2):
            threading.Thread(target=spin, daemon=True).start()
        try:
            for _ in range(5):
                player = Player(name, np.zeros((4800, 2), np.float32))
                player.start_to(["system:playback_1", "system:playback_2"])
                player.close()
        finally:
            server.close()"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_DEFAULT_SERVER", f"nverb-close-{os.getpid()}")
        process = subprocess.Popen([sys.executable, "-c", program])
        try:
            assert process.wait(HANG_S) == 0
        finally:
            process.kill()
            for pid in own_jackds():
                os.kill(pid, signal.SIGTERM)


def test_without_a_pedal_commands_say_so() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_RUNTIME_DIR", os.environ["NVERB_RUNTIME_DIR"] + "-nobody")
        done = nverb("status")
        os.rmdir(os.environ["NVERB_RUNTIME_DIR"])
    assert done.returncode == 1
    assert "nverb run" in done.stderr and done.stderr.count("\n") == 1


def test_audio_process_without_jack_exits_with_a_message() -> None:
    program = (
        "from firmware_py import cli; from firmware_py.audio import process as audio; "
        "audio.JACK_WAIT_S = 0.2; cli.main(['audio'])"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_DEFAULT_SERVER", "nobody")
        patch.setenv("NVERB_RUNTIME_DIR", os.environ["NVERB_RUNTIME_DIR"] + "/nojack")
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
    assert done.returncode == 69
    assert "no JACK server" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"no json",
        b'{"do": "set"}',
        b'{"do": "set", "values": {"x": []}}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
def test_a_hostile_client_gets_an_error_and_the_pedal_goes_on(
    pedal: Supervisor, line: bytes
) -> None:
    import socket as sockets

    from firmware_py.link.client import socket_path

    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(HANG_S)
        client.connect(str(socket_path()))
        client.sendall(line + b"\n")
        answer = json.loads(client.makefile().readline())
    assert answer["ok"] is False and answer["error"]
    wait_until(lambda: status()["audio"]["alive"])


def test_a_client_that_never_ends_its_line_is_dropped(pedal: Supervisor) -> None:
    import socket as sockets

    from firmware_py.link.client import MAX_LINE, socket_path

    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(HANG_S)
        client.connect(str(socket_path()))
        with pytest.raises(OSError):
            for _ in range(MAX_LINE // 1000 + 100):
                client.sendall(b"x" * 1000)
            assert client.recv(1) != b"", "dropped"
            raise OSError
    with pytest.raises(UserError):
        ask({"do": "nothing"})
