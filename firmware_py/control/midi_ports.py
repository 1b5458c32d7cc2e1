"""Listens to MIDI ports and writes their messages to stdout. A process of its own, started by
firmware_py.control.midi_process.

A separate process, because libjack may end its process when the JACK server dies, and because it
would more than double the memory of the control process. It opens a port for other programs,
"nverb-midi:in", and connects with every MIDI port that can be read, also with those that come
later, but for its own and those that only return what others write. Lines on stdout:

| line       | meaning                                                                       |
|------------|-------------------------------------------------------------------------------|
| `03B00764` | a message: in hexadecimal the number of its port, status and two data bytes   |
| `03F8....` | a tick of MIDI clock: port, status, time, see midi_backend.clock_record        |
| `+ 3 NAME` | connected with this device, as port 3; 0 is "nverb-midi:in"                   |
| `- 3 NAME` | this device is gone                                                           |
| `! TEXT`   | why there is no MIDI                                                          |
| `~ COUNT`  | at least so many messages were lost: they came faster than they could be read |
| `.`        | alive; at least every BEAT_S                                                  |

Lines on stdin:

| line          | meaning                                                                    |
|---------------|----------------------------------------------------------------------------|
| `listen JSON` | listen only to ports whose names contain one of these texts; []: to all    |
| `out JSON`    | connect "nverb-midi:out" with ports of such names; []: all, null: none     |
| `send HEX`    | send this message                                                          |

The process exits when its stdin ends, when JACK goes away, and with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice

from firmware_py.base.stderr import keep_stderr_harmless
from firmware_py.control.midi_backend import MOST_INPUTS, OUTPUT, BackendError, MidiBackend, Peer

RECORD_DIGITS = 8
LINES_AT_ONCE, LONGEST_LINE = 16, 200
MOST_WAITING = 20_000
BEAT_S = 0.5
RESCAN_S = 1.0
"""Ports are looked at when the system announces a change; and this often, in case it does not."""
PR_SET_PDEATHSIG = 1


class Connections:
    """Keeps the backend's ports connected with those that are wanted."""

    def __init__(self, backend: MidiBackend) -> None:
        self._backend = backend
        self._listen: list[str] = []
        self._out: list[str] | None = None
        self._inputs: dict[Peer, int] = {}
        self._outputs: set[Peer] = set()

    def listen(self, names: list[str]) -> None:
        self._listen = names

    def send_to(self, names: list[str] | None) -> None:
        self._out = names

    def refresh(self) -> list[str]:
        """Connect what is not connected, forget what is gone. Returns the lines that report it."""
        there = [p for p in self._backend.peers(readable=True) if p.is_named(self._listen)]
        lines = []
        for peer in self._inputs.keys() - set(there):
            place = self._inputs.pop(peer)
            self._backend.disconnect(place, peer)
            lines.append(f"- {place} {peer.name}")
        for peer in there:  # also known ones: a short absence leaves the name and no connection
            known = self._inputs.get(peer)
            free = set(range(1, MOST_INPUTS + 1)) - set(self._inputs.values())
            place = known or min(free, default=0)
            if place and self._hear(place, peer) and known is None:
                self._inputs[peer] = place
                lines.append(f"+ {place} {peer.name}")
        self._refresh_outputs()
        return lines

    def _hear(self, place: int, peer: Peer) -> bool:
        if self._backend.is_patched(peer):
            self._backend.disconnect(place, peer)
            return True
        return self._backend.connect(place, peer)

    def _refresh_outputs(self) -> None:
        wanted = set()
        if self._out is not None:
            there = self._backend.peers(readable=False)
            wanted = {peer for peer in there if peer.is_named(self._out or [])}
        for peer in self._outputs - wanted:
            self._backend.disconnect(OUTPUT, peer)
        self._outputs = {peer for peer in wanted if self._backend.connect(OUTPUT, peer)}


class Outlet:
    """Writes lines to stdout without waiting. What the reader does not take yet waits here. Of more
    than MOST_WAITING lines, those remain that hold the last value of each controller: a flood that
    is too much for the reader takes no memory and leaves no control at an old value."""

    def __init__(self) -> None:
        os.set_blocking(1, False)
        self._waiting: deque[bytes] = deque()
        self._lost = 0

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def write(self, lines: list[str]) -> None:
        """Write lines. Raises BrokenPipeError."""
        self._waiting.extend(line.encode()[:LONGEST_LINE] + b"\n" for line in lines)
        if len(self._waiting) > MOST_WAITING:
            kept = last_values(self._waiting)
            self._lost += max(len(kept) - MOST_WAITING, 0)
            self._waiting = deque(kept, MOST_WAITING)
        self.flush()

    def take_lost(self) -> int:
        """How many lines were dropped since the last call that were no old values."""
        lost, self._lost = self._lost, 0
        return lost

    def flush(self) -> None:
        """Write what waits, as far as the reader takes it. Raises BrokenPipeError."""
        while self._waiting:
            lines = list(islice(self._waiting, LINES_AT_ONCE))
            try:  # shorter than PIPE_BUF: all of it or nothing
                os.write(1, b"".join(lines))
            except BlockingIOError:
                return
            for _ in lines:
                self._waiting.popleft()


def last_values(lines: Iterable[bytes]) -> list[bytes]:
    """The lines without messages of controllers that a later one of the same controller follows."""
    last: dict[object, bytes] = {}
    for number, line in enumerate(lines):
        is_controller = len(line) == RECORD_DIGITS + 1 and line[2:3] == b"B"
        key = line[:6] if is_controller else number
        last.pop(key, None)
        last[key] = line
    return list(last.values())


class PortsProcess:
    """The loop of the process."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._backend: MidiBackend | None = None
        self._connections: Connections | None = None
        self._names: tuple[list[str], list[str] | None] = ([], None)
        self._rest = b""
        self._next_beat = self._next_scan = 0.0
        self._complaint = ""
        self._outlet = Outlet()

    def run(self) -> int:
        """Run until stdin ends or the sound system goes away. Returns the exit status."""
        while True:
            now = time.monotonic()
            if now >= self._next_beat:
                self._next_beat = now + BEAT_S
                self._outlet.write(["."])
            if self._backend is None:
                self._open()
            if not self._serve(time.monotonic()):
                return 0

    def _open(self) -> None:
        try:
            if self._api == "jack":
                from firmware_py.control.midi_jack import JackMidi

                self._backend = JackMidi()
            else:
                from firmware_py.control.midi_alsa import AlsaMidi

                self._backend = AlsaMidi()
        except BackendError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._outlet.write([f"! {error}"])
            return
        self._outlet.write(["!"])
        self._connections = Connections(self._backend)
        self._connections.listen(self._names[0])
        self._connections.send_to(self._names[1])

    def _serve(self, now: float) -> bool:
        """Wait for news and handle them. False if stdin has ended."""
        wait_s = BEAT_S
        descriptors = [0]
        if self._backend is not None and self._connections is not None:
            if self._backend.changed() or now >= self._next_scan:
                self._next_scan = now + RESCAN_S
                self._outlet.write(self._connections.refresh())
            descriptors += self._backend.descriptors()
            # `read` has taken the wake-up of a change that came since the look above.
            if self._read(self._backend) or self._backend.changed():
                wait_s = 0.0
        self._outlet.flush()
        writable = [1] if self._outlet.is_waiting else []
        ready, _, _ = select.select(descriptors, writable, [], wait_s)
        return 0 not in ready or self._take_orders()

    def _read(self, backend: MidiBackend) -> bool:
        """Write the messages that wait, and how many were lost. Whether any waited."""
        text = backend.read().hex().upper()
        self._outlet.write(
            [text[i : i + RECORD_DIGITS] for i in range(0, len(text), RECORD_DIGITS)]
        )
        lost = backend.lost() + self._outlet.take_lost()
        if lost:
            self._outlet.write([f"~ {lost}"])
        return bool(text)

    def _take_orders(self) -> bool:
        data = os.read(0, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, text = line.decode("utf-8", "replace").partition(" ")
            if word == "send" and self._backend is not None:
                self._backend.send(bytes.fromhex(text))
            elif word == "listen":
                self._names = (json.loads(text), self._names[1])
            elif word == "out":
                self._names = (self._names[0], json.loads(text))
            if word in ("listen", "out") and self._connections is not None:
                self._connections.listen(self._names[0])
                self._connections.send_to(self._names[1])
                self._next_scan = 0.0
        return bool(data)


def main(api: str) -> int:
    """Run until the parent is gone. Returns the exit status. api: "alsa" or "jack"."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is for the parent
    try:
        return PortsProcess(api).run()
    except BackendError as error:
        Outlet().write([f"! {error}"])
        return 1
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    keep_stderr_harmless()
    status = main(sys.argv[1])
    os._exit(status)  # libjack's exit handlers may hang or crash when its server is gone
