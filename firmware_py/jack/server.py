"""Find, start and watch a JACK server.

Used by `nverb jack`, the supervisor, demo, tests and benches; never by the audio process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from dsp.errors import UserError
from firmware_py.base.log import logger
from firmware_py.base.memory import lock_code
from firmware_py.base.paths import jack_socket
from firmware_py.base.process import ends_with_parent
from firmware_py.jack import report
from firmware_py.jack.cards import Choice
from firmware_py.jack.defaults import BLOCK_FRAMES, RATE_HZ
from firmware_py.jack.messages import Messages
from firmware_py.jack.places import free_stale_places
from firmware_py.jack.reasons import Reason, reason
from firmware_py.jack.squatted import REMEDY, taken_names

log = logger("jack")
STILL_S = 0.7
"""If no thread of jackd runs for this time, jackd hangs or has lost its card.

Its driver thread normally runs once per period.
"""
STARVED_S = 5.0
"""The same while a thread is runnable: the machine is overloaded, or jackd is in a busy loop."""
PATIENCE_MS = 600
"""How long a synchronous jackd waits for its clients before it plays a block without them.

Ten times its option -t (jack2: DRIVER_TIMEOUT_FACTOR). The default of -t is two blocks: 53 ms in
total with 128 frames. Must be shorter than STILL_S.
"""
REALTIME_PRIORITY = 70
"""JACK's priority; its clients get slightly less. Threaded interrupts of the kernel have 50."""
MAX_PORTS = 128
"""JACK reserves 32 KiB per possible port in shared memory that it and all clients lock.

Its default of 2048 ports takes 64 MB.
"""

JACK_CODE = re.compile(
    r"/(jackd|libjackserver|jack_\w+|libasound|libstdc\+\+|libgcc_s|libc|libm|ld-linux[-\w]*)"
    r"\b[^/]*$"
)
"""The files whose code runs in jackd's real-time thread.

jackd locks its shared memory, but not code: when memory is short, the kernel would drop code pages
and read them from the SD card again during playback.
"""


TOOLS = {
    "jackd": "jackd2",
    "jack_lsp": "jack-example-tools (before Debian 13: jackd2)",
    "jack_connect": "jack-example-tools (before Debian 13: jackd2)",
}
"""The programs that this module calls, and their Debian packages."""


def missing_tool() -> tuple[str, str] | None:
    """The first missing program of TOOLS, and the command that installs it."""
    return next(
        (
            (name, f"sudo apt-get install {TOOLS[name]}")
            for name in TOOLS
            if shutil.which(name) is None
        ),
        None,
    )


def is_running(server: str | None = None) -> bool:
    """True if the JACK server of this name (None: the default server) answers. Raises UserError.

    PipeWire does not count: its JACK library answers jack_lsp without a jackd.
    """
    tool = _tool("jack_lsp")
    if "JACK_PROMISCUOUS_SERVER" not in os.environ and _listener(server) is None:
        return False
    environment = os.environ | {"JACK_NO_START_SERVER": "1"}
    if server:
        environment["JACK_DEFAULT_SERVER"] = server
    try:
        done = subprocess.run([tool], env=environment, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class JackFailed(UserError):
    """jackd did not start, for this reason."""

    def __init__(self, text: str, reason: Reason) -> None:
        super().__init__(text)
        self.reason = reason


class JackServer:
    """A jackd that this process starts."""

    def __init__(
        self,
        name: str | None,
        driver: list[str],
        *,
        block_frames: int,
        rate_hz: int,
        realtime: bool = True,
        synchronous: bool = False,
        choice: Choice | None = None,
        forward: bool = False,
    ) -> None:
        """Start jackd and return when it answers.

        `synchronous`: the server waits up to PATIENCE_MS for its clients, so a late client delays
        the block but loses no samples. `choice`: the cards that `driver` opens. `forward`: once it
        runs, pass jackd's messages on to stderr. Raises JackFailed with jackd's reason if it does
        not answer within 10 s, and UserError if another jackd has this name or if a tool is
        missing.
        """
        if missing := missing_tool():
            raise UserError(f"{missing[0]} is missing: {missing[1]}")
        command = [_tool("jackd")]
        if name:
            command += ["-n", name]
        command += ["-R", f"-P{REALTIME_PRIORITY}"] if realtime else ["-r"]
        if synchronous:
            command += ["-S", "-t", str(PATIENCE_MS // 10)]
        command += ["--port-max", str(MAX_PORTS)]
        command += ["-d", *driver, "-r", str(rate_hz), "-p", str(block_frames)]
        self.name, self.command = name, command
        log.debug("starting %s", " ".join(command))
        self.report = report.new("jackd", block_frames=block_frames, rate_hz=rate_hz, periods=2)
        self._choice, self._forward = choice, forward
        self._messages = Messages()
        free_stale_places()
        self._turns, self._turned_s, self._looked_s = 0, time.monotonic(), 0.0
        self._start_error: OSError | None = None
        self._tried = threading.Event()
        try:
            # In a thread, because Ctrl-C interrupts the main thread: in Popen it would orphan
            # jackd. The thread lives as long as jackd, which ends with it.
            threading.Thread(target=self._start, name="jackd", daemon=True).start()
            self._tried.wait()
            if self._start_error is not None:
                raise self._start_error
            self._wait_until_running()
            lock_code(self.process.pid, JACK_CODE)
        except BaseException:
            self._tried.wait(1)  # without a thread it is never set
            if hasattr(self, "process"):
                self.close()
            raise

    def _start(self) -> None:
        environment = os.environ | {"JACK_NO_AUDIO_RESERVATION": "1"}
        environment.pop("NOTIFY_SOCKET", None)  # jackd would report itself as this service
        try:
            self.process = subprocess.Popen(
                ends_with_parent(self.command),
                stdin=subprocess.DEVNULL,
                stdout=self._messages.file,
                stderr=self._messages.file,
                env=environment,
                start_new_session=True,
            )
            # jackd has its own session and would keep the sound card forever. Ctrl-C may arrive
            # before the caller holds this object; Python waits for this thread at exit.
            atexit.register(self.stop)
        except OSError as error:
            self._start_error = error
        finally:
            self._tried.set()
        with contextlib.suppress(AttributeError, ChildProcessError):  # not started; reaped
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def _wait_until_running(self) -> None:
        """Raises UserError after 10 s, or if another jackd has this name."""
        deadline = time.monotonic() + 10
        while not is_running(self.name):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                self._fail()
            time.sleep(0.05)
        if (other := _listener(self.name)) not in (None, self.process.pid):
            # Ours has exited or is about to.
            raise UserError(f"another jackd of this name is already running (process {other})")
        if "Falling back to" in self.log():  # a card that only plays or only records
            self.stop()
            self._fail()

    def _fail(self) -> NoReturn:
        taken = taken_names(self.name)
        why = Reason(taken, REMEDY, "card") if taken else reason(self.log(), self._choice)
        where = f" on {self._choice}" if self._choice else ""
        raise JackFailed(f"jackd did not start{where}: {why}", why)

    def log(self) -> str:
        """jackd's messages so far; with `forward` the latest ones only."""
        return self._messages.text()

    def lost_blocks(self) -> int:
        """Blocks that a synchronous server played without its clients."""
        return self.log().count("SuspendRefNum error")

    def alive(self) -> bool:
        return self.process.poll() is None

    def trouble(self) -> str:
        """Why the server does not work; empty if it is alive and its driver runs.

        Call it repeatedly: it compares with the previous calls.
        """
        if self._forward:
            self._messages.forward()
        if not self.alive():
            why = reason(self.log(), self._choice)
            return f"jackd exited with status {self.process.returncode} ({why.text})"
        now, (turns, runnable) = time.monotonic(), turns_of(self.process.pid)
        # After a long gap between calls, this process may have been suspended.
        if turns != self._turns or now - self._looked_s > STILL_S / 2:
            self._turns, self._turned_s = turns, now
        self._looked_s = now
        if now - self._turned_s > (STARVED_S if runnable else STILL_S):
            return "jackd is stalled: it hangs, or its sound card was removed"
        return ""

    def close(self) -> None:
        """Stop the server and delete its log."""
        self.stop()
        self._messages.close()

    def kill(self) -> None:
        """Kill a server that may not respond to SIGTERM."""
        if self.alive():
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Terminate the server; kill it after 5 s."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        atexit.unregister(self.stop)


def _listener(server: str | None) -> int | None:
    """PID of the JACK server of this name; None if it cannot be determined."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(1)
            knock.connect(jack_socket(server))
            return int(
                struct.unpack("iII", knock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            )
    except OSError:
        return None


def turns_of(pid: int) -> tuple[int, bool]:
    """Voluntary context switches of all threads, and whether any thread is runnable.

    The count grows once per period while a driver waits for its card.
    """
    total, runnable = 0, False
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):  # the thread has just ended
            status = path.read_text()
            switches = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)
            total += int(switches[1]) if switches else 0
            runnable = runnable or re.search(r"^State:\s*R", status, re.MULTILINE) is not None
    return total, runnable


def dummy(
    name: str,
    *,
    block_frames: int = BLOCK_FRAMES,
    rate_hz: int = RATE_HZ,
    synchronous: bool = False,
    realtime: bool = False,
) -> JackServer:
    """Start a JACK server without a sound card, paced by a timer. Raises UserError.

    Tries twice: right after another server has ended, jackd may end without a word.
    """
    start = partial(
        JackServer,
        name,
        ["dummy"],
        block_frames=block_frames,
        rate_hz=rate_hz,
        realtime=realtime,
        synchronous=synchronous,
    )
    try:
        return start()
    except JackFailed:
        return start()


def take_limits() -> bool:
    """Raise the soft limits of real-time priority and locked memory to the hard limits.

    Children inherit them. Returns True if JACK can get its priority.
    """
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (resource.getrlimit(limit)[1],) * 2)
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        # Trying is the only reliable test.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
        os.sched_setscheduler(0, *before)
    except OSError:
        return False
    return True


def connect(source: str, target: str, server: str | None = None) -> bool:
    """Connect two ports. Returns True if they are connected."""
    command = [_tool("jack_connect"), *(["-s", server] if server else []), source, target]
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UserError(f"{name} is missing: sudo apt-get install {TOOLS[name]}")
    return path
