"""Remembers which JACK ports are connected to the pedal's, and connects them again after a restart
of the audio process. A process of its own, `python -m firmware_py.jack.connections CLIENT`.

The audio process connects to the sound card itself. This is for connections that a player has made
to other programs: JACK forgets them with the ports. A separate process, because libjack may end its
process when the server dies. It has no callbacks: for a Python one ctypes needs memory that is
writable and executable, which the systemd units forbid.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
from typing import Protocol

from firmware_py.base.notify import Notifier
from firmware_py.base.paths import jack_socket
from firmware_py.base.process import module_command
from firmware_py.base.signals import stop_signals
from firmware_py.base.stderr import keep_stderr_harmless

LOOK_S = 0.1
DOUBT_LOOKS = 3
"""JACK takes the connections of a client that dies before its ports: one that ends this many looks
before the client has not been removed by a player."""
RESTORE_S = 10.0
"""How long a connection that cannot be made again is tried: the other port may be restarting."""
_NO_START_SERVER, _IS_OUTPUT = 1, 2  # jack/types.h
Pair = tuple[str, str]


class PortGraph(Protocol):
    """The ports and connections of a JACK server."""

    def life(self) -> str | None:
        """Differs for each start of the pedal's client; None while there is none."""

    def ports(self) -> set[str]:
        """The names of the pedal's ports."""

    def pairs(self) -> set[Pair]:
        """Their connections: from, to."""

    def connect(self, pair: Pair) -> bool:
        """Make a connection. Returns True if it exists now."""


class Remembered:
    """The connections to make again."""

    def __init__(self, graph: PortGraph) -> None:
        self._graph = graph
        self._life: str | None = None
        self._pairs: set[Pair] = set()
        self._doubtful: dict[Pair, int] = {}
        """Connections that ended, and for how many looks it is not known why."""
        self._missing: dict[Pair, float] = {}
        """Connections to make again, and until when to try."""

    def look(self, now: float) -> None:
        """Compare with the last look. A connection that ended while its client went on was removed
        by a player; one whose client has ended is made again with the next client, also if that is
        there already."""
        life, ports, pairs = self._graph.life(), self._graph.ports(), self._graph.pairs()
        if self._graph.life() != life:
            return  # neither of one client nor of the next
        ended = self._pairs - pairs
        if life != self._life:
            until = math.inf if life is None else now + RESTORE_S
            self._missing = dict.fromkeys({*self._missing, *self._doubtful, *ended}, until)
            self._doubtful.clear()
        else:
            left = {pair: looks - 1 for pair, looks in self._doubtful.items() if looks > 1}
            self._doubtful = left | dict.fromkeys(ended, DOUBT_LOOKS)
        made = set()
        for pair in list(self._missing):
            if not set(pair) & ports:
                continue
            if pair in pairs or self._graph.connect(pair):
                made.add(pair)
            if pair in made or now > self._missing[pair]:
                del self._missing[pair]
        self._life, self._pairs = life, pairs | made


class Jack:
    """A PortGraph: the ports of `client`, by libjack."""

    def __init__(self, client: str) -> None:
        """Raises OSError if there is no libjack or no server."""
        library = ctypes.CDLL("libjack.so.0")
        for name in (
            "jack_client_open",
            "jack_get_ports",
            "jack_get_uuid_for_client_name",
            "jack_port_by_name",
            "jack_port_get_all_connections",
        ):
            getattr(library, name).restype = ctypes.c_void_p
        self._library, self._name, self._prefix = library, client.encode(), f"{client}:"
        own_name = f"{client}-connections".encode()
        self._client = ctypes.c_void_p(library.jack_client_open(own_name, _NO_START_SERVER, None))
        if not self._client:
            raise OSError("no JACK server answers")

    def life(self) -> str | None:
        found = self._library.jack_get_uuid_for_client_name(self._client, self._name)
        if not found:
            return None
        uuid = ctypes.string_at(found).decode()
        self._library.jack_free(ctypes.c_void_p(found))
        return uuid

    def ports(self) -> set[str]:
        pattern = f"^{self._prefix}".encode()
        found = self._library.jack_get_ports(self._client, pattern, None, ctypes.c_ulong(0))
        return set(self._names(found))

    def pairs(self) -> set[Pair]:
        found: set[Pair] = set()
        for own in self.ports():
            port = ctypes.c_void_p(self._library.jack_port_by_name(self._client, own.encode()))
            if port:
                is_output = self._library.jack_port_flags(port) & _IS_OUTPUT
                names = self._library.jack_port_get_all_connections(self._client, port)
                for other in self._names(names):
                    found.add((own, other) if is_output else (other, own))
        return found

    def connect(self, pair: Pair) -> bool:
        source, target = (name.encode() for name in pair)
        return self._library.jack_connect(self._client, source, target) in (0, 17)  # or EEXIST

    def _names(self, found: int | None) -> list[str]:
        """The names of a list that JACK has allocated, which this frees."""
        if not found:
            return []
        array = ctypes.cast(found, ctypes.POINTER(ctypes.c_char_p))
        names: list[str] = []
        while (name := array[len(names)]) is not None:
            names.append(name.decode(errors="surrogateescape"))
        self._library.jack_free(ctypes.c_void_p(found))
        return names


def _server_identity() -> tuple[int, int] | None:
    """A value that differs for each start of jackd; None if none runs."""
    try:
        info = os.stat(jack_socket())
    except OSError:
        return None
    return info.st_ino, info.st_ctime_ns


def main(client: str) -> int:
    """Run until a stop signal. Returns the exit status."""
    stop = stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    notifier = Notifier()
    notifier.ready()
    memory: Remembered | None = None
    server = _server_identity()
    while signal.sigtimedwait(stop, LOOK_S) is None:
        notifier.ping()
        if memory is None and (server := _server_identity()) is not None:
            try:
                memory = Remembered(Jack(client))
            except OSError:
                continue
        if memory is None:
            continue
        if _server_identity() != server:
            # Begin again: the library does not recover from the death of its server.
            command = module_command("firmware_py.jack.connections", client)
            os.execv(command[0], command)
        memory.look(time.monotonic())
    return 0


if __name__ == "__main__":
    keep_stderr_harmless()
    status = main(sys.argv[1])
    os._exit(status)  # libjack's exit handlers may hang when its server is gone
