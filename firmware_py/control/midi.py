"""MIDI: controllers move controls, program changes play presets. Control process; the ports are in
firmware_py.control.midi_ports.

The messages, on one channel or on all:

| message                  | effect                                                           |
|--------------------------|------------------------------------------------------------------|
| control change B0 CC VV  | moves the control of CC to VV / 127 of its range, by its law;    |
|                          | a switch is on from 64                                           |
| the same, CC + 32        | the low seven bits for a control on CC 0..31, as in the MIDI     |
|                          | standard: 16 384 steps                                           |
| program change C0 NN     | plays preset NN + 1 of `nverb preset list`                       |

The table of controls has the default CCs (column `cc`). CCs can be learnt, also for the actions
"preset next", "preset previous" and "tap" (values from 64). What is learnt is saved in the data
folder, written atomically:

    midi.json   {"version": 1, "channel": null or 1..16,
                 "cc": {"mix": 20, "preset next": 21, "gain": null}}
                cc holds the differences from the table; null: no CC
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from device.controls import find, to_value
from device.events import Action, Change, Notice
from device.profile import ACTIONS
from firmware_py.base.log import logger
from firmware_py.base.process import module_command
from firmware_py.control.inputs import Event, Program
from firmware_py.control.midi_map import HIGHEST_CC, MidiMap, target

log = logger("control")
APIS = ("alsa", "jack")
LEARN_S = 30.0
RESTART_S = 2.0


class Midi:
    """An Input, see firmware_py.control.inputs. api: "alsa" or "jack"."""

    def __init__(self, api: str, folder: Path) -> None:
        self._api = api
        self._map = MidiMap(folder)
        self._names = self._map.by_cc()
        self._ports: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0
        self._rest = b""
        self._fault = ""
        self._learning: str | None = None
        self._learn_until = 0.0
        self._learnt: dict[str, object] | None = None
        self._high: dict[int, int] = {}  # by CC 0..31: the last upper seven bits
        self._last = ""

    def poll(self) -> list[Event]:
        events: list[Event] = []
        if self._map.complaint:
            events.append(Notice(self._map.complaint))
            self._map.complaint = ""
        data = self._read(events)
        if data:
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[-256:]
            for line in lines:
                self._take(line.decode("utf-8", "replace"), events)
        return events

    def _read(self, events: list[Event]) -> bytes:
        if self._process is None:
            now = time.monotonic()
            if now < self._next_start:
                return b""
            self._next_start = now + RESTART_S
            log.debug("starting the process of the MIDI ports, %s", self._api)
            self._process = subprocess.Popen(
                module_command("firmware_py.control.midi_ports", self._api),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the libraries of ALSA and JACK log there
            )
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)
        assert self._process.stdout is not None
        try:
            data = os.read(self._process.stdout.fileno(), 4096)
        except BlockingIOError:
            return b""
        if not data:  # it has exited
            self._end()
            events += [Notice(f"MIDI: {name} is gone") for name in self._ports]
            self._ports.clear()
        return data

    def _take(self, line: str, events: list[Event]) -> None:
        kind, text = line[:2], line[2:]
        if kind == "+ ":
            self._ports.append(text)
            self._fault = ""
            events.append(Notice(f"MIDI: listening to {text}"))
        elif kind == "- " and text in self._ports:
            self._ports.remove(text)
            events.append(Notice(f"MIDI: {text} is gone"))
        elif kind == "! ":
            if text != self._fault:
                events.append(Notice(f"MIDI: {text}; trying again"))
            self._fault = text
        else:
            try:
                message = bytes.fromhex(line)
            except ValueError:
                return
            if message:
                events += self.message(message)

    def message(self, message: bytes) -> list[Event]:
        """The events of one message, status byte first."""
        self._fault = ""
        if self._map.channel is not None and message[0] & 0x0F != self._map.channel - 1:
            return []
        match message[0] & 0xF0, len(message):
            case 0xB0, 3:
                return self._controller(message[1], message[2])
            case 0xC0, 2:
                self._last = f"program {message[1] + 1}"
                return [Program(message[1])]
        return []

    def _controller(self, cc: int, value: int) -> list[Event]:
        if self._learning is not None and cc <= HIGHEST_CC:
            return self._learn(cc)
        name, position = self._names.get(cc), value / 127
        if name is None and 32 <= cc < 64 and cc - 32 in self._high:
            name, position = self._names.get(cc - 32), (self._high[cc - 32] << 7 | value) / 16383
        if name is None:
            return []
        if cc < 32:
            self._high[cc] = value
        self._last = f"CC {cc} = {value}: {name}"
        if name in ACTIONS:
            return [Action(name)] if value >= 64 else []
        control = find(name)
        return [
            Change(name, to_value(control, float(value >= 64) if control.is_switch else position))
        ]

    def _learn(self, cc: int) -> list[Event]:
        name, self._learning = self._learning, None
        assert name is not None
        if time.monotonic() > self._learn_until:
            return []
        try:
            previous = self._map.assign(name, cc)
        except OSError as error:
            self._learnt = {"error": f"{self._map.path}: {error.strerror}; nothing was learnt"}
            return [Notice(f"MIDI: {self._learnt['error']}")]
        self._changed()
        self._learnt = {"name": name, "cc": cc, "from": previous}
        return []

    def _changed(self) -> None:
        self._names = self._map.by_cc()
        self._high.clear()

    def answer(self, request: Mapping[str, object]) -> dict[str, object]:
        """Answer a "midi" request, see firmware_py.link.client.

        Raises InvalidValue or OSError; nothing changes then.
        """
        if "learn" in request:
            self._learnt = None
            self._learning = None if request["learn"] is None else target(str(request["learn"]))
            self._learn_until = time.monotonic() + LEARN_S
        elif "assign" in request:
            self._map.assign(str(request["assign"]), request.get("cc"))
        elif "forget" in request:
            self._map.forget(None if request["forget"] is None else str(request["forget"]))
        elif "channel" in request:
            self._map.set_channel(request["channel"])
        self._changed()
        if self._learning is not None and time.monotonic() > self._learn_until:
            self._learning = None
        return {
            "api": self._api,
            "ports": list(self._ports),
            "fault": self._fault,
            "channel": self._map.channel,
            "cc": self._map.ccs(),
            "learning": self._learning,
            "learnt": self._learnt,
            "last": self._last,
        }

    def describe(self) -> str:
        ports = ", ".join(self._ports) or "no device; connect one to nverb-midi:in"
        channel = "all channels" if self._map.channel is None else f"channel {self._map.channel}"
        last = f"; last: {self._last}" if self._last else ""
        return f"MIDI via {self._api}, {channel}: {self._fault or ports}{last}"

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._end()

    def _end(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._rest = b""
