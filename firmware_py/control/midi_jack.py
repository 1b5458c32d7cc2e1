"""MIDI through JACK, or PipeWire in its place. MIDI process."""

from __future__ import annotations

import os

from firmware_py.control import jack_midi
from firmware_py.control.midi_backend import CLIENT, BackendError, Peer, is_loop_through


class JackMidi:
    """A MidiBackend. Each device has an input of its own, so that a message which one device left
    incomplete cannot mix with those of another."""

    def __init__(self) -> None:
        os.environ["JACK_NO_START_SERVER"] = "1"
        try:
            opened = jack_midi.open(CLIENT)
        except OSError as error:
            raise BackendError(f"JACK cannot be used: {error}") from None
        if not opened:
            raise BackendError("no JACK server answers")
        self._inputs = 1
        self._lost = 0

    def descriptors(self) -> list[int]:
        return [jack_midi.wake_fd()]

    def read(self) -> bytes:
        if jack_midi.state()[2]:
            raise BackendError("JACK is gone")
        return jack_midi.read()

    def lost(self) -> int:
        before, self._lost = self._lost, jack_midi.state()[3]
        return self._lost - before

    def send(self, message: bytes) -> None:
        jack_midi.send(message)

    def changed(self) -> bool:
        return jack_midi.state()[1]

    def peers(self, *, readable: bool) -> list[Peer]:
        own = jack_midi.state()[0] + ":"
        found = []
        for names in jack_midi.ports(readable):
            mine = names[0].startswith((own, CLIENT))  # also another pedal's on this machine
            if not mine and not any(map(is_loop_through, names)):
                found.append(Peer(names[0], " = ".join(names[:2])))
        return found

    def connect(self, place: int, peer: Peer) -> bool:
        while place >= self._inputs:
            if not jack_midi.add_input():
                return False
            self._inputs += 1
        return jack_midi.connect(place, peer.address)

    def disconnect(self, place: int, peer: Peer) -> None:
        if place < self._inputs:
            jack_midi.disconnect(place, peer.address)

    def is_patched(self, peer: Peer) -> bool:
        return jack_midi.connected(0, peer.address)
