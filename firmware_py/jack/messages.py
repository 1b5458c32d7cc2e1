"""The messages of a jackd: in memory, so that no disk must be writable; read as they come."""

from __future__ import annotations

import fcntl
import os
import sys

MAX_BYTES = 2**20


class Messages:
    """jackd writes them to `file`, also while this process is busy or gone."""

    def __init__(self) -> None:
        self.file = open(os.memfd_create("nverb-jackd", os.MFD_CLOEXEC), "w+b")
        flags = fcntl.fcntl(self.file, fcntl.F_GETFL)
        fcntl.fcntl(self.file, fcntl.F_SETFL, flags | os.O_APPEND)  # so it can be truncated
        self._forwarded = 0

    def text(self) -> str:
        """All messages since the start, or since the last `forward` that dropped them."""
        descriptor = self.file.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def forward(self) -> None:
        """Print what is new to stderr. Drops old messages: a service runs for years."""
        descriptor = self.file.fileno()
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, size - self._forwarded, self._forwarded)
        complete = data.rfind(b"\n") + 1
        self._forwarded += complete
        if complete:
            sys.stderr.write(data[:complete].decode(errors="replace"))
            sys.stderr.flush()
        if self._forwarded > MAX_BYTES and self._forwarded == size:
            os.ftruncate(descriptor, 0)
            self._forwarded = 0

    def close(self) -> None:
        self.file.close()
