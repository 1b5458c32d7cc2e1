"""Keeps a JACK server running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dsp.errors import UserError
from firmware_py.base.log import say
from firmware_py.jack.server import JackServer

RETRY_S = 0.3


class JackKeeper:
    """Keeps a JACK server running: starts it again when it dies, stands still or loses its sound card, as soon as there is one.

    `start`: starts a server; None while there is no sound card. A UserError of its is told once, and tried again.
    """

    def __init__(self, start: Callable[[], JackServer | None]) -> None:
        self._start = start
        self._starting: threading.Thread | None = None
        self._next_try_s = 0.0
        self.server: JackServer | None = None
        self.trouble = ""
        """Why there is no server; empty when one runs."""

    def tend(self) -> None:
        """One look at the server. Never waits: a start may take seconds, and happens in a thread of its own."""
        if self._starting is not None:
            if self._starting.is_alive():
                return
            self._starting = None
            self._next_try_s = time.monotonic() + RETRY_S
        if self.server is not None:
            trouble = self.server.trouble()
            if not trouble:
                return
            self._tell(f"{trouble}; starting it again")
            self.server.kill()
            self.server.close()
            self.server = None
            self._next_try_s = 0
        if time.monotonic() >= self._next_try_s:
            self._starting = threading.Thread(target=self._try, name="jackd start", daemon=True)
            self._starting.start()

    @property
    def settled(self) -> bool:
        """False while the first or another start is under way."""
        return self._starting is None

    def close(self) -> None:
        if self._starting is not None:
            self._starting.join()
        if self.server is not None:
            self.server.close()
            self.server = None

    def _try(self) -> None:
        try:
            self.server = self._start()
            self._tell("" if self.server else "waiting for a sound card that plays and records")
        except UserError as error:
            self._tell(str(error))

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            say("", trouble)
        self.trouble = trouble
