"""Keeps the MIDI process: starts it, reads its lines, restarts it when it dies or hangs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import deque
from pathlib import Path

import systemd
from firmware_py.base.log import logger
from firmware_py.base.process import module_command

log = logger("control")

SILENT_S = 4.0
"""Eight beats of the process: without a line for this long it hangs."""
START_S = 20.0
"""Until its first line: on a busy board Python starts slowly."""
RESTART_S = 2.0
"""Between two starts."""
STEADY_S = 10.0
"""A process that has run for this long after a failure is counted as repaired."""
LEAVE_S = 0.2
"""For the exit of a process that has closed its stdout or was told to end."""
LONGEST_LINE = 4096


def _environment() -> dict[str, str]:
    """ALSA without the user's own configuration, which can name a library to load.

    The service's unit sets the variable, too.
    """
    own = Path(systemd.__file__).with_name("alsa.conf")
    return {"ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{own}"} | os.environ


class MidiProcess:
    """The process of firmware_py.control.midi_ports. No method blocks, but for `close`."""

    def __init__(self, api: str) -> None:
        self._command = module_command("firmware_py.control.midi_ports", api)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._heard = self._failed = -STEADY_S
        self._silent_after_s = START_S
        self._rest = b""
        self._lines: deque[str] = deque()
        self._orders: dict[str, str] = {}
        """By first word: sent again to each new process."""
        self._unsent: set[str] = set()
        self._leaving: list[subprocess.Popen[bytes]] = []
        """Killed, and not gone yet: a process in a system call that hangs may take its time."""

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def is_failing(self) -> bool:
        """Whether the process has just died by itself or was ended because it hung."""
        return time.monotonic() - self._failed < STEADY_S

    def order(self, word: str, text: str) -> None:
        """Send a line to the process and to all that follow it."""
        self._orders[word] = text
        self._unsent.add(word)
        self._write_orders()

    def send(self, message: bytes) -> bool:
        """Send a MIDI message. False if the process does not take it now."""
        return self._write(f"send {message.hex()}\n")

    def _write(self, line: str) -> bool:
        """Write a line, shorter than PIPE_BUF: all of it or nothing."""
        if self._process is None or self._process.stdin is None:
            return False
        try:
            return os.write(self._process.stdin.fileno(), line.encode()) > 0
        except OSError:  # full or closed: it is busy, hangs or is about to exit
            return False

    def _write_orders(self) -> None:
        for word in list(self._unsent):
            if self._write(f"{word} {self._orders[word]}\n"):
                self._unsent.discard(word)

    def poll(self) -> tuple[deque[str], str]:
        """Lines that wait, oldest first, for the caller to take from; and why the process was lost
        since the last call, or "". No more is read while lines wait, so that a flood waits in the
        pipe, not in memory."""
        self._leaving = [process for process in self._leaving if process.poll() is None]
        if self._process is None:
            if time.monotonic() - self._started >= RESTART_S:
                self._start()
            return self._lines, ""
        self._write_orders()
        if self._lines:
            return self._lines, ""
        assert self._process.stdout is not None
        try:
            data = os.read(self._process.stdout.fileno(), 1 << 14)
        except BlockingIOError:
            if time.monotonic() - self._heard < self._silent_after_s:
                return self._lines, ""
            self._process.kill()  # SIGTERM does not end a stopped process
            self._end()
            self._failed = time.monotonic()
            return self._lines, "the MIDI process does not answer; starting another"
        if not data:
            return self._lines, self._ended()
        self._heard, self._silent_after_s = time.monotonic(), SILENT_S
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        self._lines.extend(line.decode("utf-8", "replace") for line in lines)
        return self._lines, ""

    def _ended(self) -> str:
        """It has exited: with status 1 after a line that says why."""
        status = self._end()
        if status in (0, 1):
            return "the MIDI process has ended"
        self._failed = time.monotonic()
        return f"the MIDI process died (status {status}); starting another"

    def _start(self) -> None:
        self._started = self._heard = time.monotonic()
        self._silent_after_s = START_S
        log.debug("starting the MIDI process: %s", self._command)
        self._process = subprocess.Popen(
            self._command,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the libraries of ALSA and JACK log there
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(stream.fileno(), False)
        self._unsent = set(self._orders)
        self._write_orders()

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._end()

    def _end(self) -> int | None:
        """Let the process go. Returns its status, or None if it had to be killed."""
        process, self._process = self._process, None
        assert process is not None and process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        self._rest = b""
        self._lines.clear()
        try:
            return process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            self._leaving.append(process)
            return None
