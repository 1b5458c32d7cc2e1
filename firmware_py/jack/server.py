"""Finding, starting and keeping a JACK server. Used by `nverb jack`, the supervisor, demo, tests and benches; never by the audio
process."""

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
import sys
import tempfile
import threading
import time
from pathlib import Path

from dsp.errors import UserError
from firmware_py.base.memory import hold_code
from firmware_py.base.paths import jack_socket

STILL_S = 0.7
"""A jackd none of whose threads ran for so long is stopped, hung, or has lost its card: its driver runs once a period."""
STARVED_S = 5.0
"""The same, where one of its threads could run, and waits for a core: that is others' doing, or it runs in circles."""
PATIENCE_MS = 600
"""How long a synchronous jackd waits for its clients before it plays a block without them: ten times its option -t (jack2:
DRIVER_TIMEOUT_FACTOR), for which it takes two blocks unless told, 53 ms of 128 frames in all. Shorter than STILL_S."""
REALTIME_PRIORITY = 70
"""Of JACK; its clients get a little less. Above the kernel's threaded interrupts, which have 50."""
ASOUND = Path("/proc/asound")
MAX_PORTS = 128
"""JACK keeps 32 KiB for each port that there may be, in memory that it and all its clients lock: 64 MB for its default of 2048."""

JACK_CODE = re.compile(
    r"/(jackd|libjackserver|jack_\w+|libasound|libstdc\+\+|libgcc_s|libc|libm|ld-linux[-\w]*)\b[^/]*$"
)
"""What runs in jackd's real-time thread. It locks memory that it shares with its clients, but no code: where memory is short that would be
read from the card again while sound plays."""


TOOLS = {
    "jackd": "jackd2",
    "jack_lsp": "jack-example-tools (before Debian 13: jackd2)",
    "jack_connect": "jack-example-tools (before Debian 13: jackd2)",
}
"""The programs that are called here, and Debian's packages of them."""


def missing_tool() -> tuple[str, str] | None:
    """A program of TOOLS that is not there, and what installs it."""
    return next(
        (
            (name, f"sudo apt-get install {TOOLS[name]}")
            for name in TOOLS
            if shutil.which(name) is None
        ),
        None,
    )


def is_running(server: str | None = None) -> bool:
    """True if a JACK server of that name (None: the default one) answers."""
    tool = _tool("jack_lsp")
    environment = os.environ | {"JACK_NO_START_SERVER": "1"}
    if server:
        environment["JACK_DEFAULT_SERVER"] = server
    try:
        done = subprocess.run([tool], env=environment, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def sound_cards(asound: Path | None = None, *, recording: bool = False) -> list[str]:
    """ALSA cards that can play, as `hw:NAME` and `hw:NUMBER`, the first card first; empty where there is none. `recording`: only
    those that record, too."""
    asound = asound or ASOUND
    try:
        text = (asound / "cards").read_text()
        rows = (asound / "pcm").read_text().splitlines()
    except OSError:
        return []
    playing, capturing = (
        {row.split("-")[0] for row in rows if way in row.partition(":")[2]}
        for way in ("playback", "capture")
    )
    usable = playing & capturing if recording else playing
    cards = re.findall(r"^\s*(\d+) \[(\S+)\s*\]", text, re.MULTILINE)
    return [
        f"hw:{card}"
        for number, name in cards
        if f"{int(number):02d}" in usable
        for card in (name, number)
    ]


class JackServer:
    """A jackd of our own."""

    def __init__(
        self,
        name: str | None,
        driver: list[str],
        *,
        block_frames: int,
        rate_hz: int,
        realtime: bool = True,
        synchronous: bool = False,
        own_log: bool = True,
    ) -> None:
        """Starts jackd and returns when it answers. `synchronous`: the server waits for its clients, so that a late one costs time
        and no samples, up to PATIENCE_MS. `own_log`: keeps what jackd says; else it goes where our own words go. Raises UserError with
        jackd's own words if it does not come up within 10 s, where another one has the name, and beforehand where a tool is missing."""
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
        self._log = tempfile.TemporaryFile() if own_log else None
        self._turns, self._turned_s, self._looked_s = 0, time.monotonic(), 0.0
        environment = os.environ | {"JACK_NO_AUDIO_RESERVATION": "1"}
        environment.pop(
            "NOTIFY_SOCKET", None
        )  # jackd would tell our keeper that it is ready, and mean itself
        failed: list[OSError] = []

        def begin() -> None:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=self._log or sys.stderr,
                    stderr=self._log or sys.stderr,
                    env=environment,
                    start_new_session=True,
                )
                # It has a session of its own, and would keep the sound card for ever. Ctrl-C may come where nobody knows of it yet (in the
                # start of this thread, or on the way to who is to keep it); Python waits for this thread before it ends.
                atexit.register(self.stop)
            except OSError as error:
                failed.append(error)

        # A thread of its own, for Ctrl-C reaches the main one: in the middle of this it would leave a process that nobody knows of.
        starter = threading.Thread(target=begin)
        try:
            starter.start()
            starter.join()
            if failed:
                raise failed[0]
            deadline = time.monotonic() + 10
            while not is_running(name):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise UserError(
                        f"jackd did not start ({' '.join(command)}): {self.last_words()}"
                    )
                time.sleep(0.05)
            if (other := _listener(name)) not in (None, self.process.pid):
                raise UserError(
                    f"another jackd of this name runs already (process {other})"
                )  # ours has left, or is about to
            hold_code(self.process.pid, JACK_CODE)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # it has not begun yet
                starter.join()
            if hasattr(self, "process"):
                self.close()
            raise

    def log(self) -> str:
        if self._log is None:
            return ""
        descriptor = self._log.fileno()  # not by seek(): jackd writes where that goes
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def lost_blocks(self) -> int:
        """How often it lost patience with its clients and played a block without them, synchronous as it was; with a log only."""
        return self.log().count("SuspendRefNum error")

    def last_words(self) -> str:
        if self._log is None:
            return "see the lines above"
        lines = [line for line in self.log().splitlines() if line.strip()]
        return " / ".join(lines[-2:]) or "it said nothing"

    def alive(self) -> bool:
        return self.process.poll() is None

    def trouble(self) -> str:
        """What is wrong with it; empty if it lives and its driver runs. To be asked again and again: it compares."""
        if not self.alive():
            return f"jackd is gone, with status {self.process.returncode} ({self.last_words()})"
        now, (turns, runnable) = time.monotonic(), turns_of(self.process.pid)
        if (
            turns != self._turns or now - self._looked_s > STILL_S / 2
        ):  # in the latter case it may be us who stood still
            self._turns, self._turned_s = turns, now
        self._looked_s = now
        if now - self._turned_s > (STARVED_S if runnable else STILL_S):
            return "jackd stands still: it hangs, or its sound card is gone"
        return ""

    def close(self) -> None:
        """Stops it and forgets its log."""
        self.stop()
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """For one that may not hear a request."""
        if self.alive():
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        atexit.unregister(self.stop)


def _listener(server: str | None) -> int | None:
    """The process that is the JACK server of that name; None where that cannot be seen."""
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
    """How often the threads of a process have gone to sleep: grows with each period of a driver that waits for its card. And whether
    any of them runs or waits for a core."""
    total, runnable = 0, False
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError, TypeError):  # a thread that has just ended
            status = path.read_text()
            total += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]
            runnable = runnable or re.search(r"^State:\s*R", status, re.MULTILINE) is not None
    return total, runnable


def dummy(
    name: str,
    *,
    block_frames: int = 128,
    rate_hz: int = 48000,
    synchronous: bool = False,
    realtime: bool = False,
) -> JackServer:
    """A JACK server without a sound card, paced by a timer."""
    return JackServer(
        name,
        ["dummy"],
        block_frames=block_frames,
        rate_hz=rate_hz,
        realtime=realtime,
        synchronous=synchronous,
    )


def take_limits() -> bool:
    """Raises this process's limits of real-time priority and locked memory, for itself and those that it starts, as far as it may; True if
    JACK can have its priority then."""
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (resource.getrlimit(limit)[1],) * 2)
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(
            0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY)
        )  # the surest way to know is to try
        os.sched_setscheduler(0, *before)
    except OSError:
        return False
    return True


def connect(source: str, target: str, server: str | None = None) -> bool:
    """Connects two ports; True if they are connected now."""
    command = [_tool("jack_connect"), *(["-s", server] if server else []), source, target]
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UserError(f"{name} is missing: sudo apt-get install {TOOLS[name]}")
    return path
