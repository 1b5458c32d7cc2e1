"""Names that JACK needs in /dev/shm and that another user has taken.

/dev/shm is open to all users, and JACK's names there can be guessed. The private /dev/shm of the
service (systemd/) is not affected.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from firmware_py.base.paths import SHARED_MEMORY, jack_socket, owner_name
from models.reading import open_regular

REGISTRY = "jack-shm-registry"
REMEDY = "remove what is there (as root) and try again"
MAGIC = struct.pack("I", 0x4A41434B)


def taken_names(server: str | None, folder: Path = SHARED_MEMORY) -> str:
    """Names that another user has taken so that JACK cannot start, in words; "" if none.

    server: the name of the JACK server; None: the default one. Every user's first jackd makes the
    registry for all users; it is in the way only if it is no file that this user may write.
    """
    uid = os.getuid()
    own = (
        f"jack-{uid}",
        f"jack_db-{uid}",
        f"sem.jack_sem.{uid}_",
        Path(jack_socket(server)).name.removesuffix("0"),
    )
    found = []
    for name in sorted(_names(folder)):
        try:
            info = (folder / name).lstat()
        except OSError:
            continue
        if info.st_uid == uid:
            continue
        if name.startswith(own) or (name == REGISTRY and not _is_usable(folder / name)):
            found.append(f"{folder / name} of {owner_name(info.st_uid)}")
    if not found:
        return ""
    return f"in JACK's way: {', '.join(found[:3])}"


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if "jack" in name]
    except OSError:
        return []


def _is_usable(path: Path) -> bool:
    """Whether the registry is one that this user may use: see jack_shm_header_t, jack2's shm.h."""
    try:
        descriptor = open_regular(path, follow=False)
    except OSError:
        return False
    try:
        return os.access(path, os.R_OK | os.W_OK) and os.read(descriptor, 4) in (MAGIC, b"")
    finally:
        os.close(descriptor)
