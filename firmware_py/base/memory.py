"""How the C library treats memory that is given back."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
from pathlib import Path

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
    library = ctypes.CDLL(None)
    whole = library.mlockall(_LOCK_FUTURE) == 0
    spared = os.path.realpath(except_file)
    # Files first: a limit that is too low then shows in what is no file. A file may be mapped beyond its end, as JACK's database is; that
    # cannot be locked, and is no page.
    for begin, end, access, path in sorted(
        mapped("self"), key=lambda row: not row[3].startswith("/")
    ):
        if path == spared or path.startswith("[v") or access.startswith("---"):
            continue  # the kernel's own ([vdso] ...) are always there
        if "w" not in access and IDLE_LIBRARIES.search(path):
            continue
        locked = library.mlock(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin)) == 0
        whole &= locked or path.startswith("/")
    return bool(whole)


def hold_code(pid: int, files: re.Pattern[str]) -> None:
    """Keeps in memory what process `pid` runs of these files, as long as this process lives: for one that does not do so itself. A page
    that anybody has locked stays for all who map it. Does nothing where it may not."""
    with contextlib.suppress(OSError):
        for path in sorted(
            {
                path
                for _, _, access, path in mapped(str(pid))
                if "x" in access and files.search(path)
            }
        ):
            _hold_file(path)


@functools.cache
def _hold_file(path: str) -> None:
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
    """Begin, end, access and file of all that a process maps; see proc_pid_maps(5). Raises OSError."""
    rows = [line.split(None, 5) for line in Path(f"/proc/{process}/maps").read_text().splitlines()]
    ends = [[int(end, 16) for end in row[0].split("-")] for row in rows]
    return [
        (begin, end, row[1], row[5] if len(row) > 5 else "")
        for row, (begin, end) in zip(rows, ends, strict=True)
    ]
