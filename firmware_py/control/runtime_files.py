"""What the control process has in the runtime folder, made again when somebody removes it.

logind removes a user's own folder when the user logs out, and with RemoveIPC=yes files of the user
in /dev/shm. The sound goes on: the audio process has the mailbox open.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from firmware_py.base.log import logger
from firmware_py.base.paths import Lock, runtime_dir
from firmware_py.control.server import Server

log = logger("control")
CHECK_S = 1.0


class RuntimeFiles:
    """The lock, the socket and the session, looked at once a second.

    `save_session`: writes the session again.
    """

    def __init__(self, lock: Lock, server: Server, save_session: Callable[[], object]) -> None:
        self._lock, self._server, self._save_session = lock, server, save_session
        self._next_check_s = 0.0

    def keep(self) -> None:
        """Make again what is missing. Raises UserError, OSError if that fails."""
        if time.monotonic() < self._next_check_s:
            return
        self._next_check_s = time.monotonic() + CHECK_S
        again = self._lock.keep()
        if self._server.keep() or again:
            log.warning(f"somebody removed {runtime_dir()}, or files of it: made them again")
            self._save_session()
