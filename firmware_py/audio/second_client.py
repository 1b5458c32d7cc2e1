"""The audio process's second client of JACK, which hears JACK's news and connects pyo's ports.

pyo allocates its buffers once, for the block size at start, and writes beyond their ends if a block
is larger. jackd reports a new size to each client (jack_set_buffer_size_callback) and plays nothing
until all have answered or 2 s have passed. pyo answers that it is ready. So the audio process has a
second client, without ports and without a thread in JACK's cycle, whose callback ends the process
instead of answering.

PipeWire reports sizes that are not played: a client is moved to another clock when it begins and
when it is connected, and hears the size which that clock had before. So the size is kept only from
`keep` on, when pyo is connected and the size has come to rest.

The same client hears of new ports (jack_set_port_registration_callback), and reports whether JACK
connected two ports. pyo does neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from dsp import _engine
from firmware_py.base.crashguard import CrashGuard
from firmware_py.base.memory import mapped

_NO_START_SERVER = 1  # jack/types.h: JackNoStartServer
_IS_INPUT, _IS_OUTPUT, _IS_PHYSICAL = 1, 2, 4  # jack/types.h: JackPortFlags
_AUDIO = b"32 bit float mono audio"  # jack/types.h: JACK_DEFAULT_AUDIO_TYPE
_EXISTS = 17  # errno.h: EEXIST, the ports are connected already


def _pyo_library() -> ctypes.CDLL:
    """The JACK library that pyo uses: a preloaded one (PipeWire's), else its own.

    Raises StopIteration, OSError.
    """
    everything = ctypes.CDLL(None)
    if hasattr(everything, "jack_client_open"):
        return everything
    return ctypes.CDLL(next(path for _, _, _, path in mapped("self") if "/libjack" in path))


class SecondClient:
    """JACK's library as pyo has loaded it, and a client of its own. Audio process, main thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client: ctypes.c_void_p | None = None

    def open(self) -> bool:
        """Connect to JACK; True if that was possible. Needs pyo loaded, and no client of it.

        If JACK's library cannot open a second client this object does nothing; the audio process
        then polls the block size.
        """
        with contextlib.suppress(StopIteration, OSError, AttributeError):
            self._open(_pyo_library())
        return self._client is not None

    def _open(self, library: ctypes.CDLL) -> None:
        library.jack_client_open.restype = ctypes.c_void_p
        library.jack_get_ports.restype = ctypes.POINTER(ctypes.c_char_p)
        library.jack_port_by_name.restype = ctypes.c_void_p
        library.jack_get_uuid_for_client_name.restype = ctypes.c_void_p
        library.jack_port_uuid.restype = ctypes.c_uint64
        client = library.jack_client_open(self._name.encode(), _NO_START_SERVER, None)
        opened = ctypes.c_void_p(client)
        if not opened:
            return
        # C functions: for a Python callback ctypes may need memory that is both writable and
        # executable, which the systemd unit forbids.
        new_size = ctypes.c_void_p(_engine.LEAVE_AT_NEW_SIZE)
        library.jack_set_buffer_size_callback(opened, new_size, None)
        new_port = ctypes.c_void_p(_engine.NOTE_PORT)
        library.jack_set_port_registration_callback(opened, new_port, None)
        library.jack_activate(opened)
        self._library, self._client = library, opened

    @property
    def block_frames(self) -> int | None:
        """JACK's block size; None without a client."""
        if self._client is None:
            return None
        return int(self._library.jack_get_buffer_size(self._client))

    @property
    def is_pipewire(self) -> bool:
        """True if PipeWire stands in for jackd."""
        if self._client is None:
            return False
        with contextlib.suppress(AttributeError):
            self._library.jack_get_version_string.restype = ctypes.c_char_p
            return b"PipeWire" in (self._library.jack_get_version_string() or b"")
        return False

    def keep(self, block_frames: int, guard: CrashGuard) -> bool:
        """Make this process exit with status 75 when JACK changes its block size.

        It writes first that this exit is no crash: somebody may change the size often. guard: of
        this process. Call before sound starts. Returns False if the size has changed already.
        """
        _engine.note_at_new_size(*guard.note_blameless())
        _engine.keep_block_size(block_frames)
        return self.block_frames in (None, block_frames)

    def capture_ports(self) -> list[str]:
        """The card's inputs, in JACK's order: `system:capture_1` and so on."""
        return self._ports_of_card(_IS_OUTPUT, "capture")

    def playback_ports(self) -> list[str]:
        """The card's outputs, in JACK's order."""
        return self._ports_of_card(_IS_INPUT, "playback")

    def _ports_of_card(self, way: int, name: str) -> list[str]:
        """Those that the environment names (firmware_py/jack/pipewire_cards.py), else the physical
        ports; where there are none, those that have the names of jackd's.

        PipeWire 1.4 does not call the ports of a virtual device physical.
        """
        if chosen := os.environ.get(f"NVERB_{name.upper()}_PORTS"):
            return list(self._ports(way, chosen.encode()))
        found = list(self._ports(_IS_PHYSICAL | way, None))
        return found or list(self._ports(way, f"^system:{name}_".encode()))

    def _ports(self, flags: int, pattern: bytes | None) -> Iterator[str]:
        if self._client is None:
            return
        flags_long = ctypes.c_ulong(flags)
        names = self._library.jack_get_ports(self._client, pattern, _AUDIO, flags_long)
        if not names:
            return
        for name in names:  # ends with NULL
            if name is None:
                break
            yield name.decode(errors="replace")
        self._library.jack_free(names)

    def identity(self, port: str) -> str:
        """Differs for each time that a port of this name is made; "" if there is none.

        jackd numbers the clients, PipeWire the ports.
        """
        if self._client is None:
            return ""
        found = self._library.jack_port_by_name(self._client, port.encode())
        if not found:
            return ""
        client = port.partition(":")[0].encode()
        text = self._library.jack_get_uuid_for_client_name(self._client, client)
        number = ctypes.string_at(text).decode() if text else ""
        if text:
            self._library.jack_free(ctypes.c_void_p(text))
        return f"{number} {self._library.jack_port_uuid(ctypes.c_void_p(found))}"

    def connect(self, source: str, target: str) -> bool:
        """Connect two ports by name. True if they are connected now."""
        if self._client is None:
            return False
        status = self._library.jack_connect(self._client, source.encode(), target.encode())
        return status in (0, _EXISTS)
