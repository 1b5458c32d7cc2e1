"""How the C library treats memory that is given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re

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


_LOCK_FUTURE = 2  # mman.h


IDLE_LIBRARIES = re.compile(
    r"/lib(sndfile|vorbis|vorbisenc|ogg|opus|FLAC|mpg123|mp3lame|portaudio|portmidi|lo|asound|db|ssl|crypto|expat|lzma|bz2|z)\b[^/]*$"
)
"""What pyo and JACK's library bring for files, networks and other sound systems: none of it runs while sound plays."""


def lock_pages(except_file: os.PathLike[str]) -> bool:
    """Reads all pages of this process in and keeps them there, those to come too, but for the pages of one mapped file and the code of
    IDLE_LIBRARIES. False if it may not: the limit is too low.

    Audio process, once everything is built: a page fault in the callback is a click.
    """
    library = ctypes.CDLL(None, use_errno=True)
    whole = library.mlockall(_LOCK_FUTURE) == 0
    spared = os.path.realpath(except_file)
    with open("/proc/self/maps") as maps:
        lines = maps.read().splitlines()
    for line in lines:
        begin, end, access, path = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)", line).groups()  # type: ignore[union-attr]
        if path == spared or path.startswith("[v") or access.startswith("---"):
            continue  # the kernel's own ([vdso] ...) are always there
        if "w" not in access and IDLE_LIBRARIES.search(path):
            continue
        address = int(begin, 16)
        whole &= library.mlock(ctypes.c_void_p(address), ctypes.c_size_t(int(end, 16) - address)) == 0
    return bool(whole)
