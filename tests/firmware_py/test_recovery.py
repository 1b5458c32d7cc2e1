"""Recovery of a real pedal: killed and hanging processes, crash loops, a removed sound card.

The tests assert that sound, room and knobs return; `nverb bench recovery` measures the time.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jack as jack_client
import pytest
from playing import ask, status
from waiting import HANG_S, wait_until

from device.controls import defaults
from dsp.errors import UserError
from firmware_py.base import crashguard
from firmware_py.base.crashguard import CRASH_LOOP, CrashGuard
from firmware_py.base.paths import Lock, jack_socket
from firmware_py.bench.recovery import FAULTS, ROOM, Ear, OwnPedal, cause
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import WATCHDOG_S, Child, Supervisor
from firmware_py.jack import server as jack
from firmware_py.jack.cards import NoCard
from firmware_py.jack.keeper import JackKeeper
from firmware_py.state.session import load_session

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def pedal() -> Iterator[Supervisor]:
    with private_pedal(block_frames=128, synchronous=False) as supervisor:
        wait_for_room(supervisor, HANG_S)
        yield supervisor


def watch_control_for(pedal: Supervisor, seconds: float, patch: pytest.MonkeyPatch) -> None:
    """Restart the control process, whose watchdog has this timeout from now on."""
    control = next(child for child in pedal.children if child.name == "control")
    assert control.process is not None
    patch.setitem(WATCHDOG_S, "control", seconds)
    seen = control.starts
    control.process.terminate()
    wait_until(lambda: control.starts > seen and control.ready, tend=pedal.tend)


@pytest.mark.parametrize("name", FAULTS)
def test_pedal_restores_room_and_knobs_after_each_fault(
    pedal: Supervisor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "control process hangs":
        watch_control_for(pedal, 5.0, monkeypatch)
    ask({"do": "set", "values": ROOM})
    wait_for_room(pedal, HANG_S)
    wait_until(lambda: load_session(0).values == ask({"do": "get"})["values"], tend=pedal.tend)
    recovery = cause(OwnPedal(pedal), FAULTS[name], name, settle_s=0.5, give_up_s=HANG_S)
    assert recovery.same
    assert not crashguard.safe_start_reason()


def kill_young(pedal: Supervisor, name: str) -> int:
    """Kill the process as soon as it is ready, until the pedal starts safe. Returns the kills.

    The kill of a process that has run for a while starts a new series.
    """
    child = next(child for child in pedal.children if child.name == name)
    kills = 0

    def kill_and_check() -> bool:
        nonlocal kills
        if child.process is not None and child.process.poll() is None and child.ready:
            child.process.kill()
            child.process.wait()
            kills += 1
        return bool(crashguard.safe_start_reason())

    wait_until(kill_and_check, tend=pedal.tend)
    return kills


def blocks_at_size_change(pedal: Supervisor, frames: int) -> tuple[int, int] | None:
    """Set JACK's block size and return what the old audio process has played: then, and in all.

    The first count is taken while jackd reports the size to its last client, when no block can be
    in progress; the second when another audio process plays. None: jackd did not report it; it
    drops the report to a client that a busy machine keeps from answering.
    """
    wait_for_room(pedal, HANG_S)
    before = Ear()
    before.heartbeat()
    port = before.port
    assert port is not None and port.block_frames != frames
    counted: list[int] = []
    name, server = f"size-{os.getpid()}", os.environ["JACK_DEFAULT_SERVER"]
    client = jack_client.Client(name, servername=server, no_start_server=True)

    def on_block_size(size: int) -> None:  # also called on activation, with the old size
        if size == frames:
            counted.append(port.meters().blocks)

    client.set_blocksize_callback(on_block_size)
    # If activation takes long, jackd reports an error although it succeeds.
    with contextlib.suppress(jack_client.JackError):
        client.activate()
    client.blocksize = frames
    wait_until(lambda: status()["audio"].get("block_frames") == frames, tend=pedal.tend)
    assert wait_for_room(pedal, HANG_S)["audio"]["block_frames"] == frames
    client.deactivate()
    client.close()
    return (counted[0], port.meters().blocks) if counted else None


@pytest.mark.parametrize("frames", [1024, 64, 128])
def test_audio_process_plays_no_block_after_jack_block_size_change(
    pedal: Supervisor, frames: int
) -> None:
    """pyo writes past its buffers in a block that is larger than the first one."""
    for _attempt in range(5):
        if status()["audio"]["block_frames"] == frames:
            blocks_at_size_change(pedal, 256)
        if (counts := blocks_at_size_change(pedal, frames)) is not None:
            break
    assert counts is not None, "jackd reported no new block size in 5 attempts"
    then, in_all = counts
    assert in_all == then
    assert not crashguard.safe_start_reason()


def test_block_size_changes_in_a_row_are_no_crash_loop(pedal: Supervisor) -> None:
    """Each comes as soon as the next audio process exists: before, while and after it starts."""
    wait_for_room(pedal, HANG_S)
    audio = next(child for child in pedal.children if child.name == "audio")
    name, server = f"flip-{os.getpid()}", os.environ["JACK_DEFAULT_SERVER"]
    client = jack_client.Client(name, servername=server, no_start_server=True)
    with contextlib.suppress(jack_client.JackError):
        client.activate()
    for turn in range(2 * CRASH_LOOP):
        seen = audio.starts
        client.blocksize = 64 if turn % 2 else 1024
        if turn % 3:  # every third change meets the process that starts after the one before
            wait_until(lambda seen=seen: audio.starts > seen and audio.ready, tend=pedal.tend)
    client.blocksize = 128
    client.close()
    wait_until(lambda: status()["audio"].get("block_frames") == 128, tend=pedal.tend)
    assert not crashguard.safe_start_reason()


def test_pedal_survives_removal_of_its_runtime_folder() -> None:
    """logind does that when a user logs out. Then each process dies, too."""
    with private_pedal(block_frames=128, synchronous=False) as pedal:
        wait_for_room(pedal, HANG_S)
        ask({"do": "set", "values": ROOM})
        before = wait_for_room(pedal, HANG_S)
        runtime = Path(os.environ["NVERB_RUNTIME_DIR"])
        shutil.rmtree(runtime)

        def values() -> object:
            with contextlib.suppress(UserError):  # there is no socket yet
                return ask({"do": "get"})["values"]
            return None

        assert wait_until(values, tend=pedal.tend) == before["controls"]
        wait_until((runtime / "session.json").exists, tend=pedal.tend)
        assert [child.starts for child in pedal.children] == [1, 1]

        audio, control = pedal.children
        assert audio.process is not None and control.process is not None
        control.process.kill()  # the next one finds the mailbox that audio still plays from
        wait_until(lambda: control.starts == 2 and control.ready, tend=pedal.tend)
        wait_until(lambda: (status()["audio"] or {}).get("alive"), tend=pedal.tend)
        now = wait_for_room(pedal, HANG_S)
        assert now["audio"]["pid"] == before["audio"]["pid"] and audio.starts == 1
        assert now["controls"] == before["controls"]

        audio.process.kill()
        wait_until(lambda: audio.starts == 2 and audio.ready, tend=pedal.tend)
        assert wait_for_room(pedal, HANG_S)["audio"]["pid"] != before["audio"]["pid"]

        assert pedal.jack is not None  # RemoveIPC=yes removes its files, too
        first = pedal.jack.process
        os.unlink(jack_socket(pedal.jack.name))
        pedal.tend()
        assert first.poll() is None  # the sound needs no file
        assert audio.process is not None
        audio.process.kill()
        wait_until(lambda: pedal.jack and pedal.jack.process is not first, tend=pedal.tend)
        assert wait_for_room(pedal, HANG_S)["controls"] == before["controls"]
        assert not crashguard.safe_start_reason()


def test_supervisor_locks_again_after_its_runtime_folder_is_removed(
    own_runtime: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = Lock("run", "nverb run")
    supervisor = Supervisor([], None, held)
    shutil.rmtree(own_runtime)
    wait_until((own_runtime / "run.lock").exists, tend=supervisor.tend)
    with pytest.raises(UserError, match=rf"already running \(process {os.getpid()}\)"):
        Lock("run", "nverb run")
    held.close()
    assert capfd.readouterr().err.count("somebody removed") == 1


def test_supervisor_ignores_notifications_of_other_users() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to send as another user")
    child = Child("audio", [sys.executable, "-c", "import time; time.sleep(1000)"])
    child.tend(0.0)
    assert child.process is not None and child.notify is not None
    try:
        send = "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
        send += "s.sendto(b'READY=1', '\\0' + sys.argv[1])"
        address = child.notify.getsockname()[1:].decode()
        for user, is_heard in ((12345, False), (0, True)):
            subprocess.run(["/usr/bin/python3", "-c", send, address], user=user, check=True)
            child.tend(0.0)
            assert child.ready == is_heard
    finally:
        child.stop()
        child.join(HANG_S)


def test_jack_server_does_not_start_jackd_without_jack_lsp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Debian 13 on, jack_lsp is in a separate package; without it jackd would be orphaned."""
    name = f"nverb-tools-{os.getpid()}"
    jackd = shutil.which("jackd")
    assert jackd is not None
    (tmp_path / "jackd").symlink_to(jackd)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", os.fspath(tmp_path))
        with pytest.raises(
            UserError, match=r"^jack_lsp is missing: sudo apt-get install jack-example-tools"
        ):
            jack.dummy(name)
    assert not jack.is_running(name)


def test_jack_server_rejects_name_of_running_server() -> None:
    """The second jackd exits by itself, shortly after the first one has answered in its place."""
    name = f"nverb-twice-{os.getpid()}"
    first = jack.dummy(name)
    try:
        with pytest.raises(UserError, match=f"another jackd.*{first.process.pid}|did not start"):
            jack.dummy(name)
        assert first.alive() and jack.is_running(name)
    finally:
        first.close()


@pytest.mark.parametrize("name", ["audio", "control"])
def test_crash_loop_ends_in_safe_start(name: str) -> None:
    with private_pedal(block_frames=128, synchronous=False) as pedal:
        wait_for_room(pedal, HANG_S)
        ask({"do": "set", "values": ROOM})
        assert kill_young(pedal, name) >= CRASH_LOOP
        wait_for_room(pedal, HANG_S)
        wait_until(lambda: status()["room"]["bank"] == "built-in", tend=pedal.tend)
        now = status()
        assert f"{name} process died" in now["safe_start"]
        # The knobs may fine-tune.
        assert now["controls"]["x"] == pytest.approx(defaults()["x"], abs=0.1)
        ask({"do": "bank", "path": ""})  # choosing a bank ends the safe start
        assert not status()["safe_start"]


def test_turns_of_reports_runnable_thread() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        wait_until(lambda: jack.turns_of(process.pid)[1])
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not jack.turns_of(process.pid)[1])
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def own_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_crash_guard_counts_consecutive_deaths(own_runtime: Path) -> None:
    for deaths in range(CRASH_LOOP):
        guard = CrashGuard("audio")
        assert guard.deaths == deaths and not guard.crash_loop
    assert CrashGuard("audio").crash_loop
    assert not CrashGuard("control").crash_loop  # each process has its own count
    guard = CrashGuard("audio")
    guard.stable()
    assert CrashGuard("audio").deaths == 0


LEAVE = """
import ctypes, sys
from dsp import _engine
from firmware_py.base.crashguard import CrashGuard
for _ in range(int(sys.argv[1])):
    guard = CrashGuard("audio", "server/64")  # deaths
_engine.note_at_new_size(*guard.note_blameless())
leave = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)(_engine.LEAVE_AT_NEW_SIZE)
assert leave(1024, None) == 0  # the start: JACK has not settled
_engine.keep_block_size(64)
assert leave(64, None) == 0
leave(1024, None)
"""


@pytest.mark.parametrize("deaths", [0, 2])
def test_crash_guard_ignores_exits_at_new_block_size(own_runtime: Path, deaths: int) -> None:
    """The exit is in C. Earlier deaths stay: a size that someone chose ends no crash loop."""
    for count in (1 + deaths, 1, 1):
        done = subprocess.run([sys.executable, "-c", LEAVE, str(count)], check=False)
        assert done.returncode == 75
        assert (own_runtime / "audio.deaths").read_text() == f"{deaths} server/64\n"


def test_crash_guard_works_without_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path / "gone"))
    guard = CrashGuard("audio")
    shutil.rmtree(tmp_path / "gone")
    assert guard.note_blameless() == (-1, b"")
    guard.blameless()
    guard.stable()


def test_control_process_that_is_stopped_while_it_starts_has_not_died(own_runtime: Path) -> None:
    count = own_runtime / "control.deaths"
    for _ in range(CRASH_LOOP):
        process = subprocess.Popen(
            [sys.executable, "-m", "firmware_py.cli", "control", "--profile", "none"]
        )
        try:
            wait_until(lambda: count.exists() and count.read_text().startswith("1"))
            process.terminate()
            assert process.wait(HANG_S) == 0
        finally:
            process.kill()
    assert CrashGuard("control").deaths == 0


STOPPED_IN_AN_IMPORT = """
import os, signal, time
try:  # as a C extension does when its initialisation is interrupted
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)
except BaseException as error:
    raise ImportError("initialization failed") from error
"""


def test_stop_signal_during_an_import_ends_the_process(own_runtime: Path, tmp_path: Path) -> None:
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(STOPPED_IN_AN_IMPORT)
    process = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "control", "--profile", "none"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        timeout=HANG_S,
        check=False,
    )
    assert process.returncode == 0
    assert CrashGuard("control").deaths == 0


LASTING = (("control", "--profile", "none"), ("audio",), ("jack",), ("run", "--dummy"))
TERM_BIT = 1 << signal.SIGTERM - 1


def takes_sigterm(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM, or waits for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) & TERM_BIT for mask in re.findall(r"Sig(?:Cgt|Blk):\s*(\w+)", status))


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_stop_signal_in_a_start_is_an_orderly_end(tmp_path: Path, delay_s: float) -> None:
    """Also while audio waits for JACK. Before the handlers are there, Python starts."""
    started = []
    for words in LASTING:
        (folder := tmp_path / words[0]).mkdir()
        (folder / "settings.toml").write_text('version = 1\ncard = "dummy"\n')
        environment = os.environ | {
            "NVERB_DATA_DIR": f"{folder}",
            "NVERB_RUNTIME_DIR": f"{folder}",
            "JACK_DEFAULT_SERVER": f"nverb-stop-{words[0]}-{os.getpid()}",
        }
        command = [sys.executable, "-m", "firmware_py.cli", *words]
        started.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    try:
        for process in started:
            wait_until(lambda pid=process.pid: takes_sigterm(pid))
        time.sleep(delay_s)
        for process in started:
            process.terminate()
        for words, process in zip(LASTING, started, strict=True):
            errors = process.communicate(timeout=HANG_S)[1]
            assert process.returncode == 0, (words, errors)
            assert "Traceback" not in errors and "no JACK server" not in errors
    finally:
        for process in started:
            process.kill()


def test_crash_guard_ignores_power_offs(own_runtime: Path) -> None:
    for _ in range(10):  # a power-off during start empties the runtime folder
        assert CrashGuard("audio").deaths == 0
        (own_runtime / "audio.deaths").unlink()


def test_crash_guard_ignores_deaths_caused_by_jack(own_runtime: Path) -> None:
    for _ in range(10):
        CrashGuard("audio").blameless()
    assert CrashGuard("audio").deaths == 0
    for server in "abcdefgh":  # each time with another server
        assert CrashGuard("audio", server).deaths <= 1


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"9" * 1000, b"-5 -", b"many -"])
def test_crash_guard_ignores_damaged_count(own_runtime: Path, garbage: bytes) -> None:
    (own_runtime / "audio.deaths").write_bytes(garbage)
    assert not CrashGuard("audio").crash_loop


def test_keeper_waits_for_sound_card_and_restarts_on_it(capfd: pytest.CaptureFixture[str]) -> None:
    """A card is removed and reconnected: `start` finds none, then one, then jackd stalls."""
    name = f"nverb-keeper-{os.getpid()}"
    card_is_there = False

    def start() -> jack.JackServer:
        if not card_is_there:
            raise NoCard("none")
        return jack.dummy(name)

    keeper = JackKeeper(start)
    try:
        wait_until(lambda: bool(keeper.trouble), tend=keeper.tend)
        assert keeper.server is None and "waiting for a sound card" in keeper.trouble
        card_is_there = True
        wait_until(lambda: keeper.server is not None and keeper.settled, tend=keeper.tend)
        first = keeper.server
        assert first is not None and not keeper.trouble
        card_is_there = False
        # As if ALSA's card was removed: the process is alive, but no periods arrive.
        os.kill(first.process.pid, signal.SIGSTOP)
        wait_until(lambda: "waiting" in keeper.trouble, tend=keeper.tend)
        assert first.process.poll() is not None
        card_is_there = True
        wait_until(lambda: keeper.server is not None and keeper.settled, tend=keeper.tend)
        assert keeper.server is not first and jack.is_running(name)
    finally:
        keeper.close()
    # Logged once for each removal, not on each retry.
    assert capfd.readouterr().err.count("waiting for a sound card") == 2


def test_keeper_reports_and_retries_failed_start() -> None:
    tries = 0

    def start() -> jack.JackServer:
        nonlocal tries
        tries += 1
        raise UserError("no such device")

    keeper = JackKeeper(start)
    wait_until(lambda: tries >= 3, tend=keeper.tend)
    assert keeper.trouble == "no such device"
    keeper.close()
