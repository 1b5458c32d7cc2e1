"""Keeps a JACK server running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dsp.errors import UserError
from firmware_py.base.log import logger
from firmware_py.jack import report
from firmware_py.jack.cards import NoCard
from firmware_py.jack.server import JackServer

log = logger()
RETRY_S = 0.3


class JackKeeper:
    """Restarts a JACK server when it dies, stalls or loses its sound card.

    `start`: starts a server. Its UserError is logged once, and the start is retried every RETRY_S;
    NoCard means that the sound card may come.
    """

    def __init__(self, start: Callable[[], JackServer]) -> None:
        self._start = start
        self._starting: threading.Thread | None = None
        self._next_try_s = 0.0
        self.server: JackServer | None = None
        self.trouble = ""
        """Why there is no server; empty while one is running."""

    def start(self) -> None:
        """Start the server now. Raises UserError."""
        self.server = self._start()
        self._report("")

    def tend(self) -> None:
        """Check the server once. Never blocks: a start may take seconds, so it runs in a thread."""
        if self._starting is not None:
            if self._starting.is_alive():
                return
            self._starting = None
            self._next_try_s = time.monotonic() + RETRY_S
        if self.server is not None:
            trouble = self.server.trouble()
            if not trouble:
                return
            self._report(f"{trouble}; restarting it")
            self.server.kill()
            self.server.close()
            self.server = None
            self._next_try_s = 0
        if time.monotonic() >= self._next_try_s:
            self._starting = threading.Thread(target=self._try, name="jackd start", daemon=True)
            self._starting.start()

    @property
    def settled(self) -> bool:
        """False while a start is in progress."""
        return self._starting is None

    def close(self) -> None:
        if self._starting is not None:
            self._starting.join()
        if self.server is not None:
            self.server.close()
            self.server = None

    def _try(self) -> None:
        try:
            self.start()
        except NoCard as error:
            self._report(f"waiting for a sound card: {error}")
        except UserError as error:
            self._report(str(error))

    def _report(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning(trouble)
        self.trouble = trouble
        if self.server is not None and not trouble:
            report.write(self.server.report)
        elif trouble:
            report.write(report.new("jackd", trouble=trouble))
