"""Processes that install files on behalf of whoever asks at the control socket, as the pedal's own user.

The control process only starts them: they read the bytes, which may be anything from anybody in the pedal's group, and they are
what waits for the disk.
"""

from __future__ import annotations

import socket
import subprocess

from dsp.errors import UserError
from firmware_py.base.process import command

MAX_AT_ONCE = 4


class StoreKeepers:
    """Control process."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, connection: socket.socket) -> None:
        """Starts one on a connection, which may then be closed here: 2 ms. Raises UserError if there are too many, OSError."""
        self._running = [process for process in self._running if process.poll() is None]
        if len(self._running) >= MAX_AT_ONCE:
            raise UserError(f"{MAX_AT_ONCE} installations are running: wait until one is done")
        number = connection.fileno()
        self._running.append(
            subprocess.Popen(command("store", "--here"), stdin=number, stdout=number)
        )
