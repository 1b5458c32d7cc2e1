"""Writes files of another system that is in a folder, and never a file of this one.

Debian's etc/localtime is an absolute symlink: opened from outside, it leads to this machine's own
file. Folders are therefore opened with openat2 and RESOLVE_IN_ROOT, which resolves symlinks as the
other system would (Linux 5.6, man 2 openat2), and a file replaces a symlink of its name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from dsp.errors import UserError

_SYS_OPENAT2 = 437  # the same number on all architectures
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """struct open_how of <linux/openat2.h>."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class InRoot:
    """The files of the system in the folder `root`. Names are relative to it, as etc/hostname.

    All methods raise OSError, with the name as the system sees it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def text(self, name: str) -> str:
        """A text file of the system; "" if there is no regular file of that name."""
        try:
            descriptor = self._open(name, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
            return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else ""

    def exists(self, name: str) -> bool:
        """Whether there is something of that name; a symlink without a target does not count."""
        try:
            os.close(self._open(name, os.O_PATH))
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        """Create or replace a file, and create its folders."""
        with self._folder_of(name) as (folder, last):
            new = f".{last}.{secrets.token_hex(4)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(os.open(new, flags, mode, dir_fd=folder), "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
            os.replace(new, last, src_dir_fd=folder, dst_dir_fd=folder)

    def copy(self, source: Path, name: str) -> None:
        """Copy a file of this machine, with mode and times, or a symlink as it is."""
        with self._folder_of(name) as (folder, last):
            new = f".{last}.{secrets.token_hex(4)}"
            if source.is_symlink():
                os.symlink(os.readlink(source), new, dir_fd=folder)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with (
                    open(source, "rb") as read,
                    open(os.open(new, flags, 0o600, dir_fd=folder), "wb") as written,
                ):
                    shutil.copyfileobj(read, written, 1 << 20)
                    written.flush()
                    found = os.fstat(read.fileno())
                    os.fchmod(written.fileno(), stat.S_IMODE(found.st_mode))
                    os.utime(written.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
            os.replace(new, last, src_dir_fd=folder, dst_dir_fd=folder)

    def copy_tree(self, source: Path) -> None:
        """Copy all that is in the folder `source` over the system.

        Raises UserError for what is neither a file nor a folder nor a symlink.
        """
        for path in sorted(source.rglob("*")):  # a folder before what is in it
            name, mode = path.relative_to(source).as_posix(), path.lstat().st_mode
            if stat.S_ISDIR(mode):
                is_new = not self.exists(name)
                with self._folder(name) as folder:
                    if is_new:
                        os.fchmod(folder, stat.S_IMODE(mode))
            elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                self.copy(path, name)
            else:
                raise UserError(f"{path}: only files, folders and symlinks can be added: remove it")

    def symlink(self, name: str, target: str) -> None:
        """Create a symlink, or replace a file by it."""
        with self._folder_of(name) as (folder, last):
            new = f".{last}.{secrets.token_hex(4)}"
            os.symlink(target, new, dir_fd=folder)
            os.replace(new, last, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with self._folder_of(name) as (folder, last):
            try:
                os.unlink(last, dir_fd=folder)
            except FileNotFoundError:
                pass

    @contextmanager
    def _folder_of(self, name: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that `name` is in, and the last part of `name`."""
        path = PurePosixPath(name)
        with self._folder(path.parent.as_posix()) as folder:
            yield folder, path.name

    @contextmanager
    def _folder(self, name: str) -> Iterator[int]:
        """A descriptor of a folder, which is created with its parents if it does not exist."""
        try:
            descriptor = self._open(name, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            with self._folder_of(name) as (parent, last):
                os.mkdir(last, 0o755, dir_fd=parent)
            descriptor = self._open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY)
        try:
            resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
            how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=0, resolve=resolve)
            while (descriptor := _openat2(root, name, how)) < 0:
                number = ctypes.get_errno()
                # EAGAIN: something was renamed meanwhile, so a ".." may have led out: try again.
                if number != errno.EAGAIN:
                    raise OSError(number, os.strerror(number), f"/{name} of the system")
            return descriptor
        finally:
            os.close(root)


def _openat2(folder: int, name: str, how: _OpenHow) -> int:
    return int(
        _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(folder), os.fsencode(name),
            ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )  # fmt: skip
