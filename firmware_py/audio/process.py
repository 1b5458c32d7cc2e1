"""The audio process: a pyo server on JACK with the engine in its graph.

It imports only pyo and the kernel and has one Python thread. It exits, and its supervisor starts it
again, when JACK dies, hangs or changes its block size: pyo cannot survive any of these. With a
block size or rate of JACK that it cannot play it says so once and waits for another one.

| exit status | meaning                                                 |
|-------------|---------------------------------------------------------|
| 0           | stopped by a signal                                     |
| 69          | no JACK server                                          |
| 75          | JACK died, hung or changed its block size: start again  |
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Protocol

from dsp import _engine
from firmware_py.audio.patchbay import Patchbay
from firmware_py.audio.second_client import SecondClient
from firmware_py.base import boot, crashguard
from firmware_py.base.limits import RATES_HZ
from firmware_py.base.log import logger
from firmware_py.base.memory import lock_pages, one_arena
from firmware_py.base.notify import Notifier
from firmware_py.base.paths import jack_socket
from firmware_py.base.port_names import engine_inputs
from firmware_py.base.service import how_to_start
from firmware_py.base.signals import stop_signals
from firmware_py.link.connections import AudioConnections, write_connections

NO_JACK, START_AGAIN = 69, 75
REFUSED_LOOK_S = 0.5
JACK_WAIT_S = 10.0
SETTLE_S, SETTLE_LIMIT_S = 0.3, 5.0
"""How long the block size of PipeWire must rest, and how long to wait for that."""
REMEDY = "`nverb settings set block_frames=256 rate_hz=48000`, or start your own jackd so"
log = logger("audio")


class PyoServer(Protocol):
    """The methods of a pyo server that this process calls."""

    def boot(self) -> object:
        """Does not raise: see `getIsBooted`."""

    def getIsBooted(self) -> bool: ...

    def getBufferSize(self) -> float: ...

    def getSamplingRate(self) -> float: ...

    def getInputAddr(self) -> str:
        """The address of its input buffer, hexadecimal."""

    def start(self) -> object: ...

    def stop(self) -> object: ...


def run(
    *, client: str, inputs: str, outputs: str, max_ir_s: float, connect: bool, lock: bool
) -> int:
    """Play until a stop signal; returns the exit status.

    client: the JACK client's name. inputs, outputs: see firmware_py.base.port_names. max_ir_s: of
    the longest IR. connect: to the card's ports. lock: lock the memory.
    """
    started = time.monotonic()
    # Before JACK and pyo start threads, which inherit the mask. _watch() takes the signals.
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    one_arena()
    os.environ["JACK_NO_START_SERVER"] = "1"  # else boot() waits 6 s for a server to start
    from dsp.graph import Graph, jack_server, settle_memory
    from firmware_py.link import mailbox

    notifier = Notifier()
    server: PyoServer = jack_server(client, engine_inputs(inputs))
    second_client = SecondClient(f"{client}-size")
    patchbay = Patchbay(second_client, client, inputs, outputs, connect=connect)
    if not _boot(server, second_client, patchbay, stop, notifier):
        return _no_jack(stop)
    block_frames, rate_hz = int(server.getBufferSize()), round(server.getSamplingRate())
    guard = _open_guard(block_frames)
    has_buffers = block_frames <= _buffer_frames(server, engine_inputs(inputs))
    if not (second_client.keep(block_frames, guard) and has_buffers):
        guard.blameless()
        return START_AGAIN
    if guard.crash_loop:
        mailbox.forget()
    try:
        port = _create_port(block_frames, rate_hz, round(max_ir_s * rate_hz), engine_inputs(inputs))
    except OSError as error:
        log.error(f"no memory to share with the control process: {error}")
        guard.blameless()
        return START_AGAIN
    except ValueError as error:
        guard.blameless()
        why = f"JACK runs with {block_frames} frames at {rate_hz} Hz: {error}"
        return _refuse(f"{why}: {REMEDY}", server, block_frames, stop, notifier)
    log.debug("engine: inputs %s, rooms up to %.1f s", inputs, max_ir_s)
    graph = Graph(port)
    if lock and not lock_pages(except_file=mailbox.mailbox_path()):
        log.warning("memory is not locked: raise the memlock limit (LimitMEMLOCK=infinity)")
    port.lock_memory()
    settle_memory()
    _report_latency(port)
    patchbay.route(graph.engine)
    server.start()
    status = _watch(server, port, stop, started, notifier, guard, patchbay)
    notifier.stopping()
    if status == 0:
        guard.stable()
        server.stop()  # fades out
    else:
        guard.blameless()
    assert graph is not None  # pyo holds no reference to it: it must live until here
    return status


def _no_jack(stop: set[signal.Signals]) -> int:
    """Report it, but not if a stop signal has ended the wait. Returns the exit status."""
    if stop & signal.sigpending():
        return 0
    log.error(f"no JACK server answers: start one (jackd -d alsa ...), or use {how_to_start()}")
    return NO_JACK


def _open_guard(block_frames: int) -> crashguard.CrashGuard:
    """The count of early deaths; in a crash loop the pedal starts safe."""
    # Deaths are counted for each block size: a size that kills this process spoils no other.
    guard = crashguard.CrashGuard("audio", f"{_jack_identity()}/{block_frames}")
    if guard.crash_loop:
        why = f"the audio process died {guard.deaths} times in a row"
        log.warning(f"{why}: starting with the built-in rooms and the default controls")
        crashguard.declare_safe_start(why)
    return guard


def _refuse(
    fault: str,
    server: PyoServer,
    block_frames: int,
    stop: set[signal.Signals],
    notifier: Notifier,
) -> int:
    """Report once that JACK cannot be played with, and wait until JACK ends or changes.

    A start would fail again for the same reason. Returns the exit status.
    """
    log.error(fault)
    write_connections(AudioConnections(faults=(fault,)))
    notifier.ready()
    notifier.status(fault)
    while True:
        if signal.sigtimedwait(stop, REFUSED_LOOK_S) is not None:
            return 0
        if not server.getIsBooted() or int(server.getBufferSize()) != block_frames:
            return START_AGAIN
        notifier.ping()


def _boot(
    server: PyoServer,
    second_client: SecondClient,
    patchbay: Patchbay,
    stop: set[signal.Signals],
    notifier: Notifier,
) -> bool:
    """Connect to JACK and the card, after a wait of at most JACK_WAIT_S for jackd. False if JACK
    does not answer.

    The second client goes first: pyo allocates buffers for the size that JACK reports, and with a
    client there PipeWire has the size that is asked for.
    """
    with _quiet():  # at power-on this process starts before JACK, and libjack logs six lines
        opened = second_client.open()
    if not opened:
        if not _wait_for_jack(stop, notifier):
            return False
        second_client.open()
    _settle(second_client, stop)
    server.boot()
    if server.getIsBooted():
        patchbay.look()
        _settle(second_client, stop, server, patchbay)
    return server.getIsBooted()


def _settle(
    second_client: SecondClient,
    stop: set[signal.Signals],
    server: PyoServer | None = None,
    patchbay: Patchbay | None = None,
) -> None:
    """Wait until the block size rests, before pyo boots and once it is connected.

    PipeWire reports other sizes first. At a stop signal it returns and leaves the signal pending.
    """
    if not second_client.is_pipewire:
        return
    now = time.monotonic()
    deadline, since, last = now + SETTLE_LIMIT_S, now, 0
    while now < min(deadline, since + SETTLE_S) and not stop & signal.sigpending():
        time.sleep(0.01)
        now, frames = time.monotonic(), second_client.block_frames or 0
        news = patchbay is not None and _engine.take_port_news()
        if news and patchbay is not None:
            patchbay.look()
        if news or frames != last or (server and int(server.getBufferSize()) != frames):
            last, since = frames, now


def _buffer_frames(server: PyoServer, inputs: int) -> int:
    """The largest block that fits in pyo's buffers. It allocates them once, and JACK's size may
    have changed since."""
    usable_bytes = ctypes.CDLL(None).malloc_usable_size
    usable_bytes.restype, usable_bytes.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    frame_bytes = inputs * ctypes.sizeof(ctypes.c_float)
    return int(usable_bytes(int(server.getInputAddr(), 16))) // frame_bytes


def _create_port(block_frames: int, rate_hz: int, max_taps: int, inputs: int) -> _engine.Port:
    """The engine's end of the mailbox. Raises ValueError or OSError."""
    from firmware_py.link import mailbox

    if rate_hz not in RATES_HZ:
        raise ValueError(f"rates of {RATES_HZ[0]} to {RATES_HZ[-1]} Hz can be played")
    port = mailbox.create(
        block_frames=block_frames, rate_hz=rate_hz, max_taps=max_taps, inputs=inputs
    )
    if port.params() is None:  # the control process died while it wrote them
        port.set_params({name: param.default for name, param in _engine.PARAMS.items()})
    return port


def _report_latency(port: _engine.Port) -> None:
    if port.added_frames:
        log.info(
            f"JACK's blocks of {port.block_frames} frames add {port.added_frames} frames "
            f"({1000 * port.added_frames / port.rate_hz:.2f} ms) of latency: multiples of 16 add "
            "none"
        )


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
    """Wait at most JACK_WAIT_S for jackd. True when it answers. At a stop signal it returns False
    and leaves the signal pending.

    Everything that a start needs is loaded by now, so sound starts at once. It connects to jackd's
    own socket, because each failed boot() logs six lines.
    """
    log.info("waiting for JACK")
    notifier.status("waiting for JACK")
    deadline = time.monotonic() + JACK_WAIT_S
    while time.monotonic() < deadline and not stop & signal.sigpending():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(0.5)
            try:
                knock.connect(jack_socket())
                return True
            except OSError:
                pass
        time.sleep(0.05)
    return False


def _watch(
    server: PyoServer,
    port: _engine.Port,
    stop: set[signal.Signals],
    started: float,
    notifier: Notifier,
    guard: crashguard.CrashGuard,
    patchbay: Patchbay,
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
        # Seen here only if SecondClient could not open.
        if int(server.getBufferSize()) != block_frames:
            log.info(f"JACK changed its block size to {int(server.getBufferSize())} frames")
            return START_AGAIN
        if _engine.take_port_news():
            patchbay.look()
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
