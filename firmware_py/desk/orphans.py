"""Ends what a killed `nverb run` has left, so that the next one finds its JACK and locks free.

Children end with their parent (firmware_py.base.process); this is for those that could not, such as
a jackd that hung. The caller holds the lock of the run, so a process that carries the mark of the
runtime folder belongs to no run that lives.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from firmware_py.base.log import logger
from firmware_py.base.paths import runtime_dir

log = logger()
MARK = "NVERB_RUN"
"""Environment variable of all processes of a run: its mount namespace and runtime folder.

The folder alone would also be that of a run in another container.
"""
TERM_S = 3.0
"""A process that has not ended by then is killed."""


def mark() -> str:
    """The value of MARK for this runtime folder."""
    return f"{os.readlink('/proc/self/ns/mnt')}:{runtime_dir()}"


def mark_children() -> None:
    """Give all processes that this one starts the mark of this run."""
    os.environ[MARK] = mark()


def end_orphans() -> int:
    """End the processes of former runs of this runtime folder; return how many there were.

    Logs each of them.
    """
    found = _orphans()
    for descriptor, pid, command in found:
        log.warning("process %d (%s) is left from an nverb run that was killed: ends", pid, command)
        _send(descriptor, signal.SIGTERM)
    deadline = time.monotonic() + TERM_S
    for descriptor, pid, _ in found:
        if not _has_ended(descriptor, max(deadline - time.monotonic(), 0)):
            log.warning("process %d does not end: killing it", pid)
            _send(descriptor, signal.SIGKILL)
            _has_ended(descriptor, TERM_S)
        _wait_until_gone(descriptor)
        os.close(descriptor)
    return len(found)


def _orphans() -> list[tuple[int, int, str]]:
    """Descriptor (pidfd), number and command line of each orphan."""
    wanted = f"{MARK}={mark()}".encode()
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if pid == os.getpid():
            continue
        try:
            descriptor = os.pidfd_open(pid)  # before the checks: the number may be given again
        except OSError:
            continue
        command = _command_of(Path(f"/proc/{pid}"), wanted)
        if command:
            found.append((descriptor, pid, command))
        else:
            os.close(descriptor)
    return found


def _command_of(process: Path, wanted: bytes) -> str:
    """The command line of a process of this user with the mark; "" if it is none."""
    with contextlib.suppress(OSError):
        is_own = process.stat().st_uid == os.getuid()
        if is_own and wanted in (process / "environ").read_bytes().split(b"\0"):
            words = (process / "cmdline").read_bytes().split(b"\0")
            return b" ".join(words).decode(errors="replace").strip()[:80]
    return ""


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(descriptor, number)


def _has_ended(descriptor: int, timeout_s: float) -> bool:
    return bool(select.select([descriptor], [], [], timeout_s)[0])


def _wait_until_gone(descriptor: int) -> None:
    """Wait until the process of this pidfd, which has ended, is reaped: JACK takes it for alive."""
    deadline = time.monotonic() + TERM_S
    while time.monotonic() < deadline:
        try:
            signal.pidfd_send_signal(descriptor, 0)
        except OSError:
            return
        time.sleep(0.01)
