"""Runs `nverb measure` for the panel, a footswitch or a MIDI message. Control process.

The measurement is a process of its own: it may hang, die or be ended, and the pedal plays on. What
it disconnects is connected again by its guard (firmware_py.measure.guard), however it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from dsp.errors import InvalidValue, UserError
from firmware_py.base.log import logger
from firmware_py.base.process import nverb_command
from firmware_py.link.connections import AudioConnections
from firmware_py.link.status import MeasuringStatus

log = logger("control")

LONGEST_S = 600.0
"""A measurement that takes longer is ended."""
SILENT_S = 150.0
"""So is one that says nothing for so long: five sweeps of the longest kind say more often."""
KILLED_S = 5.0
"""After SIGTERM."""
MAX_OUTPUT = 1 << 20
TEXTS = ("inputs", "outputs", "preset", "level", "length")
"""Options of `nverb measure` that a request may give."""
PREFIX, STARTING = "nverb measure: ", "starting"


class Measuring:
    """The running measurement, and what the last one brought. No method blocks."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.status = _told("none", "")
        self._result, self._rest = b"", b""
        self._begun = self._heard = 0.0
        self._end_by: float | None = None  # SIGTERM was sent; SIGKILL follows then
        self._why = ""  # it was ended

    def answer(
        self, request: Mapping[str, object], connections: AudioConnections
    ) -> MeasuringStatus:
        """Handle a "measure" request, see firmware_py.link.client. Raises UserError, OSError."""
        match request.get("act"):
            case "start":
                self.start(request, connections)
            case "stop":
                self.stop()
            case other:
                raise InvalidValue(f"measure {repr(other)[:40]}: it is start or stop")
        return self.status

    def toggle(self, connections: AudioConnections) -> None:
        """Start, or stop the one that runs. Raises OSError."""
        if self._process is None:
            self.start({}, connections)
        else:
            self.stop()

    def start(self, request: Mapping[str, object], connections: AudioConnections) -> None:
        """Measure from the first output that the pedal plays on to the first input that it hears,
        unless the request names others. Raises UserError, OSError."""
        if self._process is not None:
            raise UserError("a measurement runs already: wait for its end, or stop it")
        options = {
            "preset": datetime.now().strftime("Measured %Y-%m-%d %H.%M.%S"),
            **_first(connections),
        }
        options |= {name: str(request[name]) for name in TEXTS if name in request}
        words = [f"--{name}={value}" for name, value in options.items()]
        words += ["--gear"] if request.get("gear") else []
        self._process = subprocess.Popen(
            nverb_command("measure", "--json", "--wait", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        self._result = self._rest = b""
        self._begun = self._heard = time.monotonic()
        self._end_by, self._why = None, ""
        self.status = _told("running", STARTING, pid=self._process.pid)
        log.info("measurement: started, process %d", self._process.pid)

    def stop(self) -> None:
        """End the measurement, if one runs: the pedal comes back."""
        if self._process is not None:
            self._terminate("stopped before its end")

    def close(self) -> None:
        """This process ends."""
        if self._process is not None:
            self._process.terminate()

    def look(self) -> None:
        """Read what the process says; end it if it hangs. Call it often."""
        process = self._process
        if process is None:
            return
        ended = process.poll() is not None  # before reading: what it said last is there then
        assert process.stdout is not None and process.stderr is not None
        self._result = (self._result + _read(process.stdout.fileno()))[-MAX_OUTPUT:]
        *lines, self._rest = (self._rest + _read(process.stderr.fileno())).split(b"\n")
        self._rest = self._rest[-MAX_OUTPUT:]
        if lines:
            self._heard = time.monotonic()
            text = lines[-1].decode("utf-8", "replace").removeprefix(PREFIX)
            self.status = _told("running", text, pid=process.pid)
        if ended:
            self._ended(process)
        elif self._end_by is not None:
            if time.monotonic() > self._end_by:
                process.kill()
        elif time.monotonic() - self._begun > LONGEST_S:
            self._terminate(f"it took longer than {LONGEST_S:.0f} s and was ended: try again")
        elif time.monotonic() - self._heard > SILENT_S:
            self._terminate("it hung and was ended: try again, `nverb logs` may show why")

    def _terminate(self, why: str) -> None:
        assert self._process is not None
        if self._end_by is None:
            self._why, self._end_by = why, time.monotonic() + KILLED_S
            self._process.terminate()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        if process.returncode == 0:
            self.status = _brought(self._result)
        else:
            why = self._why
            if not why and process.returncode > 0 and self.status["text"] == STARTING:
                why = "the measuring process ended without a word: `nverb logs` may show why"
            if not why and process.returncode < 0:
                why = f"the measuring process was killed (signal {-process.returncode}): try again"
            self.status = _told("failed", why or self.status["text"])
        log.info("measurement: %s: %s", self.status["state"], self.status["text"])


def _first(connections: AudioConnections) -> dict[str, str]:
    """The ports of the pedal: nothing where it is connected to none, the card's first are taken
    then."""
    found = {}
    for name, ports in (("inputs", connections.inputs), ("outputs", connections.outputs)):
        if first := next((port for each in ports for port in each), ""):
            found[name] = first
    return found


def _read(descriptor: int) -> bytes:
    """What is there."""
    data = b""
    try:
        while part := os.read(descriptor, 1 << 16):
            data += part
            if len(data) >= MAX_OUTPUT:
                break
    except BlockingIOError:
        pass
    return data


def _brought(result: bytes) -> MeasuringStatus:
    """What a measurement that succeeded has printed."""
    try:
        table = json.loads(result)
        return _told("done", str(table["summary"]), table["remarks"])
    except (ValueError, KeyError, TypeError):
        return _told("failed", "its result cannot be read")


def _told(state: str, text: str, remarks: Sequence[object] = (), pid: int = 0) -> MeasuringStatus:
    return MeasuringStatus(
        state=state, text=text, remarks=[str(remark) for remark in remarks], pid=pid
    )
