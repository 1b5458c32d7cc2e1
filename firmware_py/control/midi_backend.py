"""What the MIDI process needs of a sound system: ports, their connections, messages."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

CLIENT = "nverb-midi"
OUTPUT = -1
"""The place of the own output; inputs have 0, 1, ...; 0 is "in", for others to connect to."""
MOST_INPUTS = 63
_LOOP_THROUGH = re.compile(r"\bmidi[ _-]?through\b", re.IGNORECASE)


CLOCK = 0xF8
TICK_S = 1e-4
"""Unit of a clock message's time."""


def clock_record(now_s: float) -> bytes:
    """A tick of MIDI clock in place of a channel message: its status, and when it came, modulo
    2^16 units of TICK_S."""
    return bytes((CLOCK, *divmod(int(now_s / TICK_S) & 0xFFFF, 256)))


class Peer(NamedTuple):
    """A port of somebody else. A device that went and came back may have another address."""

    address: str
    name: str

    def is_named(self, words: list[str]) -> bool:
        """Whether the name contains one of these texts, in any case. No texts: any name does."""
        name = self.name.casefold()
        return not words or any(word.casefold() in name for word in words)


def is_loop_through(name: str) -> bool:
    """Whether a port only returns what other programs write to it, such as ALSA's Midi Through."""
    return _LOOP_THROUGH.search(name) is not None


class BackendError(Exception):
    """The sound system cannot be opened or is gone. The text is for the player."""


class MidiBackend(Protocol):
    """A sound system. The constructor opens it and raises BackendError."""

    def descriptors(self) -> list[int]:
        """One of them is readable when messages wait or ports or connections have changed."""

    def read(self) -> bytes:
        """The channel messages since the last call, 4 bytes each: place of the input, status and
        two data bytes (the second is 0 where there is none), or `clock_record`. Raises
        BackendError."""

    def lost(self) -> int:
        """At least so many messages were lost since the last call, because they came faster than
        they were read."""

    def send(self, message: bytes) -> None:
        """Send a channel message to all that are connected with the output."""

    def changed(self) -> bool:
        """Whether ports or connections have changed since `peers` was called."""

    def peers(self, *, readable: bool) -> list[Peer]:
        """All ports that can be read (else: written), but the own and loop-throughs."""

    def connect(self, place: int, peer: Peer) -> bool:
        """Connect the input or output at `place`. True if it is connected then."""

    def disconnect(self, place: int, peer: Peer) -> None: ...

    def is_patched(self, peer: Peer) -> bool:
        """Whether somebody else has connected the port with input 0, so that a connection with
        another input would double its messages."""
