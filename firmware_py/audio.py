"""The audio process: a pyo server on JACK with our engine in its graph. Nothing else.

Imports pyo, NumPy and the kernel only; one Python thread. It leaves (and is started again by whoever runs it) when JACK dies,
hangs or changes its block size, for pyo can do none of them alive.

| exit status | meaning                                                       |
|-------------|---------------------------------------------------------------|
| 0           | told to stop                                                  |
| 69          | no JACK server: nothing to play on yet                        |
| 75          | JACK died, stood still or changed its block size: start again |
| 78          | JACK's block size or rate cannot be served                    |
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsp._engine import Port

NO_JACK, START_AGAIN, BAD_JACK = 69, 75, 78
DEFAULT_PARAMS = {
    "gain_db": -3.0,
    "mix": 0.0,
    "predelay_ms": 0.0,
    "lowpass_on": 0.0,
    "lowpass_hz": 20000.0,
    "highpass_on": 0.0,
    "highpass_hz": 20.0,
    "bypass": 0.0,
    "trails": 1.0,
    "limiter_on": 1.0,
    "fade_ms": 50.0,
}
"""Played until the control process speaks: dry signal, never silence."""


def say(text: str) -> None:
    print(f"nverb audio: {text}", file=sys.stderr, flush=True)


def lock_memory() -> None:
    """Keeps all pages in memory, if the limits allow it: a page fault in the callback is a click."""
    libc = ctypes.CDLL(None, use_errno=True)
    current_and_future = 3
    if libc.mlockall(current_and_future) != 0:
        say("memory is not locked: raise the limit memlock (LimitMEMLOCK=infinity)")


def run(*, client: str, inputs: int, max_ir_s: float, connect: bool, lock_pages: bool) -> int:
    """Plays until told to stop; returns the exit status. `connect`: to system:capture_N and system:playback_N."""
    started = time.monotonic()
    # Blocked before JACK's and pyo's threads are made, for they inherit it: signals then wait for _watch().
    stop_signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    os.environ["JACK_NO_START_SERVER"] = "1"  # else boot() waits 6 s for a server that nobody starts
    from dsp.graph import Graph, jack_server, settle_memory
    from firmware_py import mailbox

    server = jack_server(client, inputs, connect=connect)
    server.boot()
    if not server.getIsBooted():  # boot() raises nothing
        say("no JACK server answers; start one (jackd -d alsa ...), or let `nverb run` do it")
        return NO_JACK
    block_frames, rate_hz = int(server.getBufferSize()), round(server.getSamplingRate())
    try:
        port = mailbox.create(
            block_frames=block_frames, rate_hz=rate_hz, max_taps=round(max_ir_s * rate_hz), inputs=inputs
        )
    except (ValueError, OSError) as error:
        say(f"JACK runs with {block_frames} frames at {rate_hz} Hz: {error}")
        return BAD_JACK
    if port.params() in (None, (0.0,) * len(DEFAULT_PARAMS)):
        port.set_params(list(DEFAULT_PARAMS.values()))
    graph = Graph(port)
    if lock_pages:
        lock_memory()
    settle_memory()
    server.start()
    status = _watch(server, port, stop_signals, block_frames / rate_hz, started)
    if status == 0:
        server.stop()  # fades out
    assert graph is not None  # pyo does not hold it: it must live until here
    return status


def _watch(server: Any, port: Port, stop_signals: set[signal.Signals], block_s: float, started: float) -> int:
    """Waits for a signal; looks at the engine's heartbeat meanwhile. Holds the GIL only for some microseconds each 0.1 s."""
    first_block = True
    blocks, since, measured_from = 0, time.monotonic(), (0, 0.0)
    while True:
        told = signal.sigtimedwait(stop_signals, 0.02 if first_block else 0.1)
        if told is not None:
            return 0
        now, seen = time.monotonic(), port.meters()["blocks"]
        if seen != blocks:
            if first_block:
                first_block = False
                measured_from = (seen, now)
                say(f"playing {1000 * (now - started):.0f} ms after start, {round(1e6 * block_s)} us a block")
            blocks, since = seen, now
        elif not server.getIsBooted():
            say("JACK is gone")
            return START_AGAIN
        elif now - since > (5 if first_block else 1):
            say("JACK stands still or is gone")
            return START_AGAIN
        # A changed block size shows as blocks that come at another pace. pyo would write past its buffers: leave at once.
        if not first_block and now - measured_from[1] > 0.5 and now - since < 0.2:
            pace = (seen - measured_from[0]) * block_s / (now - measured_from[1])
            if not 0.6 < pace < 1.6:
                say("JACK changed its block size or rate")
                return START_AGAIN
            measured_from = (seen, now)
