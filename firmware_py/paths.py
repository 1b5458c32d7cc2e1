"""Where the pedal keeps things.

| folder  | holds                                            | first of                                                        |
|---------|--------------------------------------------------|-----------------------------------------------------------------|
| runtime | mailbox, socket, locks; in memory, gone at boot  | $NVERB_RUNTIME_DIR, $RUNTIME_DIRECTORY, /dev/shm/nverb-UID       |
| data    | banks, models, presets, profiles; the only state | $NVERB_DATA_DIR, $STATE_DIRECTORY, ~/.local/share/nverb         |

The runtime folder lies in a memory file system: the audio process maps the mailbox, and a page of a disk file could make it wait.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from firmware_py.errors import UserError
from models.files import write_atomically

__all__ = ["data_dir", "lock", "runtime_dir", "write_atomically"]


def runtime_dir() -> Path:
    """The runtime folder, made (0700) if it is not there. Raises UserError if it belongs to somebody else."""
    named = os.environ.get("NVERB_RUNTIME_DIR") or os.environ.get("RUNTIME_DIRECTORY")
    path = Path(named) if named else Path("/dev/shm") / f"nverb-{os.getuid()}"
    return _made(path, "NVERB_RUNTIME_DIR")


def data_dir() -> Path:
    """The data folder, made if it is not there."""
    named = os.environ.get("NVERB_DATA_DIR") or os.environ.get("STATE_DIRECTORY")
    path = Path(named) if named else Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "nverb"
    return _made(path, "NVERB_DATA_DIR")


def _made(path: Path, variable: str) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name another folder in {variable}") from None
    if info.st_uid not in (os.getuid(), 0) or path.is_symlink():
        raise UserError(f"{path} belongs to somebody else; name another folder in {variable}")
    return path


def lock(name: str, what: str) -> BinaryIO:
    """Takes the lock file `name` in the runtime folder for the life of the process; the file object must be kept.

    Raises UserError if another process holds it: `what` says in the message who that is.
    """
    path = runtime_dir() / f"{name}.lock"
    file = open(path, "a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read(32).decode("ascii", "replace").strip() or "unknown"
        file.close()
        raise UserError(
            f"{what} is already running (process {owner}); stop it first, or set NVERB_RUNTIME_DIR"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file
