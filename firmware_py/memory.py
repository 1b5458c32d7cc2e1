"""How the C library treats memory that is given back."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h
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


def one_arena() -> None:
    """All threads take memory from one heap: another one reserves 64 MB, which count as locked where memory is.

    Audio process, before it has threads: none of them takes memory while sound plays. Does nothing where there is no such setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
