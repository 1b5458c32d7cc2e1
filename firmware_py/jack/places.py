"""Frees the places of dead JACK servers.

A machine has eight places for JACK servers. A jackd that is killed keeps its place until a server
of the same name starts; after eight such names no server starts any more. The registry is a file in
shared memory, guarded by a System V semaphore (jack2: common/shm.h, common/shm.c).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import struct
import time
from collections.abc import Iterator
from pathlib import Path

REGISTRY = Path("/dev/shm/jack-shm-registry")
PLACES = 8
_MAGIC = 0x4A41434B
_HEADER = struct.Struct("=IHxxIiii")
"""Magic, protocol, type, size of the file, size of header and places, size of an entry."""
_SEMAPHORE_KEY = 0x282929
_SEM_UNDO, _IPC_NOWAIT = 0x1000, 0o4000
_LOCK_S = 1.0


def free_stale_places() -> int:
    """Free the places of servers whose process is gone. Returns their number. Never raises."""
    try:
        with open(REGISTRY, "r+b") as file, mmap.mmap(file.fileno(), 0) as registry:
            return _free(registry)
    except (OSError, ValueError):
        return 0


def _free(registry: mmap.mmap) -> int:
    if len(registry) < _HEADER.size:
        return 0
    magic, _, _, size, header_bytes, _ = _HEADER.unpack_from(registry)
    place_bytes = (header_bytes - _HEADER.size) // PLACES
    known = magic == _MAGIC and size == len(registry) and 4 < place_bytes < 4096
    if not known or header_bytes > size:
        return 0  # of another version of JACK
    freed = 0
    with _locked() as locked:
        for place in range(PLACES) if locked else ():
            at = _HEADER.size + place * place_bytes
            pid = struct.unpack_from("=i", registry, at)[0]
            if pid and not _is_server(pid):
                registry[at : at + place_bytes] = bytes(place_bytes)
                freed += 1
    return freed


def _is_server(pid: int) -> bool:
    """False if the process is gone, or is another program that got the number again.

    A dead one whose parent does not wait for it, as in many containers, is gone.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        if state in "ZX":
            return False
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # of another user
    return not maps or "libjack" in maps


@contextlib.contextmanager
def _locked() -> Iterator[bool]:
    """Hold JACK's semaphore; yields False if it cannot be had. It is released if we die."""
    libc = ctypes.CDLL(None)
    semaphore = libc.semget(_SEMAPHORE_KEY, 0, 0)

    def change(by: int, flags: int) -> bool:
        operation = struct.pack("=Hhh", 0, by, flags)
        return bool(libc.semop(semaphore, operation, ctypes.c_size_t(1)) == 0)

    deadline = time.monotonic() + _LOCK_S
    while not (held := semaphore != -1 and change(-1, _SEM_UNDO | _IPC_NOWAIT)):
        if semaphore == -1 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    try:
        yield held
    finally:
        if held:
            change(1, _SEM_UNDO)
