"""The mailbox: the port (its layout is drawn in dsp/port.h) in a file in shared memory, between audio and control process.

The audio process makes it, for only it knows JACK's block size and rate. It makes a new file, whole, under the old name, when
either has changed; the control process sees that the file is another one and opens it anew. Both may die and come back at any
time: what the file holds is enough to go on with the same room and parameters.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from dsp import _engine
from firmware_py.base.paths import runtime_dir

IR_CHANNELS = {1: 2, 2: 4}
"""The most that an IR may have, by the engine's inputs: a slot of the mailbox has room for that, in memory that is locked."""


def mailbox_path() -> Path:
    return runtime_dir() / "mailbox"


def forget() -> None:
    """The next mailbox is a new one. Audio process, after a crash loop: whatever is in this one may have caused it."""
    mailbox_path().unlink(missing_ok=True)


def _map(path: Path) -> tuple[mmap.mmap, os.stat_result]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(descriptor, 0), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def create(*, block_frames: int, rate_hz: int, max_taps: int, inputs: int) -> _engine.Port:
    """The mailbox for this engine: the one that is there if it fits, else a new one that inherits its parameters.

    Audio process, before audio starts. Raises ValueError for a block size or length that the kernel cannot serve, OSError.
    """
    layout = _engine.plan(block_frames, max_taps, inputs)
    path = mailbox_path()
    params = None
    try:
        port = _engine.Port(_map(path)[0])
        if port.layout == layout and port.rate_hz == rate_hz:
            return port
        params = port.params()
    except (OSError, ValueError):
        pass  # none yet, or of another version: a new one
    temporary = path.with_name(f"mailbox.{os.getpid()}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, _engine.port_bytes(layout, IR_CHANNELS[inputs]))
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    port = _engine.Port(memory, layout=layout, ir_channels=IR_CHANNELS[inputs], rate_hz=rate_hz)
    if params is not None:
        port.set_params(params)
    os.replace(temporary, path)
    return port


class Mailbox:
    """The control process's end. `port` is None until the audio process has made the mailbox."""

    def __init__(self) -> None:
        self.port: _engine.Port | None = None
        self._identity: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Opens the mailbox if it is new or another one than before; True if so: everything must be written into it anew."""
        path = mailbox_path()
        try:
            info = os.stat(path)
            if (info.st_dev, info.st_ino) == self._identity:
                return False
            memory, info = _map(path)
            port = _engine.Port(memory)
        except (OSError, ValueError):
            return False
        port.recover_steering()
        self.port, self._identity = port, (info.st_dev, info.st_ino)
        return True
