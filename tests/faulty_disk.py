"""A disk that fails on demand: replaces the calls of `os` for the paths below one folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READS = ("stat", "lstat", "listdir", "scandir", "readlink", "access", "statvfs")
CHANGES = ("mkdir", "rmdir", "unlink", "rename", "replace", "link", "symlink", "chmod")
BY_DESCRIPTOR = ("fsync", "write", "pwrite", "ftruncate", "fchmod")
FILLS = ("mkdir", "link", "symlink", "fsync", "write", "pwrite")
"""The calls that a full disk refuses."""
KILLED = 137


class FaultyDisk:
    """The calls of `os` on `folder`, of which `state` says how they fail.

    | state       | what fails                                                |
    |-------------|-----------------------------------------------------------|
    | ""          | nothing                                                   |
    | "full"      | what needs space: ENOSPC                                  |
    | "read-only" | what changes something: EROFS                             |
    | "failing"   | everything: EIO                                           |
    | "locked"    | everything: EACCES, as in a folder of root                |

    `fail_after`: the number of changes that still succeed before `state` begins. `kill_after`: the
    number of changes before the process is killed; for a child process.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = os.fspath(folder)
        self.state = ""
        self.fail_after = 0
        self.kill_after: int | None = None
        for name in (*READS, *CHANGES, *BY_DESCRIPTOR, "open"):
            patch.setattr(os, name, self._replaced(name, getattr(os, name)))

    def _replaced(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(*arguments: Any, **more: Any) -> Any:
            if (self.state or self.kill_after is not None) and self._is_here(arguments, more):
                self._meet(name, arguments)
            return call(*arguments, **more)

        return replaced

    def _is_here(self, arguments: tuple[Any, ...], more: dict[str, Any]) -> bool:
        path = arguments[0] if arguments else "."
        at = more.get("dir_fd") or more.get("src_dir_fd")
        if isinstance(path, int) or at is not None:
            number = path if isinstance(path, int) else at
            try:
                path = _readlink(f"/proc/self/fd/{number}")
            except OSError:
                return False
        text = os.fsdecode(path)
        return text == self._folder or text.startswith(self._folder + "/")

    def _meet(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Raise the error of this call, or return if it succeeds."""
        creates = name == "open" and bool(arguments[1] & os.O_CREAT)
        changes = creates or name in CHANGES or name in BY_DESCRIPTOR
        if changes and self.kill_after is not None:
            if not self.kill_after:
                os._exit(KILLED)
            self.kill_after -= 1
        if changes and self.fail_after:
            self.fail_after -= 1
            return
        number = {
            "full": errno.ENOSPC if creates or name in FILLS else 0,
            "read-only": errno.EROFS if changes else 0,
            "failing": errno.EIO if not self.fail_after else 0,
            "locked": errno.EACCES if not self.fail_after else 0,
        }.get(self.state, 0)
        if number and name == "access":
            return
        if number:
            path = arguments[0]
            raise OSError(number, os.strerror(number), *([] if isinstance(path, int) else [path]))


_readlink = os.readlink
