"""MIDI through ALSA's sequencer, by its C library. MIDI process.

The kernel parses the bytes of USB, serial and DIN devices. Its announcements say which ports come
and go. Names and numbers: alsa/seq_event.h, alsa/seq.h, alsa/seqmid.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct
import time
from collections.abc import Iterator

from firmware_py.control.midi_backend import (
    CLIENT,
    OUTPUT,
    BackendError,
    Peer,
    clock_record,
    is_loop_through,
)

_EVENT = struct.Struct("=BBBB8sBBBB12s")
"""snd_seq_event_t: type, flags, tag, queue, time, source, destination (client, port), data."""
_NOTE, _CONTROL, _ADDRESS = struct.Struct("=BBB"), struct.Struct("=B3xIi"), struct.Struct("=BB")
_DIRECT, _SUBSCRIBERS, _ANY = 253, 254, 253
_NOTE_ON, _NOTE_OFF, _CC, _PROGRAM, _PRESSURE, _BEND, _CC14, _NRPN, _RPN = (
    6,
    7,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
)
_CLOCK = 36
_CLIENT_START, _PORT_CHANGE = 60, 65
"""Announcements: client start, exit, change; port start, exit, change."""
_OPEN_DUPLEX, _NONBLOCK = 3, 1
_READ, _WRITE, _SUBS_READ, _SUBS_WRITE, _NO_EXPORT = 1, 2, 32, 64, 128
_GENERIC_APPLICATION = 1 << 1 | 1 << 20
_SYSTEM, _ANNOUNCE = 0, 1


def records(kind: int, data: bytes) -> list[bytes]:
    """The channel messages of an event, 3 bytes each: one, or those of an NRPN."""
    if kind in (_NOTE_ON, _NOTE_OFF):
        channel, note, velocity = _NOTE.unpack_from(data)
        status = 0x90 if kind == _NOTE_ON else 0x80
        return [bytes((status | channel & 15, note & 127, velocity & 127))]
    channel, number, value = _CONTROL.unpack_from(data)
    channel &= 15

    def controllers(*pairs: tuple[int, int]) -> list[bytes]:
        return [bytes((0xB0 | channel, cc, data & 127)) for cc, data in pairs]

    match kind:
        case 10:
            return controllers((number & 127, value))
        case 14 if number < 32:
            return controllers((number, value >> 7), (number + 32, value))
        case 14:
            return controllers((number & 127, value))
        case 15 | 16:
            high, low = (99, 98) if kind == _NRPN else (101, 100)
            return controllers((high, number >> 7), (low, number), (6, value >> 7), (38, value))
        case 11:
            return [bytes((0xC0 | channel, value & 127, 0))]
        case 12:
            return [bytes((0xD0 | channel, value & 127, 0))]
        case 13:
            bend = value + 8192
            return [bytes((0xE0 | channel, bend & 127, bend >> 7 & 127))]
    return []


def event_data(message: bytes) -> tuple[int, bytes] | None:
    """The type and data of the event for a message, or None for messages that we do not send."""
    channel = message[0] & 15
    match message[0] & 0xF0:
        case 0x90:
            return _NOTE_ON, struct.pack("=BBB9x", channel, message[1], message[2])
        case 0xB0:
            return _CC, _CONTROL.pack(channel, message[1], message[2])
        case 0xC0:
            return _PROGRAM, _CONTROL.pack(channel, 0, message[1])
    return None


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libasound.so.2")
    for name in ("client_info_get_name", "port_info_get_name"):
        getattr(library, f"snd_seq_{name}").restype = ctypes.c_char_p
    # Errors are returned, too: the library would write its own lines to stderr.
    return library


class AlsaMidi:
    """A MidiBackend."""

    def __init__(self) -> None:
        try:
            self._alsa = _library()
        except OSError as missing:
            raise BackendError(
                f"ALSA's library is missing ({missing}): install libasound2"
            ) from None
        self._seq = ctypes.c_void_p()
        error = self._alsa.snd_seq_open(
            ctypes.byref(self._seq), b"default", _OPEN_DUPLEX, _NONBLOCK
        )
        if error < 0:
            raise BackendError("no ALSA sequencer: run modprobe snd-seq, and join the group audio")
        self._alsa.snd_seq_set_client_name(self._seq, CLIENT.encode())
        self._alsa.snd_seq_set_client_pool_input(self._seq, 2000)  # the most that the kernel allows
        self._alsa.snd_seq_set_input_buffer_size(self._seq, 1 << 16)
        self._in = self._port(b"in", _WRITE | _SUBS_WRITE)
        self._out = self._port(b"out", _READ | _SUBS_READ)
        self._news = self._port(b"announcements", _WRITE | _NO_EXPORT)
        self._call("connect_from", self._news, _SYSTEM, _ANNOUNCE)
        self._places: dict[tuple[int, int], int] = {}
        self._changed = True
        self._lost = 0

    def _call(self, name: str, *arguments: object) -> int:
        return int(getattr(self._alsa, f"snd_seq_{name}")(self._seq, *arguments))

    def _port(self, name: bytes, capabilities: int) -> int:
        number = self._call("create_simple_port", name, capabilities, _GENERIC_APPLICATION)
        if number < 0:
            raise BackendError(f"ALSA's sequencer refuses a port: error {-number}")
        return number

    def descriptors(self) -> list[int]:
        class PollFd(ctypes.Structure):
            _fields_ = (
                ("fd", ctypes.c_int),
                ("events", ctypes.c_short),
                ("revents", ctypes.c_short),
            )

        found = (PollFd * 4)()
        count = self._call("poll_descriptors", found, 4, 1)  # POLLIN
        return [found[i].fd for i in range(max(count, 0))]

    def read(self) -> bytes:
        event, data = ctypes.c_void_p(), bytearray()
        while True:
            error = self._call("event_input", ctypes.byref(event))
            if error == -errno.EAGAIN:
                return bytes(data)
            if error == -errno.ENOSPC:
                # The kernel had no room. It drops all events that waited, also announcements, and
                # does not say how many.
                self._lost += 1
                self._changed = True
                continue
            if error < 0 or not event.value:
                raise BackendError(f"ALSA's sequencer is gone: error {-error}")
            self._take(ctypes.string_at(event.value, _EVENT.size), data)

    def _take(self, event: bytes, data: bytearray) -> None:
        kind, *_, client, port, _, target, body = _EVENT.unpack(event)
        if _CLIENT_START <= kind <= _PORT_CHANGE:
            self._changed = True
        elif target == self._in:
            place = bytes((self._places.get((client, port), 0),))
            if kind == _CLOCK:
                data += place + clock_record(time.monotonic())
            for message in records(kind, body):
                data += place + message

    def lost(self) -> int:
        lost, self._lost = self._lost, 0
        return lost

    def send(self, message: bytes) -> None:
        found = event_data(message)
        if found is None:
            return
        kind, body = found
        event = _EVENT.pack(kind, 0, 0, _DIRECT, b"", 0, self._out, _SUBSCRIBERS, _ANY, body)
        self._call("event_output_direct", ctypes.create_string_buffer(event, len(event)))

    def changed(self) -> bool:
        return self._changed

    def peers(self, *, readable: bool) -> list[Peer]:
        self._changed = False
        wanted = _READ | _SUBS_READ if readable else _WRITE | _SUBS_WRITE
        return [
            Peer(f"{client}:{port}", name)
            for client, port, name, capabilities in self._ports()
            if capabilities & wanted == wanted
            and not capabilities & _NO_EXPORT
            and client != _SYSTEM
            and not name.startswith(CLIENT)
            and not is_loop_through(name)
        ]

    def _ports(self) -> Iterator[tuple[int, int, str, int]]:
        alsa, client_info, port_info = self._alsa, ctypes.c_void_p(), ctypes.c_void_p()
        alsa.snd_seq_client_info_malloc(ctypes.byref(client_info))
        alsa.snd_seq_port_info_malloc(ctypes.byref(port_info))
        try:
            alsa.snd_seq_client_info_set_client(client_info, -1)
            while self._call("query_next_client", client_info) >= 0:
                client = alsa.snd_seq_client_info_get_client(client_info)
                device = _text(alsa.snd_seq_client_info_get_name(client_info))
                alsa.snd_seq_port_info_set_client(port_info, client)
                alsa.snd_seq_port_info_set_port(port_info, -1)
                while self._call("query_next_port", port_info) >= 0:
                    yield (
                        client,
                        alsa.snd_seq_port_info_get_port(port_info),
                        f"{device}:{_text(alsa.snd_seq_port_info_get_name(port_info))}",
                        alsa.snd_seq_port_info_get_capability(port_info),
                    )
        finally:
            alsa.snd_seq_client_info_free(client_info)
            alsa.snd_seq_port_info_free(port_info)

    def connect(self, place: int, peer: Peer) -> bool:
        client, port = map(int, peer.address.split(":"))
        if place == OUTPUT:
            error = self._call("connect_to", self._out, client, port)
        else:
            self._places[client, port] = place
            error = self._call("connect_from", self._in, client, port)
        return error in (0, -errno.EBUSY)  # busy: it is connected already

    def disconnect(self, place: int, peer: Peer) -> None:
        client, port = map(int, peer.address.split(":"))
        with contextlib.suppress(KeyError):
            if place != OUTPUT:
                del self._places[client, port]
        way, own = ("to", self._out) if place == OUTPUT else ("from", self._in)
        self._call(f"disconnect_{way}", own, client, port)

    def is_patched(self, peer: Peer) -> bool:
        return False  # all devices share the port "in", and the kernel connects a pair once


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
