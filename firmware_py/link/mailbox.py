"""The mailbox: the port (layout: dsp/port.h) in a shared-memory file, between audio and control.

The audio process creates it, because only that process knows JACK's block size and rate. If either
has changed it renames a new, complete file over the old one; the control process detects the new
file and opens it. Either process may die and restart at any time: the file holds what is needed to
continue with the same room and parameters.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from pathlib import Path

from dsp import _engine
from firmware_py.base.notify import Notifier, kept_descriptor
from firmware_py.base.paths import runtime_dir

IR_CHANNELS = {1: 2, 2: 4}
"""Most channels of an IR, by inputs of the engine: the size of a slot in locked memory."""


SEARCH_S = 1.0
KEPT_NAME = "mailbox"
"""Of the descriptor that systemd keeps."""


def mailbox_path() -> Path:
    """The mailbox file in the runtime folder."""
    return runtime_dir() / "mailbox"


def forget() -> None:
    """Remove the mailbox. Audio process, after a crash loop that its content may have caused."""
    mailbox_path().unlink(missing_ok=True)


def _map(path: Path, *, keep: bool = False) -> tuple[mmap.mmap, os.stat_result]:
    """Map a mailbox. keep: let systemd keep its descriptor for the next control process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        memory = mmap.mmap(descriptor, 0)
        if keep:
            with contextlib.closing(Notifier()) as notifier:
                notifier.keep(KEPT_NAME, descriptor)
        return memory, os.fstat(descriptor)
    finally:
        os.close(descriptor)


def create(*, block_frames: int, rate_hz: int, max_taps: int, inputs: int) -> _engine.Port:
    """The mailbox for this engine: the present one if it fits, else a new one with its parameters.

    Called by the audio process before audio starts. Raises ValueError for a block size or length
    that the kernel does not support, OSError.
    """
    layout = _engine.plan(_engine.engine_frames(block_frames), max_taps, inputs)
    path = mailbox_path()
    params = None
    try:
        port = _engine.Port(_map(path)[0])
        same_host = (port.rate_hz, port.block_frames) == (rate_hz, block_frames)
        if port.layout == layout and same_host:
            return port
        params = port.params()
    except (OSError, ValueError):
        pass  # missing, or of another version: create one
    temporary = path.with_name(f"mailbox.{os.getpid()}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, _engine.port_bytes(layout, IR_CHANNELS[inputs]))
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    port = _engine.Port(
        memory,
        layout=layout,
        ir_channels=IR_CHANNELS[inputs],
        rate_hz=rate_hz,
        block_frames=block_frames,
    )
    if params is not None:
        port.set_params(params)
    os.replace(temporary, path)
    return port


def _removed(path: Path) -> Path:
    """The mailbox that an audio process still plays from, after somebody removed its file.

    systemd kept it for a service, whose processes do not see each other's files. Else Python's mmap
    keeps the file open, so /proc has it. Raises FileNotFoundError.
    """
    kept = kept_descriptor(KEPT_NAME)
    if kept is not None:
        return Path(f"/proc/self/fd/{kept}")
    for link in Path("/proc").glob("[0-9]*/fd/[0-9]*"):
        try:
            if os.readlink(link) == f"{path} (deleted)" and link.parts[2] != str(os.getpid()):
                return link
        except OSError:  # another user's process, or one that has just ended
            continue
    raise FileNotFoundError(2, "no mailbox", os.fspath(path))


class Mailbox:
    """The control process's end. `port` is None until the audio process has created the mailbox."""

    def __init__(self) -> None:
        self.port: _engine.Port | None = None
        self._identity: tuple[int, int] | None = None
        self._search_at_s = 0.0

    def refresh(self) -> bool:
        """Open the mailbox if the file has changed; True if so: the caller must write it again."""
        path = mailbox_path()
        try:
            if not path.exists():
                path = self._search(path)
            info = os.stat(path)
            if (info.st_dev, info.st_ino) == self._identity:
                return False
            memory, info = _map(path, keep=True)
            port = _engine.Port(memory)
        except (OSError, ValueError):
            return False
        port.recover_control()
        self.port, self._identity = port, (info.st_dev, info.st_ino)
        return True

    def _search(self, path: Path) -> Path:
        """Once a second while no mailbox is open: it takes some milliseconds."""
        now_s = time.monotonic()
        if self.port is not None or now_s < self._search_at_s:
            raise FileNotFoundError(2, "no mailbox", os.fspath(path))
        self._search_at_s = now_s + SEARCH_S
        return _removed(path)
