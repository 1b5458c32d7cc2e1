"""Writing files so that a power cut, a full disk or a kill leaves the old one or the new one, never half of either."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True
) -> None:
    """Replaces `path` by what `write` writes: whole or not at all, and (if `durable`) there after a power cut.

    The new content goes to a file beside it, which is renamed when it is whole. In a folder that a group shares (set-group-ID and
    writable) the group may write the file, too. Raises OSError, which names `path`; the old file is then untouched.
    """
    require_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            if is_shared(path.parent):
                os.fchmod(file.fileno(), 0o664)
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:  # a failed write has no name, and nobody knows the temporary one
        if error.filename is None or error.filename == os.fspath(temporary):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_shared(folder: Path) -> bool:
    """A folder whose files several users of a group change by turns, as the pedal's and those who look after it do on a board."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder last: what was made, renamed or removed in it is so after a power cut, too. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def require_file(path: Path) -> None:
    """Raises OSError if `path` names anything else than a file in a folder that is there. A device, such as root's /dev/null, would
    be gone once it was replaced."""
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", os.fspath(path.parent))
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", os.fspath(path))
    if path.exists() and not path.is_file():
        raise OSError(22, "is a device or a pipe, not a file", os.fspath(path))


def require_space(path: Path, size: int) -> None:
    """Raises OSError if `path` cannot be written with `size` bytes: before hours are spent on what would go there."""
    require_file(path)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(13, "may not be written to", os.fspath(path.parent))
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(
            28,
            f"needs {size / 1e6:.0f} MB and {free / 1e6:.0f} MB are free: make room, or write it elsewhere",
            os.fspath(path),
        )
