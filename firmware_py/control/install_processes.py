"""Processes that receive and install files from the control socket. They run as the pedal's user.

The control process only starts them. They read untrusted bytes and wait for the disk.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

from firmware_py.base.log import logger
from firmware_py.base.process import nverb_command
from firmware_py.control.server import Busy, peer_uid
from firmware_py.install.activity import ACTIVITY_FD, Activity

log = logger("control")
MAX_AT_ONCE = 4
IDLE_S = 5.0
"""After this time without progress an installation gives its place to another."""


@dataclass
class _Installation:
    process: subprocess.Popen[bytes]
    uid: int
    activity: Activity

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self.activity.last()


class InstallProcesses:
    """The running install processes. Control process."""

    def __init__(self) -> None:
        self._running: list[_Installation] = []

    def start(self, connection: socket.socket) -> None:
        """Start a process on a connection, which the caller may then close. Takes 2 ms.

        When all places are taken, the least recently active one of the user with the most gives
        way if it is idle, or if root or the pedal's own user needs the place. An upload that was
        ended resumes when it is sent again. Raises Busy if none gives way, OSError if the
        process cannot start.
        """
        self._running = [each for each in self._running if each.process.poll() is None]
        uid = peer_uid(connection)
        if len(self._running) >= MAX_AT_ONCE:
            self._make_room(uid)
        activity = Activity.create()
        self._running.append(_Installation(_start(connection.fileno(), activity), uid, activity))

    def _make_room(self, uid: int) -> None:
        """Raises Busy if all installations are to go on."""
        counts = Counter(each.uid for each in self._running)
        most = max(counts.values())
        oldest = max(
            (each for each in self._running if counts[each.uid] == most),
            key=lambda each: each.idle_s,
        )
        goes_first = uid in (0, os.getuid()) and oldest.uid not in (0, os.getuid())
        if not goes_first and oldest.idle_s < IDLE_S:
            raise Busy(f"{MAX_AT_ONCE} installations are running: wait until one is done")
        log.warning("an installation without progress is ended: another needs its place")
        oldest.process.kill()
        self._running.remove(oldest)


def _start(connection: int, activity: Activity) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        nverb_command("store", "--here"),
        stdin=connection,
        stdout=connection,
        env=os.environ | {ACTIVITY_FD: str(activity.descriptor)},
        pass_fds=[activity.descriptor],
    )
