"""Runs the pedal's processes and restarts those that die: JACK (if we started it), audio, control.

On a board systemd does this (systemd/). `nverb run`, the demo and the tests use this module, with
the same guarantees: a dead process is restarted, and a hanging one (no message on its notify socket
for WATCHDOG_S) is killed first. Each process can be killed at any time; the others continue. If
this process is killed, the kernel ends them.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dsp.errors import UserError, reason
from firmware_py.base.log import logger
from firmware_py.base.paths import Lock, jack_socket, runtime_dir
from firmware_py.base.process import ends_with_parent
from firmware_py.base.signals import stop_signals
from firmware_py.jack.keeper import JackKeeper
from firmware_py.jack.server import JackServer

log = logger()
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: unix(7)
WATCHDOG_S = {"audio": 1.5, "control": 15.0, "connections": 30.0}
"""As in the units. control: loading a model takes long, and a hang is not audible. connections: it
waits for a jackd that hangs."""
START_S = 60.0
"""Longest time until a process is ready."""
LONGEST_PAUSE_S = 1.0
"""Longest pause before a restart."""
KEEP_S = 1.0
"""Period of the look whether the runtime folder still exists."""
STABLE_S = 5.0
"""A process that lived longer is restarted without a pause."""


@dataclass
class Child:
    """A process to keep running. The pause before a restart doubles while it keeps dying early."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    inherit_stdin: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = 0.0
    starts: int = 0

    notify: socket.socket | None = None
    heard: float = 0.0
    tended: float = 0.0
    ready: bool = False
    killed: bool = False

    def tend(self, now: float) -> None:
        """Restart the process if it is dead and its pause is over; kill it if it hangs."""
        if self.process is not None:
            self._listen(now)
            status = self.process.poll()
            if status is None:
                patience_s = WATCHDOG_S.get(self.name, START_S) if self.ready else START_S
                if now - self.tended > patience_s / 2:
                    self.heard = now  # this process may have been suspended
                self.tended = now
                if now - self.heard > patience_s and not self.killed:
                    self.killed = True
                    log.warning(f"{self.name} hangs; killing it")
                    self.process.kill()
                return
            lived = now - self.started
            self.process = None
            self.pause_s = (
                0.0 if lived > STABLE_S else min(max(2 * self.pause_s, 0.1), LONGEST_PAUSE_S)
            )
            why = f"killed by signal {-status}" if status < 0 else f"exited with status {status}"
            log.warning(f"{self.name} {why}; restarting it")
            self.started = now
        if now - self.started >= self.pause_s or self.starts == 0:
            self.process = subprocess.Popen(
                ends_with_parent(self.command),
                stdin=None if self.inherit_stdin else subprocess.DEVNULL,
                env=os.environ | self.environment | self._notify_environment(),
            )
            self.started = self.heard = now
            self.ready = self.killed = False
            self.starts += 1
            log.debug("%s is process %d: %s", self.name, self.process.pid, " ".join(self.command))

    def _notify_environment(self) -> dict[str, str]:
        """A new notify socket for each start, so messages of a dead process are not read.

        Its name is abstract and chosen by the kernel: nobody can take it first, and it does not
        vanish with the runtime folder.
        """
        if self.notify is not None:
            self.notify.close()
        self.notify = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.notify.bind("")
        address = "@" + self.notify.getsockname()[1:].decode()
        watchdog_us = round(1e6 * WATCHDOG_S.get(self.name, 0))
        return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": f"{watchdog_us}"}

    def _listen(self, now: float) -> None:
        """Read the notifications. Other users can send to an abstract name: ignore theirs."""
        while self.notify is not None:
            try:
                message, about, _, _ = self.notify.recvmsg(
                    4096, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                return
            if not any(_CREDENTIALS.unpack(data)[1] == os.getuid() for _, _, data in about):
                continue
            self.heard = now
            self.ready = self.ready or b"READY=1" in message

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def join(self, timeout_s: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.notify is not None:
            self.notify.close()


class Supervisor:
    """Runs the processes `children` and, if `start_jack` is given, a JACK server.

    `start_jack`: starts a server. The first call is made here and may raise UserError; later
    failures are retried. `lock`: of this command; it is locked again after somebody has removed the
    runtime folder.
    """

    def __init__(
        self,
        children: list[Child],
        start_jack: Callable[[], JackServer] | None,
        lock: Lock | None = None,
    ) -> None:
        self.children = children
        self._lock, self._keep_at, self._lock_trouble = lock, 0.0, ""
        self._keeper = JackKeeper(start_jack) if start_jack else None
        if self._keeper is not None:
            self._keeper.start()

    @property
    def jack(self) -> JackServer | None:
        return self._keeper.server if self._keeper else None

    def tend(self) -> None:
        """Check each process once and restart it if needed. Never blocks for long."""
        if self._keeper is not None:
            self._keeper.tend()
            self._end_unreachable_jack()
        if self._lock is not None and time.monotonic() >= self._keep_at:
            self._keep_at = time.monotonic() + KEEP_S
            self._keep_lock(self._lock)
        for child in self.children:
            child.tend(time.monotonic())

    def _end_unreachable_jack(self) -> None:
        """Kill our jackd if its socket was removed and the audio process needs it; it is restarted.

        With RemoveIPC=yes logind removes it when the user logs out. A playing audio process does
        not need it any more.
        """
        server = self.jack
        is_playing = all(child.ready for child in self.children if child.name == "audio")
        if server is None or is_playing or not server.alive():
            return
        if not os.path.exists(jack_socket(server.name)):
            log.warning(f"somebody removed {jack_socket(server.name)}: restarting jackd")
            server.kill()

    def _keep_lock(self, lock: Lock) -> None:
        trouble = ""
        try:
            if lock.keep():
                log.warning(f"somebody removed {runtime_dir()}, or files of it: made it again")
        except (OSError, UserError) as error:
            trouble = reason(error)
        if trouble and trouble != self._lock_trouble:
            log.error(f"the lock of nverb run is gone: {trouble}")
        self._lock_trouble = trouble

    def run(self) -> None:
        """Tend everything until SIGINT, SIGTERM or SIGHUP.

        Also returns when a child with inherited stdin exits with status 0 (its user quit).
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        stop = False

        def on_signal(number: int, _frame: object) -> None:
            nonlocal stop
            stop = stop or number != signal.SIGCHLD

        for number in (*stop_signals(), signal.SIGCHLD):
            signal.signal(number, on_signal)
        try:
            while not stop:
                self.tend()
                if select.select([reader], [], [], 0.2)[0]:
                    os.read(reader, 4096)
                stop = stop or any(
                    c.inherit_stdin and c.process is not None and c.process.poll() == 0
                    for c in self.children
                )
        finally:
            self.stop()

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()
        for child in reversed(self.children):
            child.join(3)
        if self._keeper is not None:
            self._keeper.close()
