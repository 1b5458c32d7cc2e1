"""Processes that receive and install files from the control socket. They run as the pedal's user.

The control process only starts them. They read untrusted bytes and wait for the disk.
"""

from __future__ import annotations

import socket
import subprocess

from dsp.errors import UserError
from firmware_py.base.process import nverb_command

MAX_AT_ONCE = 4


class InstallProcesses:
    """The running install processes. Control process."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, connection: socket.socket) -> None:
        """Start a process on a connection, which the caller may then close. Takes 2 ms.

        Raises UserError if MAX_AT_ONCE are running, OSError if it cannot start.
        """
        self._running = [process for process in self._running if process.poll() is None]
        if len(self._running) >= MAX_AT_ONCE:
            raise UserError(f"{MAX_AT_ONCE} installations are running: wait until one is done")
        number = connection.fileno()
        self._running.append(
            subprocess.Popen(nverb_command("store", "--here"), stdin=number, stdout=number)
        )
