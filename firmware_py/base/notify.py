"""Tells whoever started this process how it is: systemd's notify protocol, sd_notify(3), which our own supervisor speaks, too.

| word        | means                                                     |
|-------------|-----------------------------------------------------------|
| READY=1     | it does its work                                          |
| STATUS=text | how it is, one line                                       |
| WATCHDOG=1  | it is well; kill it when this does not come for a while   |
| STOPPING=1  | it is about to leave                                      |
"""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """This process's line to its keeper; does nothing where there is none. Never waits, never raises."""

    def __init__(self) -> None:
        self.address = os.environ.get("NOTIFY_SOCKET") or None
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            if self.address
            else None
        )
        interval_s = 0.0
        try:
            if os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
                interval_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        except ValueError:
            pass
        self.ping_s = interval_s / 4
        """How often the keeper's watchdog is to be fed; 0: never."""
        self._next_ping = 0.0
        self._status, self._is_ready = "", False

    def ready(self) -> None:
        """Sends it once."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Sends it if it is news."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    def ping(self) -> None:
        """Feeds the watchdog, if there is one and it is time. Cheap: may be called in every turn of a loop."""
        if self.ping_s:
            now = time.monotonic()
            if now >= self._next_ping:
                self._next_ping = now + self.ping_s
                self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._socket is not None and self.address is not None:
            address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
            try:
                self._socket.sendto(message.encode(), socket.MSG_DONTWAIT, address)
            except OSError:
                pass  # the keeper is busy or gone; there is nobody to tell
