"""Notify the parent of this process: systemd's protocol sd_notify(3), also used by desk.supervisor.

| message     | meaning                                                 |
|-------------|---------------------------------------------------------|
| READY=1     | the process works                                       |
| STATUS=text | its state, one line                                     |
| WATCHDOG=1  | a ping; the parent kills the process when pings stop    |
| STOPPING=1  | the process is about to exit                            |
| FDSTORE=1   | a descriptor for the next start, see `keep`             |
"""

from __future__ import annotations

import os
import socket
import struct
import time

_FIRST_DESCRIPTOR = 3


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

    def keep(self, name: str, descriptor: int) -> None:
        """Give systemd a descriptor to keep, in the place of the last one of that name.

        The next start of this service finds it with `kept_descriptor`. The supervisor of `nverb
        run` keeps none.
        """
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._send(f"FDSTORE=1\nFDNAME={name}", descriptor)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _send(self, message: str, *descriptors: int) -> None:
        if self._socket is not None and self.address is not None:
            address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
            fds = struct.pack(f"{len(descriptors)}i", *descriptors)
            about = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if descriptors else []
            try:
                self._socket.sendmsg([message.encode()], about, socket.MSG_DONTWAIT, address)
            except OSError:
                pass  # the parent is busy or has exited


def kept_descriptor(name: str) -> int | None:
    """The descriptor of that name that an earlier start of this service gave to systemd.

    See sd_listen_fds(3).
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return _FIRST_DESCRIPTOR + names.index(name) if name in names else None
