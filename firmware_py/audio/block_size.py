"""JACK's word of a new block size, heard before the first block of that size is played.

pyo makes its buffers once, for the block size that JACK has then; of a larger block it writes the rest past their ends, into whatever
lies there, until the C library or the processor ends the process. jackd tells its clients of a new size one by one
(jack_set_buffer_size_callback) and plays nothing until each has answered, or 2 s are over. pyo answers that it is ready. So the audio
process has a second client, without ports or a thread in JACK's cycle, that is told, too, and ends the process instead of answering.
"""

from __future__ import annotations

import ctypes

from dsp import _engine
from firmware_py.base.memory import mapped

_NO_START_SERVER = 1  # jack/types.h: JackNoStartServer


def leave_at_new_size(client: str, block_frames: int) -> bool:
    """From now on this process ends with status 75 when JACK's block size becomes another one than `block_frames`. False if that has
    happened already. Where JACK's library gives no second client nothing is changed: the new size is then found by looking.

    client: the name of the new client. Audio process, before sound starts, with pyo's client open.
    """
    try:
        path = next(
            path for _, _, _, path in mapped("self") if "/libjack" in path
        )  # the one that pyo brought
        library = ctypes.CDLL(path)
        library.jack_client_open.restype = ctypes.c_void_p
        opened = ctypes.c_void_p(library.jack_client_open(client.encode(), _NO_START_SERVER, None))
        if not opened:
            return True
        # Not a function of Python's: the unit allows no memory that is written to and run, which ctypes may need for one.
        function, size = ctypes.c_void_p(_engine.LEAVE_AT_NEW_SIZE), ctypes.c_void_p(block_frames)
        library.jack_set_buffer_size_callback(opened, function, size)
        library.jack_activate(opened)
        return int(library.jack_get_buffer_size(opened)) == block_frames
    except (StopIteration, OSError, AttributeError):
        return True
