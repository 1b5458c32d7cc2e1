"""Notify the parent of this process: systemd's protocol sd_notify(3), also used by desk.supervisor.

| message     | meaning                                                 |
|-------------|---------------------------------------------------------|
| READY=1     | the process works                                       |
| STATUS=text | its state, one line                                     |
| WATCHDOG=1  | a ping; the parent kills the process when pings stop    |
| STOPPING=1  | the process is about to exit                            |
"""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Sends notifications; has no effect without NOTIFY_SOCKET. Never blocks, never raises."""

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
        """Seconds between pings of the watchdog; 0: no watchdog."""
        self._next_ping = 0.0
        self._status, self._is_ready = "", False

    def ready(self) -> None:
        """Send READY once."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Send the status if it has changed."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    def ping(self) -> None:
        """Ping the watchdog when a ping is due. Cheap: call it in every turn of a loop."""
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
                pass  # the parent is busy or has exited
