"""The audio process: a pyo server on JACK with our engine in its graph. Nothing else.

Imports pyo and the kernel only; one Python thread. It leaves (and is started again by whoever runs it) when JACK dies,
hangs or changes its block size, for pyo can do none of them alive.

| exit status | meaning                                                       |
|-------------|---------------------------------------------------------------|
| 0           | told to stop                                                  |
| 69          | no JACK server: nothing to play on yet                        |
| 75          | JACK died, stood still or changed its block size: start again |
| 78          | JACK's block size or rate cannot be served                    |
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from firmware_py.audio.block_size import leave_at_new_size
from firmware_py.base import boot, crashguard, log
from firmware_py.base.memory import lock_pages, one_arena
from firmware_py.base.notify import Notifier
from firmware_py.base.paths import jack_socket
from firmware_py.base.signals import stop_signals

if TYPE_CHECKING:
    from dsp._engine import Port

NO_JACK, START_AGAIN, BAD_JACK = 69, 75, 78
JACK_WAIT_S = 10.0


def say(text: str) -> None:
    log.say("audio", text)


def run(*, client: str, inputs: int, max_ir_s: float, connect: bool, lock: bool) -> int:
    """Plays until told to stop; returns the exit status. `connect`: to system:capture_N and system:playback_N."""
    started = time.monotonic()
    # Blocked before JACK's and pyo's threads are made, for they inherit it: signals then wait for _watch().
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    one_arena()
    os.environ["JACK_NO_START_SERVER"] = (
        "1"  # else boot() waits 6 s for a server that nobody starts
    )
    from dsp._engine import PARAMS
    from dsp.graph import Graph, jack_server, settle_memory
    from firmware_py.link import mailbox

    notifier = Notifier()
    server = jack_server(client, inputs, connect=connect)
    with (
        _quiet()
    ):  # at power-on this process is there before JACK, and libjack has six lines to say about it
        server.boot()  # raises nothing: see getIsBooted()
    if not server.getIsBooted() and _jack_comes(stop, notifier):
        server.boot()
    if not server.getIsBooted():
        say("no JACK server answers; start one (jackd -d alsa ...), or let `nverb run` do it")
        return NO_JACK
    block_frames, rate_hz = int(server.getBufferSize()), round(server.getSamplingRate())
    # Another block size is another world, too: to leave for it is no death.
    guard = crashguard.CrashGuard("audio", f"{_jack_identity()}/{block_frames}")
    if not leave_at_new_size(f"{client}-size", block_frames):
        return START_AGAIN
    if guard.crash_loop:
        why = f"the audio process died {guard.deaths} times in a row"
        say(f"{why}: starting safe")
        crashguard.declare_safe_start(why)
        mailbox.forget()
    try:
        port = mailbox.create(
            block_frames=block_frames,
            rate_hz=rate_hz,
            max_taps=round(max_ir_s * rate_hz),
            inputs=inputs,
        )
    except (ValueError, OSError) as error:
        say(f"JACK runs with {block_frames} frames at {rate_hz} Hz: {error}")
        guard.blameless()
        return BAD_JACK
    if port.params() is None:  # the control process died while it wrote them
        port.set_params({name: param.default for name, param in PARAMS.items()})
    graph = Graph(port)
    if lock and not lock_pages(except_file=mailbox.mailbox_path()):
        say("memory is not locked: raise the limit memlock (LimitMEMLOCK=infinity)")
    port.hold()
    settle_memory()
    server.start()
    status = _watch(server, port, stop, started, notifier, guard)
    notifier.stopping()
    if status == 0:
        guard.stable()
        server.stop()  # fades out
    else:
        guard.blameless()
    assert graph is not None  # pyo does not hold it: it must live until here
    return status


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What is written to stdout and stderr meanwhile, by libraries in C too, is lost. Before any other thread is made."""
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1), os.dup2(kept[1], 2)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)


def _jack_identity() -> str:
    """Another text for each jackd that was started. pyo may crash when its server dies: that is not its fault."""
    try:
        info = os.stat(jack_socket())
        return f"{info.st_ino}.{info.st_ctime_ns}"
    except OSError:
        return "-"


def _jack_comes(stop: set[signal.Signals], notifier: Notifier) -> bool:
    """Waits for jackd, at most JACK_WAIT_S; True when it answers. All that a start needs is loaded by now: sound is back at once.

    Looks for jackd's own socket, for each boot() in vain writes six lines to the log."""
    say("waiting for JACK")
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
    server: Any,
    port: Port,
    stop: set[signal.Signals],
    started: float,
    notifier: Notifier,
    guard: crashguard.CrashGuard,
) -> int:
    """Waits for a signal and sees to it that blocks come. As long as all is well Python does nothing: see dsp/watchdog.h."""
    block_frames, block_s = port.block_frames, port.block_frames / port.rate_hz
    first_block = True
    blocks, since = 0, time.monotonic()
    while True:
        if first_block:
            told = signal.sigtimedwait(stop, 0.02) is not None
        else:
            told = port.watch(stop, guard.remaining_s, notifier.address, notifier.ping_s) != 0
        if told:
            return 0
        if (
            int(server.getBufferSize()) != block_frames
        ):  # see firmware_py.audio.block_size: there was no second client
            say(f"JACK changed its block size to {int(server.getBufferSize())} frames")
            return START_AGAIN
        now, seen = time.monotonic(), port.meters().blocks
        if seen != blocks:
            if first_block:
                first_block = False
                boot.note("audio")
                say(
                    f"playing {1000 * (now - started):.0f} ms after start, {round(1e6 * block_s)} us a block"
                )
                notifier.ready()
                notifier.status(f"playing, {block_frames} frames at {port.rate_hz} Hz")
                _above_others()
            blocks, since = seen, now
            notifier.ping()
            guard.look()
        elif not server.getIsBooted():
            say("JACK is gone")
            return START_AGAIN
        elif now - since > (5 if first_block else 1):
            say("JACK stands still or is gone")
            return START_AGAIN


def _above_others() -> None:
    """The lowest real-time priority for this thread, if it may: where it must hold the GIL, no ordinary load keeps it from giving it
    back to the audio thread. Not for threads of pyo and JACK, which have theirs by now."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(
            0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO))
        )
