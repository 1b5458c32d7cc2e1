"""The folders of the pedal.

| folder  | content                                          | the first of these that is set     |
|---------|--------------------------------------------------|------------------------------------|
| runtime | mailbox, socket, locks; in memory, empty at boot | $NVERB_RUNTIME_DIR,                |
|         |                                                  | $RUNTIME_DIRECTORY,                |
|         |                                                  | nverb in the user's own folder     |
|         |                                                  | ($XDG_RUNTIME_DIR, /run/user/UID), |
|         |                                                  | /dev/shm/nverb-UID                 |
| data    | banks, models, presets, profiles; the only state | $NVERB_DATA_DIR, $STATE_DIRECTORY, |
|         | that survives power-off                          | the service's folder,              |
|         |                                                  | ~/.local/share/nverb               |

The runtime folder is in a memory file system: the audio process maps the mailbox, and a page fault
of a disk file could block it. In the user's own folder nobody else can take its name first; in
/dev/shm anyone can. Without a login (cron, a chroot) there is no such folder.

If the pedal is installed as a service (systemd/), its folders are SERVICE_RUNTIME and SERVICE_DATA,
owned by user and group `nverb`. Commands of a member of the group use that pedal, unless a pedal of
the member's own is running.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from pathlib import Path
from typing import BinaryIO

import models
from dsp.errors import UserError
from models.files import write_atomically

__all__ = [
    "Lock",
    "data_dir",
    "data_path",
    "model_path",
    "running_dir",
    "runtime_dir",
    "write_atomically",
]

SERVICE_RUNTIME = Path("/run/nverb")
SERVICE_DATA = Path("/var/lib/nverb")
SHARED_MEMORY = Path("/dev/shm")
MIN_RUNTIME_BYTES = 64 << 20
"""The mailbox of the longest rooms has 45 MiB."""


def runtime_dir() -> Path:
    """The runtime folder, created (0700) if missing. Raises UserError if another user owns it."""
    named = os.environ.get("NVERB_RUNTIME_DIR") or os.environ.get("RUNTIME_DIRECTORY")
    path = Path(named) if named else _usual_runtime_dir()
    return _made(path, "NVERB_RUNTIME_DIR")


def _usual_runtime_dir() -> Path:
    """The runtime folder that no variable names: where a pedal of this user runs, else the first.

    A pedal that was started before its user logged in is in /dev/shm.
    """
    if _is_there(SERVICE_RUNTIME) and SERVICE_RUNTIME.stat().st_uid == os.getuid() != 0:
        return SERVICE_RUNTIME  # this is the service's user
    shared = SHARED_MEMORY / f"nverb-{os.getuid()}"
    private = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    try:
        # The variable is another user's after `su`, and the folder is small on a small board.
        space = os.statvfs(private)
        if not private.is_absolute() or private.stat().st_uid != os.getuid():
            return shared
        if space.f_blocks * space.f_frsize < MIN_RUNTIME_BYTES:
            return shared
    except OSError:
        return shared
    running = shared / "control.sock"
    try:
        if running.lstat().st_uid == os.getuid() == shared.lstat().st_uid:
            return shared
    except OSError:
        pass
    return private / "nverb"


def running_dir() -> Path:
    """The runtime folder of this user's running pedal, else of the service if it exists."""
    own = runtime_dir()
    if "NVERB_RUNTIME_DIR" in os.environ or (own / "control.sock").exists():
        return own
    return SERVICE_RUNTIME if _is_there(SERVICE_RUNTIME) else own


def data_dir() -> Path:
    """The data folder, created if missing. Raises UserError if it is not accessible."""
    path, is_named = data_path(), _named_data() is not None
    if is_named or path != SERVICE_DATA:
        return _made(path, "NVERB_DATA_DIR")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise UserError(
            f"{path} belongs to the pedal: "
            f"join its group ({how_to_join()}, then log in again), "
            "or name a folder of your own in NVERB_DATA_DIR"
        )
    return path


def data_path() -> Path:
    """Where the data folder is; it may be missing, unreadable or another user's. Raises nothing.

    The processes of the pedal use this one, because they must play without it.
    """
    named = _named_data()
    if named is not None:
        return named
    if _is_there(SERVICE_DATA):
        return SERVICE_DATA
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "nverb"


def _named_data() -> Path | None:
    named = os.environ.get("NVERB_DATA_DIR") or os.environ.get("STATE_DIRECTORY")
    return Path(named) if named else None


def _is_there(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(folder.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # the disk fails: it is there
        return True


def how_to_join() -> str:
    """The command that lets this user use the service and, with its second group, read its log."""
    return f"sudo usermod -aG nverb,systemd-journal {_user()}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "USER"


def model_path(name: str | Path, *, new: bool = False) -> Path:
    """The file of the model called `name` on the command line.

    A plain name is NAME.nvmodel in the data folder or else, unless `new`, among the shipped models.
    A name with a slash or a dot, or of an existing file, is a path. Raises UserError.
    """
    path = Path(name)
    if not path.name:
        raise UserError(f"{str(name)!r}: is not a name of a model")
    if path.name != str(name) or path.suffix or path.is_file():
        return path
    kept = data_dir() / "models" / f"{path.name}.nvmodel"
    shipped = Path(models.__file__).parent / "shipped" / kept.name
    return shipped if not new and shipped.exists() and not kept.exists() else kept


def _made(path: Path, variable: str) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.lstat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name another folder in {variable}") from None
    if stat.S_ISLNK(info.st_mode) or info.st_uid not in (os.getuid(), 0):
        remedy = "remove it (as root), or " if path.parent == SHARED_MEMORY else ""
        raise UserError(
            f"{path} belongs to {owner_name(info.st_uid)}: "
            f"{remedy}name another folder in {variable}"
        )
    return path


def owner_name(uid: int) -> str:
    """A user in words, for messages."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with number {uid}"


class Lock:
    """A locked file in the runtime folder: this process is the only one of its kind.

    Keep the object for the life of the process. Raises UserError if another process holds the lock;
    `what` names that process in the message.
    """

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what
        self._file = _lock(name, what)

    def keep(self) -> bool:
        """Make the folder and the file again if somebody has removed them; True if so.

        Else a second process would find nothing locked. Raises UserError if it already has.
        """
        held = os.fstat(self._file.fileno())
        try:
            now = os.lstat(_lock_path(self._name))
            if (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino):
                return False
        except FileNotFoundError:
            pass
        before, self._file = self._file, _lock(self._name, self._what)
        before.close()
        return True

    def close(self) -> None:
        self._file.close()


def _lock_path(name: str) -> Path:
    return runtime_dir() / f"{name}.lock"


def _lock(name: str, what: str) -> BinaryIO:
    path = _lock_path(name)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = open(os.open(path, flags, 0o666), "a+b")
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


def jack_socket(server: str | None = None) -> str:
    """The socket of this user's jackd of that name; None: the server of this process.

    That is the default server, or what stands in for it (firmware_py/jack/pipewire.py). See jack2,
    common/JackConstants.h and linux/JackPlatformPlug_os.h.
    """
    if server is None and (other := os.environ.get("NVERB_JACK_SOCKET")):
        return other
    name = server or os.environ.get("JACK_DEFAULT_SERVER") or "default"
    return f"{SHARED_MEMORY}/jack_{name}_{os.getuid()}_0"
