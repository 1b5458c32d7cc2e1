"""How the C library treats memory that is given back."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
HELD_BYTES = 4 << 20


def hold_freed_memory() -> None:
    """Keeps up to HELD_BYTES of freed memory for the next room instead of handing it back to the kernel, which gives it out again page
    by page: a quarter of the time that a room takes (`nverb bench rooms`). The most that the process holds is as before.

    Control process, at its start. Does nothing where the C library has no such setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, HELD_BYTES)
        library.mallopt(_MMAP_THRESHOLD, HELD_BYTES)
