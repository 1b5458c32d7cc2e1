"""The way from the card's outputs to its inputs, as a JACK client that has it for itself.

What else is connected to the card is disconnected meanwhile, the pedal too, and connected again at
the end by a process of its own (`firmware_py.measure.guard`): also when this one is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dsp.errors import UserError
from firmware_py.base.process import module_command
from firmware_py.base.service import how_to_start
from firmware_py.desk.player import CONNECTING_S, count_xruns, play_blocks
from models.packages import studio_import

Floats = NDArray[np.float32]
Pair = tuple[str, str]

STALLED_S = 5.0
"""Without a block for this time JACK does not play."""
READY_S = 20.0
LOOKS = 20
NOTHING: Floats = np.zeros((0, 0), np.float32)
CLOSING_S = 5.0
EXIT_S = 2


class TakeLost(Exception):
    """JACK lost a block, or something was connected: the take is to be repeated."""


class Loop(Protocol):
    """From outputs to inputs."""

    rate_hz: int

    def take(self, sound: Floats) -> Floats:
        """Play `sound`, (outputs, frames), and return what comes back: (inputs, frames).

        Raises TakeLost, UserError.
        """


class JackLoop:
    """A Loop of JACK ports. Use `open_loop`."""

    def __init__(self, client: Any, outputs: Sequence[str], inputs: Sequence[str]) -> None:
        """Raises jack.JackError, UserError for a port that is not there."""
        self._client, self._outputs, self._inputs = client, list(outputs), list(inputs)
        self.rate_hz = int(client.samplerate)
        self._out = [client.outports.register(f"out_{n + 1}") for n in range(len(outputs))]
        self._in = [client.inports.register(f"in_{n + 1}") for n in range(len(inputs))]
        self._sound = self._recording = NOTHING
        self._at = self._frames = self._cycles = self._faults = 0
        self._expected: int | None = None
        self._xruns = count_xruns(client)
        play_blocks(client, self._process)
        client.activate()
        try:
            for own, port in zip(self._out, outputs, strict=True):
                client.connect(own, port)
            for port, own in zip(inputs, self._in, strict=True):
                client.connect(port, own)
        except studio_import("jack").JackError as error:
            raise UserError(f"{error}: `jack_lsp` lists the ports") from None
        self._settle()

    def _settle(self) -> None:
        """JACK answers before connections are active, and activates them one by one."""
        cycles, until = self._cycles, time.monotonic() + CONNECTING_S
        while time.monotonic() < until or self._cycles - cycles < 16:
            if time.monotonic() > until + STALLED_S:
                raise UserError("JACK plays no blocks: `nverb logs` shows why")
            time.sleep(0.01)

    def _process(self, frames: int) -> None:
        self._cycles += 1
        now = self._client.last_frame_time
        if self._expected is not None and now != self._expected:
            self._faults += 1
        self._expected = (now + frames) % (1 << 32)
        at, left = self._at, min(self._frames - self._at, frames)
        for number, port in enumerate(self._out):
            block = port.get_array()
            block[:] = 0
            if left > 0:
                block[:left] = self._sound[number, at : at + left]
        if left > 0:
            for number, port in enumerate(self._in):
                self._recording[number, at : at + left] = port.get_array()[:left]
            self._at = at + left

    def take(self, sound: Floats) -> Floats:
        """See Loop."""
        self._require_alone()
        recording = np.zeros((len(self._in), sound.shape[1]), np.float32)
        self._frames = self._at = 0
        self._sound, self._recording = sound, recording
        self._faults, xruns = 0, self._xruns()
        self._frames = sound.shape[1]  # last: from now on it plays
        at, since = 0, time.monotonic()
        while self._at < self._frames:
            if self._at != at:
                at, since = self._at, time.monotonic()
            if time.monotonic() - since > STALLED_S:
                raise UserError("JACK plays no blocks any more: `nverb logs` shows why")
            time.sleep(0.02)
        self._frames = 0  # first: from now on neither is used
        self._sound = self._recording = NOTHING
        if self._faults or self._xruns() != xruns:
            raise TakeLost("JACK lost a block (xrun)")
        self._require_alone()
        return recording

    def _require_alone(self) -> None:
        """Disconnect what was connected meanwhile. Raises TakeLost then."""
        ours = {port.name for port in (*self._out, *self._in)}
        strangers = [
            pair for pair in connections(self._client, self._ports()) if not set(pair) & ours
        ]
        for pair in strangers:
            with contextlib.suppress(studio_import("jack").JackError):
                self._client.disconnect(*pair)
        if strangers:
            self._settle()
            raise TakeLost(f"{strangers[0][0]} was connected to {strangers[0][1]}")

    def _ports(self) -> list[str]:
        return [*card_ports(self._client), *self._outputs, *self._inputs]


def card_ports(client: Any) -> list[str]:
    """The names of all ports of cards."""
    return [port.name for port in client.get_ports(is_audio=True, is_physical=True)]


def connections(client: Any, ports: Sequence[str]) -> list[Pair]:
    """The connections of these ports: from, to. Looks again while ports come and go: one that is
    overlooked would not be connected again. Raises jack.JackError."""
    client_library = studio_import("jack")
    for attempt in range(LOOKS):
        found: set[Pair] = set()
        try:
            for name in ports:
                port = client.get_port_by_name(name)
                for other in client.get_all_connections(port):
                    found.add((name, other.name) if port.is_output else (other.name, name))
            return sorted(found)
        except client_library.JackError:
            if attempt == LOOKS - 1:
                raise
            time.sleep(0.05)
    return []


@contextlib.contextmanager
def open_loop(
    outputs: Sequence[str], inputs: Sequence[str], server: str | None = None
) -> Iterator[JackLoop]:
    """The loop between ports, which are numbers of the card's ports from 1, or names.

    Raises UserError: no server, no such port.
    """
    client = _open_client(server)
    try:
        to = [_port(client, name, "playback", is_input=True) for name in outputs]
        sources = [_port(client, name, "capture", is_output=True) for name in inputs]
        ports = [*card_ports(client), *to, *sources]
        with _aside(client, connections(client, ports)):
            yield JackLoop(client, to, sources)
    finally:  # after the pedal is connected again: it does not wait for libjack
        if not ends_within(client.deactivate, CLOSING_S) or not ends_within(
            client.close, CLOSING_S
        ):
            atexit.register(limit_exit)


def ends_within(call: Callable[[], object], seconds: float) -> bool:
    """Call it; False if it does not return in time, and goes on in a thread of its own.

    jack_client_close was once seen to wait for ever: what was measured must not be lost with it.
    """
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def limit_exit() -> None:
    """End the process by SIGALRM if it does not end by itself: the exit handlers of a libjack that
    hangs may hang, too."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(EXIT_S)


def _open_client(server: str | None) -> Any:
    client_library = studio_import("jack")
    client_library.set_error_function(lambda _: None)
    try:
        return client_library.Client(
            f"nverb-measure-{os.getpid()}", servername=server, no_start_server=True
        )
    except client_library.JackError:
        raise UserError(f"no JACK server answers: start the pedal, {how_to_start()}") from None
    finally:
        client_library.set_error_function()


def _port(client: Any, name: str, kind: str, **way: bool) -> str:
    if not name.isdecimal():
        return name
    there = client.get_ports(is_audio=True, is_physical=True, **way)
    if not 1 <= int(name) <= len(there):
        raise UserError(
            f"no {kind} port {name}: the card has {len(there)}; `jack_lsp` lists all, and "
            "CLIENT:PORT names one"
        )
    return str(there[int(name) - 1].name)


@contextlib.contextmanager
def _aside(client: Any, pairs: Sequence[Pair]) -> Iterator[None]:
    """Disconnect these, and connect them again at the end."""
    guard = subprocess.Popen(
        module_command("firmware_py.measure.guard"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is not for it
    )
    assert guard.stdin is not None and guard.stdout is not None
    try:
        ready = select.select([guard.stdout], [], [], READY_S)[0]
        if not ready or guard.stdout.readline() != b"ready\n":
            raise UserError("the process that connects the pedal again does not start")
        guard.stdin.write(b"".join(json.dumps(pair).encode() + b"\n" for pair in pairs))
        guard.stdin.flush()
        for pair in pairs:
            client.disconnect(*pair)
        yield
    finally:
        with contextlib.suppress(OSError):
            guard.stdin.close()
        try:
            failed = guard.wait(READY_S) != 0
        except subprocess.TimeoutExpired:
            failed = True
        guard.stdout.close()
        if failed:
            guard.kill()
            for pair in pairs:
                with contextlib.suppress(studio_import("jack").JackError):
                    client.connect(*pair)
