"""Locked memory, and how the C library treats freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h
KEPT_BYTES = 4 << 20
RETURNED_BYTES = 1 << 16


SMALL_BYTES = 768 << 20
"""Boards with less memory get compressed memory, too (systemd/zram-nverb.service)."""


def is_small() -> bool:
    """Whether this machine has less than SMALL_BYTES of memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < SMALL_BYTES


def keep_freed_memory() -> None:
    """Keep up to KEPT_BYTES of freed memory for the next room; do not return it to the kernel.

    The page faults of getting it back are a quarter of the time of a room (`nverb bench rooms`).
    The peak memory of the process is the same. Called by the control process when it starts; has
    no effect where the C library has no such setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(_MMAP_THRESHOLD, KEPT_BYTES)


def return_freed_memory() -> None:
    """Return freed memory of RETURNED_BYTES and more to the kernel at once.

    The C library raises this limit with each large block that is freed, up to 32 MB. Called by
    `nverb measure`, which runs beside the pedal; has no effect where the C library has no such
    setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, RETURNED_BYTES)


def one_arena() -> None:
    """Make all threads allocate from one heap: a second one reserves 64 MB, all of them locked.

    Called by the audio process before it starts threads; no thread allocates while sound plays.
    Has no effect where the C library has no such setting.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


_LOCK_FUTURE = 2  # mman.h


IDLE_LIBRARIES = re.compile(
    r"/lib(sndfile|vorbis|vorbisenc|ogg|opus|FLAC|mpg123|mp3lame|portaudio|portmidi|lo|asound|db"
    r"|ssl|crypto|expat|lzma|bz2|z)\b[^/]*$"
)
"""Libraries that pyo and libjack load for files, networks and other sound systems.

None of their code runs while sound plays."""


def lock_pages(except_file: os.PathLike[str]) -> bool:
    """Lock all present and future pages of this process in memory.

    Except the pages of one mapped file and the code of IDLE_LIBRARIES. Returns False if the limit
    (ulimit -l) is too low. Called by the audio process when the graph is built: a page fault in the
    callback is a click.
    """
    library = ctypes.CDLL(None)
    complete = library.mlockall(_LOCK_FUTURE) == 0
    spared = os.path.realpath(except_file)
    # Lock files first, so that a limit that is too low fails at anonymous memory. A failure at a
    # file is no error: pages mapped beyond its end, as in JACK's database, cannot be locked.
    for begin, end, access, path in sorted(
        mapped("self"), key=lambda row: not row[3].startswith("/")
    ):
        if path == spared or path.startswith("[v") or access.startswith("---"):
            continue  # the kernel's own pages ([vdso] ...) are always resident
        if "w" not in access and IDLE_LIBRARIES.search(path):
            continue
        locked = library.mlock(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin)) == 0
        complete &= locked or path.startswith("/")
    return bool(complete)


def lock_code(pid: int, files: re.Pattern[str]) -> None:
    """Keep the code of process `pid` from these files in memory, for as long as this process lives.

    For a process that does not lock its own code: a page locked by one process stays resident for
    all that map it. Has no effect without permission.
    """
    with contextlib.suppress(OSError):
        for path in sorted(
            {
                path
                for _, _, access, path in mapped(str(pid))
                if "x" in access and files.search(path)
            }
        ):
            _lock_file(path)


@functools.cache
def _lock_file(path: str) -> None:
    """Map a file and lock its pages."""
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    read, shared = 1, 1
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        address = library.mmap(
            None, ctypes.c_size_t(size), read, shared, file.fileno(), ctypes.c_long(0)
        )
    if address != ctypes.c_void_p(-1).value:
        library.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size))


def mapped(process: str) -> list[tuple[int, int, str, str]]:
    """Start, end, access and file of each mapping of a process; see proc_pid_maps(5).

    Raises OSError.
    """
    rows = [line.split(None, 5) for line in Path(f"/proc/{process}/maps").read_text().splitlines()]
    ends = [[int(end, 16) for end in row[0].split("-")] for row in rows]
    return [
        (begin, end, row[1], row[5] if len(row) > 5 else "")
        for row, (begin, end) in zip(rows, ends, strict=True)
    ]
