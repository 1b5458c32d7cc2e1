"""Exits the audio process when JACK changes its block size, before a block of the new size plays.

pyo allocates its buffers once, for the block size at start, and writes beyond their ends if a block
is larger. jackd reports a new size to each client (jack_set_buffer_size_callback) and plays nothing
until all have answered or 2 s have passed. pyo answers that it is ready. So the audio process has a
second client, without ports and without a thread in JACK's cycle, whose callback ends the process
instead of answering.
"""

from __future__ import annotations

import ctypes

from dsp import _engine
from firmware_py.base.crashguard import CrashGuard
from firmware_py.base.memory import mapped

_NO_START_SERVER = 1  # jack/types.h: JackNoStartServer


def leave_at_new_size(client: str, block_frames: int, guard: CrashGuard) -> bool:
    """Make this process exit with status 75 when JACK's block size differs from `block_frames`.

    It writes first that this exit is no crash: somebody may change the size often. False if it
    differs already. If JACK's library cannot open a second client this does nothing; the audio
    process then polls the size. client: the name of the new client. guard: of this process. The
    audio process calls it before sound starts, with pyo's client open.
    """
    try:
        # The library that pyo has loaded.
        path = next(path for _, _, _, path in mapped("self") if "/libjack" in path)
        library = ctypes.CDLL(path)
        library.jack_client_open.restype = ctypes.c_void_p
        opened = ctypes.c_void_p(library.jack_client_open(client.encode(), _NO_START_SERVER, None))
        if not opened:
            return True
        # A C function: for a Python callback ctypes may need memory that is both writable and
        # executable, which the systemd unit forbids.
        _engine.note_at_new_size(*guard.note_blameless())
        function, size = ctypes.c_void_p(_engine.LEAVE_AT_NEW_SIZE), ctypes.c_void_p(block_frames)
        library.jack_set_buffer_size_callback(opened, function, size)
        library.jack_activate(opened)
        return int(library.jack_get_buffer_size(opened)) == block_frames
    except (StopIteration, OSError, AttributeError):
        return True
