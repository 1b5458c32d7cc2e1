"""Writes files atomically: after a power cut, a full disk or a kill a file is the old or the new
one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of what comes with nverb: model, bank, presets."""


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True
) -> None:
    """Replace `path` atomically by what `write` writes and, if `durable`, sync it to the disk.

    The content goes to a temporary file in the same folder, which is then renamed. Its name cannot
    be guessed and it must not exist: whoever else writes to the folder can place no link there that
    leads to another file. In a shared folder (set-group-ID and group-writable) the file becomes
    group-writable. Raises OSError that names `path`; the old file stays unchanged then.
    """
    require_file(path)
    refuse_as_root(path.parent)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = temporary_name(path)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o666, dir_fd=folder), "wb") as file:
            write(file)
            file.flush()
            if is_shared(path.parent):
                os.fchmod(file.fileno(), 0o664)
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        if durable:
            os.fsync(folder)
    except OSError as error:  # a failed write names no file or the temporary one
        if error.filename in (None, temporary):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
        finally:
            os.close(folder)


def temporary_name(path: Path) -> str:
    """A new name beside `path`, hidden, that nobody can guess."""
    return f".{path.name[:48]}.{os.urandom(8).hex()}.new"


def is_shared(folder: Path) -> bool:
    """Whether several users of a group write to this folder: set-group-ID and group-writable."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def refuse_as_root(folder: Path) -> None:
    """Raises PermissionError if this is root and `folder` is in a shared folder of another user.

    Its group could put a link in root's way. See firmware_py.base.ownership.
    """
    if os.geteuid() != 0:
        return
    for part in (folder.absolute(), *folder.absolute().parents):
        with contextlib.suppress(FileNotFoundError):
            if is_shared(part) and (owner := part.stat().st_uid) != 0:
                raise PermissionError(
                    1,
                    "root does not write where a group of users may: "
                    f"run this as the owner of the folder (user {owner})",
                    os.fspath(part),
                )


def sync_folder(path: Path) -> None:
    """Sync a folder, so that files created, renamed or removed in it stay so. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def require_file(path: Path) -> None:
    """Raises OSError unless `path` is a regular file or can become one.

    A device, such as /dev/null, would be replaced by a file.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", os.fspath(path.parent))
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", os.fspath(path))
    if path.exists() and not path.is_file():
        raise OSError(22, "is a device or a pipe, not a file", os.fspath(path))


def require_space(path: Path, size: int) -> None:
    """Raises OSError if `path` cannot be written with `size` bytes. Called before long
    computations.
    """
    require_file(path)
    refuse_as_root(path.parent)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(13, "is not writable", os.fspath(path.parent))
    import shutil  # not in short commands, which import this module

    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(
            28,
            f"needs {size / 1e6:.0f} MB and {free / 1e6:.0f} MB are free: "
            "free some space or choose another place",
            os.fspath(path),
        )
