"""The audio process: a pyo server on JACK with the engine in its graph.

It imports only pyo and the kernel and has one Python thread. It exits, and its supervisor starts it
again, when JACK dies, hangs or changes its block size: pyo cannot survive any of these.

| exit status | meaning                                                 |
|-------------|---------------------------------------------------------|
| 0           | stopped by a signal                                     |
| 69          | no JACK server                                          |
| 75          | JACK died, hung or changed its block size: start again  |
| 78          | JACK's block size or rate is not supported              |
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from firmware_py.audio.block_size import leave_at_new_size
from firmware_py.base import boot, crashguard
from firmware_py.base.log import logger
from firmware_py.base.memory import lock_pages, one_arena
from firmware_py.base.notify import Notifier
from firmware_py.base.paths import jack_socket
from firmware_py.base.signals import stop_signals

if TYPE_CHECKING:
    from dsp._engine import Port

NO_JACK, START_AGAIN, BAD_JACK = 69, 75, 78
JACK_WAIT_S = 10.0
log = logger("audio")


class PyoServer(Protocol):
    """The methods of a pyo server that this process calls."""

    def boot(self) -> object:
        """Does not raise: see `getIsBooted`."""

    def getIsBooted(self) -> bool: ...

    def getBufferSize(self) -> float: ...

    def getSamplingRate(self) -> float: ...

    def start(self) -> object: ...

    def stop(self) -> object: ...


def run(*, client: str, inputs: int, max_ir_s: float, connect: bool, lock: bool) -> int:
    """Play until a stop signal; returns the exit status.

    client: the JACK client's name. inputs: 1 or 2. max_ir_s: of the longest IR. connect: to
    system:capture_N and system:playback_N. lock: lock the memory.
    """
    started = time.monotonic()
    # Block the signals before JACK and pyo start threads: these inherit the mask. _watch() takes
    # the signals.
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    one_arena()
    os.environ["JACK_NO_START_SERVER"] = "1"  # else boot() waits 6 s for a server to start
    from dsp.graph import Graph, jack_server, settle_memory
    from firmware_py.link import mailbox

    notifier = Notifier()
    server: PyoServer = jack_server(client, inputs, connect=connect)
    if not _boot(server, stop, notifier):
        log.error("no JACK server answers: start one (jackd -d alsa ...), or use `nverb run`")
        return NO_JACK
    block_frames, rate_hz = int(server.getBufferSize()), round(server.getSamplingRate())
    # Deaths are counted for each block size: a size that kills this process spoils no other.
    guard = crashguard.CrashGuard("audio", f"{_jack_identity()}/{block_frames}")
    if not leave_at_new_size(f"{client}-size", block_frames, guard):
        guard.blameless()
        return START_AGAIN
    if guard.crash_loop:
        why = f"the audio process died {guard.deaths} times in a row"
        log.warning(f"{why}: starting with the built-in rooms and the default controls")
        crashguard.declare_safe_start(why)
        mailbox.forget()
    try:
        port = _create_port(block_frames, rate_hz, round(max_ir_s * rate_hz), inputs)
    except (ValueError, OSError) as error:
        log.error(f"JACK runs with {block_frames} frames at {rate_hz} Hz: {error}")
        guard.blameless()
        return BAD_JACK
    log.debug("engine: %d inputs, rooms up to %.1f s", inputs, max_ir_s)
    graph = Graph(port)
    if lock and not lock_pages(except_file=mailbox.mailbox_path()):
        log.warning("memory is not locked: raise the memlock limit (LimitMEMLOCK=infinity)")
    port.lock_memory()
    settle_memory()
    server.start()
    status = _watch(server, port, stop, started, notifier, guard)
    notifier.stopping()
    if status == 0:
        guard.stable()
        server.stop()  # fades out
    else:
        guard.blameless()
    assert graph is not None  # pyo holds no reference to it: it must live until here
    return status


def _boot(server: PyoServer, stop: set[signal.Signals], notifier: Notifier) -> bool:
    """Connect to JACK, after a wait of at most JACK_WAIT_S for jackd. False if that fails."""
    with _quiet():  # at power-on this process starts before JACK, and libjack logs six lines
        server.boot()
    if not server.getIsBooted() and _wait_for_jack(stop, notifier):
        server.boot()
    return server.getIsBooted()


def _create_port(block_frames: int, rate_hz: int, max_taps: int, inputs: int) -> Port:
    """The engine's end of the mailbox. Raises ValueError or OSError."""
    from dsp._engine import PARAMS
    from firmware_py.link import mailbox

    port = mailbox.create(
        block_frames=block_frames, rate_hz=rate_hz, max_taps=max_taps, inputs=inputs
    )
    if port.params() is None:  # the control process died while it wrote them
        port.set_params({name: param.default for name, param in PARAMS.items()})
    return port


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard stdout and stderr, also of C libraries. Call it before other threads start."""
    saved = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1), os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved[0], 1), os.dup2(saved[1], 2)
        for descriptor in (*saved, null):
            os.close(descriptor)


def _jack_identity() -> str:
    """A text that differs for each start of jackd.

    Deaths are counted for each: a crash of pyo when its jackd dies must not add up.
    """
    try:
        info = os.stat(jack_socket())
        return f"{info.st_ino}.{info.st_ctime_ns}"
    except OSError:
        return "-"


def _wait_for_jack(stop: set[signal.Signals], notifier: Notifier) -> bool:
    """Wait at most JACK_WAIT_S for jackd. True when it answers, False also at a stop signal.

    Everything that a start needs is loaded by now, so sound starts at once. It connects to jackd's
    own socket, because each failed boot() logs six lines.
    """
    log.info("waiting for JACK")
    notifier.status("waiting for JACK")
    deadline = time.monotonic() + JACK_WAIT_S
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(0.5)
            try:
                knock.connect(jack_socket())
                return True
            except OSError:
                pass
        if signal.sigtimedwait(stop, 0.05) is not None:
            return False
    return False


def _watch(
    server: PyoServer,
    port: Port,
    stop: set[signal.Signals],
    started: float,
    notifier: Notifier,
    guard: crashguard.CrashGuard,
) -> int:
    """Watch that blocks keep arriving, until a stop signal or a failure. Returns the exit status.

    While blocks arrive no Python code runs: see dsp/watchdog.h.
    """
    block_frames, block_s = port.block_frames, port.block_frames / port.rate_hz
    first_block = True
    blocks, since = 0, time.monotonic()
    while True:
        if first_block:
            stopped = signal.sigtimedwait(stop, 0.02) is not None
        else:
            stopped = port.watch(stop, guard.remaining_s, notifier.address, notifier.ping_s) != 0
        if stopped:
            return 0
        # Seen here only without the second client of firmware_py.audio.block_size.
        if int(server.getBufferSize()) != block_frames:
            log.info(f"JACK changed its block size to {int(server.getBufferSize())} frames")
            return START_AGAIN
        now, seen = time.monotonic(), port.meters().blocks
        if seen != blocks:
            if first_block:
                first_block = False
                boot.note("audio")
                took_ms = 1000 * (now - started)
                log.info(f"playing {took_ms:.0f} ms after start, {round(1e6 * block_s)} us a block")
                notifier.ready()
                notifier.status(f"playing, {block_frames} frames at {port.rate_hz} Hz")
                _raise_priority()
            blocks, since = seen, now
            notifier.ping()
            guard.look()
        elif not server.getIsBooted():
            log.error("JACK is gone")
            return START_AGAIN
        elif now - since > (5 if first_block else 1):
            log.error("JACK stands still or is gone")
            return START_AGAIN


def _raise_priority() -> None:
    """Give this thread the lowest real-time priority, if permitted.

    Then ordinary load cannot delay it while it holds the GIL, which the audio thread may need. The
    threads of pyo and JACK have their own priorities by now.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(
            0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO))
        )
