"""MIDI: controllers move controls, program changes play presets. Control process; the ports are in
firmware_py.control.midi_ports.

The messages, on one channel or on all:

| message                    | effect                                                         |
|----------------------------|----------------------------------------------------------------|
| control change, NRPN, RPN, | what is assigned to it, see firmware_py.control.midi_assignment |
| note                       |                                                                |
| control change 0..31 and   | the two halves of a value of 14 bits, in either order          |
| the same + 32              |                                                                |
| clock                      | the tempo, see firmware_py.control.midi_clock                  |
| program change             | what is assigned to it, or else preset NN + 1 of `nverb preset |
|                            | list`; bank select (CC 0 or 32) adds 128 for each bank         |

The table of controls has the default CCs (column `cc`). Others can be learnt, also for the actions
"preset next", "recording next" and "tap"; firmware_py.control.midi_map saves them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from device.controls import find
from device.events import Change, Notice
from device.profile import ACTIONS
from dsp.errors import InvalidValue
from dsp.names import shown
from firmware_py.control.inputs import ClockTempo, Event, Program
from firmware_py.control.midi_assignment import (
    Assignment,
    Source,
    describe,
    make_assignment,
    parse_source,
)
from firmware_py.control.midi_backend import CLOCK
from firmware_py.control.midi_clock import MidiClock
from firmware_py.control.midi_echo import Echo
from firmware_py.control.midi_learn import Calibration, Learner
from firmware_py.control.midi_map import MidiMap, Table, target
from firmware_py.control.midi_messages import BANK_LOW, ControllerDecoder, Halves, Presses, Touch
from firmware_py.control.midi_process import MidiProcess
from firmware_py.link.status import InputStatus

APIS = ("alsa", "jack")
SHARE = 0.5
"""Of the time, at most, that a flood gets: knobs are read between two polls, whatever comes."""
LOST_SHOWN_S = 60.0
"""Messages that were lost are a fault for so long after the last of them."""

Place = tuple[int, int]
"""Number of a port and channel from 0."""


class Midi:
    """An Input, see firmware_py.control.inputs. api: "alsa" or "jack"."""

    def __init__(self, api: str, folder: Path) -> None:
        self._api = api
        self._map = MidiMap(folder)
        self._process = MidiProcess(api)
        self._ports: dict[int, str] = {}
        self._fault = ""
        self._lost, self._lost_at = 0, -LOST_SHOWN_S
        """Messages, and when the last of them were reported."""
        self._last = ""
        self._polled = time.monotonic()
        self._decoders: dict[Place, ControllerDecoder] = {}
        self._halves: dict[tuple[Place, Source], Halves] = {}
        self._presses: dict[Place, Presses] = {}
        self._values: dict[Source, int] = {}
        """The last seven bits of each source, for learning."""
        self._clock = MidiClock()
        self._learner: Learner | None = None
        self._refused: set[Source] = set()
        self._learnt: dict[str, object] | None = None
        self._before_learning: tuple[str, Table] | None = None
        self._calibration: Calibration | None = None
        self._echo = Echo(self._process.send)
        self._changed()
        self._order_ports()

    @property
    def is_failing(self) -> bool:
        """Whether the MIDI process has just died or hung, or messages were lost."""
        return self._process.is_failing() or bool(self._loss())

    def read_map(self) -> None:
        """If the assignments could not be read before, read them now. Raises OSError if that fails
        again."""
        if self._map.read_again():
            self._changed()
            self._order_ports()

    def poll(self) -> list[Event]:
        events: list[Event] = []
        if self._map.complaint:
            events.append(Notice(self._map.complaint))
            self._map.complaint = ""
        lines, lost = self._process.poll()
        if lost:
            self._lose(lost, events)
        begun = time.monotonic()
        until, self._polled = begun + SHARE * (begun - self._polled), begun
        while lines and time.monotonic() < until:
            for _ in range(min(len(lines), 32)):
                self._take(lines.popleft(), events)
        now = time.monotonic()
        for (_, source), halves in self._halves.items():
            value = halves.due(now)
            if value is not None:
                self._move(source, value, False, events)
        self._learn(now, events)
        return events

    def _lose(self, why: str, events: list[Event]) -> None:
        if not self._fault or self._process.is_failing():
            events.append(Notice(f"MIDI: {why}"))
            self._fault = why
        events += [Notice(f"MIDI: {name} is gone") for name in self._ports.values()]
        self._ports.clear()
        for number in {place[0] for place in self._decoders}:
            self._forget(number)

    def _take(self, line: str, events: list[Event]) -> None:
        kind, text = line[:2], line[2:]
        if kind == ".":
            return
        if kind in ("+ ", "- "):
            number, _, name = text.partition(" ")
            self._take_port(kind[0], int(number), shown(name), events)
        elif kind == "~ ":
            self._take_lost(int(text), events)
        elif kind[:1] == "!":
            if text and text != self._fault:
                events.append(Notice(f"MIDI: {text}; trying again"))
            self._fault = text
        else:
            try:
                data = bytes.fromhex(line)
            except ValueError:
                return
            if len(data) == 4 and data[1] == CLOCK:
                bpm = self._clock.tick(data[0], data[2] << 8 | data[3], time.monotonic())
                events += [ClockTempo(bpm)] if bpm is not None else []
            elif len(data) == 4:
                _append(events, self.message(data[1:], port=data[0]))

    def _take_lost(self, count: int, events: list[Event]) -> None:
        """Reported once as long as more of them follow."""
        is_known = bool(self._loss())
        self._lost += count
        self._lost_at = time.monotonic()
        if not is_known:
            events.append(Notice(f"MIDI: {self._loss()}"))

    def _trouble(self) -> str:
        """What is wrong with MIDI, or ""."""
        return self._fault or self._loss()

    def _loss(self) -> str:
        """That messages were lost of late, or ""."""
        if time.monotonic() - self._lost_at >= LOST_SHOWN_S:
            return ""
        return (
            f"{self._lost} messages or more are lost since the start: they came faster than the "
            "pedal reads them; let the controllers send less, or hear some only: `nverb midi "
            "listen NAME`"
        )

    def _take_port(self, sign: str, number: int, name: str, events: list[Event]) -> None:
        if sign == "+":
            self._ports[number] = name
            self._echo.start()
            events.append(Notice(f"MIDI: listening to {name}"))
            return
        self._ports.pop(number, None)
        self._forget(number)
        events.append(Notice(f"MIDI: {name} is gone"))

    def _forget(self, number: int) -> None:
        """Forget what the controller of this port has sent: the next one there may be another."""
        for place in [place for place in self._decoders if place[0] == number]:
            del self._decoders[place]
            self._presses.pop(place, None)
        for key in [key for key in self._halves if key[0][0] == number]:
            del self._halves[key]

    def message(self, message: bytes, port: int = 0) -> list[Event]:
        """The events of one channel message: status and two data bytes."""
        place = port, message[0] & 0x0F
        if self._map.channel is not None and place[1] != self._map.channel - 1:
            return []
        decoder = self._decoders.setdefault(place, ControllerDecoder())
        touches = decoder.touches(message)
        now = time.monotonic()
        events: list[Event] = []
        if self._learner is not None:
            self._learner.take(touches, now)
        for touch in touches:
            if not touch.low:
                self._values[touch.source] = touch.value
            if self._learner is None:
                self._touch(place, touch, now, events)
        return events

    def _touch(self, place: Place, touch: Touch, now: float, events: list[Event]) -> None:
        source = touch.source
        if source not in self._by_source:
            if source.kind == "program":
                number = touch.bank << 7 | source.number
                self._last = f"program {number + 1}"
                events.append(Program(number))
                return
            high = Source("cc", source.number - BANK_LOW)
            if source.kind != "cc" or not 32 <= source.number < 64 or high not in self._by_source:
                return
            source, touch = high, Touch(high, touch.value, low=True)
        pressed, value = False, touch.value << 7
        if touch.low or _has_halves(source):
            halves = self._halves.setdefault((place, source), Halves())
            found = halves.low(touch.value, now) if touch.low else halves.high(touch.value, now)
            if found is None:
                return
            value = found
        if not touch.low:
            pressed = self._presses.setdefault(place, Presses()).is_press(touch)
        self._move(source, value, pressed, events)

    def _move(self, source: Source, value: int, pressed: bool, events: list[Event]) -> None:
        found = self._by_source.get(source)
        if found is None:
            return
        name, assignment = found
        self._last = f"{describe(source)} = {value >> 7}: {name}"
        if self._calibration is not None and self._calibration.name == name:
            self._calibration.take(value)
        made = assignment.events(name, value, pressed=pressed)
        if made and isinstance(made[0], Change):
            self._echo.moved(name, value, time.monotonic())
        events += made

    def _learn(self, now: float, events: list[Event]) -> None:
        learner = self._learner
        if learner is None:
            return
        if now > learner.until:
            self._learner = None
            return
        result = learner.result(now)
        if result is None:
            return
        self._learner = None
        source, mode, wide = result
        before = self._map.changes()
        try:
            assignment = make_assignment(learner.name, source, {"mode": mode})
            previous = self._map.assign(learner.name, assignment)
        except (OSError, InvalidValue) as error:
            text = getattr(error, "strerror", None) or error
            self._learnt = {"error": f"{self._map.path}: {text}; nothing was learnt"}
            events.append(Notice(f"MIDI: {self._learnt['error']}"))
            return
        self._before_learning = learner.name, before
        self._changed()
        self._learnt = {
            "name": learner.name,
            "source": str(source),
            "mode": mode,
            "text": assignment.describe() + (" and its lower half, 14 bits" if wide else ""),
            "from": previous,
            "cc": source.number if source.kind == "cc" else None,
        }

    def _changed(self) -> None:
        """Assignments have changed."""
        self._assignments = self._map.assignments()
        self._by_source: dict[Source, tuple[str, Assignment]] = {
            its.source: (name, its) for name, its in self._assignments.items()
        }
        self._halves.clear()
        self._echo.start()

    def _order_ports(self) -> None:
        self._process.order("listen", json.dumps(self._map.listen))
        self._process.order("out", json.dumps(self._map.out))

    def tell(self, values: Mapping[str, float]) -> None:
        """Send what has changed to the controllers, if MIDI out is on. Called every 50 ms."""
        if self._map.out is not None and not self._fault:
            channel = (self._map.channel or 1) - 1
            wide = {source for (_, source), halves in self._halves.items() if halves.is_wide}

            def is_wide(name: str) -> bool:
                source = self._assignments[name].source
                return source in wide or source.kind in ("nrpn", "rpn")

            self._echo.update(self._assignments, values, channel, is_wide, time.monotonic())

    def answer(self, request: Mapping[str, object]) -> dict[str, object]:
        """Answer a "midi" request, see firmware_py.link.client.

        Raises InvalidValue or OSError; nothing changes then.
        """
        assigned = ""
        if "learn" in request:
            self._start_learning(request)
        elif "assign" in request:
            assigned = self._assign(request)
        elif "calibrate" in request:
            self._calibrate(request)
        elif "forget" in request:
            self._map.forget(None if request["forget"] is None else str(request["forget"]))
        elif "channel" in request:
            self._map.set_channel(request["channel"])
        elif "listen" in request or "out" in request:
            which = "listen" if "listen" in request else "out"
            self._map.set_ports(which, request[which])
            self._order_ports()
        if request.keys() & {"learn", "assign", "calibrate", "forget", "channel", "out"}:
            self._changed()
        learning = self._learner is not None and time.monotonic() <= self._learner.until
        return {
            "api": self._api,
            "ports": list(self._ports.values()),
            "fault": self._trouble(),
            "channel": self._map.channel,
            "listen": self._map.listen,
            "out": self._map.out,
            "cc": {
                name: its.source.number
                for name, its in self._assignments.items()
                if its.source.kind == "cc"
            },
            "assignments": {
                name: its.json() | {"text": its.describe()}
                for name, its in self._assignments.items()
            },
            "assigned": self._assignments[assigned].describe() if assigned else "",
            "learning": self._learner.name if learning and self._learner is not None else None,
            "learnt": self._learnt,
            "calibrating": self._calibration.json() if self._calibration is not None else None,
            "last": self._last,
        }

    def _start_learning(self, request: Mapping[str, object]) -> None:
        """ "learn": a name, or None to stop; "not": sources that the player did not mean. If one of
        them has just been learnt, it is forgotten first."""
        if request["learn"] is None:
            self._learner = None
            self._learnt = None
            return
        name = target(str(request["learn"]))
        refused = request.get("not", [])
        if not isinstance(refused, list):
            raise InvalidValue('"not" must be a list of sources, such as "cc 20"')
        sources = {parse_source(str(each)) for each in refused}
        if refused and self._before_learning is not None and self._before_learning[0] == name:
            self._map.restore(self._before_learning[1])
        self._before_learning = self._learnt = None
        self._learner = Learner(name, sources, dict(self._values), time.monotonic())

    def _assign(self, request: Mapping[str, object]) -> str:
        """ "assign": a name; "source" or "cc"; the options of midi_assignment.Assignment."""
        name = target(str(request["assign"]))
        if "source" in request:
            source = parse_source(str(request["source"]))
        elif type(request.get("cc")) is int:
            source = parse_source(f"cc {request['cc']}")
        else:
            raise InvalidValue(f"controller {repr(request.get('cc'))[:40]}: write a number")
        options = request.get("options", {})
        if not isinstance(options, dict):
            raise InvalidValue('"options" must be an object')
        self._map.assign(name, make_assignment(name, source, options))
        return name

    def _calibrate(self, request: Mapping[str, object]) -> None:
        """ "calibrate": a name, or None to stop; with "done": true its ends are those that came."""
        if request["calibrate"] is None:
            self._calibration = None
            return
        name = target(str(request["calibrate"]))
        assignment = self._assignments.get(name)
        if assignment is None or name in ACTIONS or find(name).is_switch:
            raise InvalidValue(f"{name}: only a control that follows a pedal or knob has ends")
        found = self._calibration
        if not request.get("done") or found is None or found.name != name:
            self._calibration = Calibration(name)
            return
        self._map.assign(name, replace(assignment, ends=found.ends()))
        self._calibration = None

    def describe(self) -> str:
        ports = ", ".join(self._ports.values()) or "no device; connect one to nverb-midi:in"
        channel = "all channels" if self._map.channel is None else f"channel {self._map.channel}"
        last = f"; last: {self._last}" if self._last else ""
        clock = self._clock.describe(time.monotonic())
        return f"MIDI via {self._api}, {channel}: {self._trouble() or ports}{clock}{last}"

    def status(self) -> InputStatus:
        ports = list(self._ports.values())
        return {
            "name": "MIDI",
            "where": self._api,
            "ports": ports,
            "fault": self._trouble(),
        }

    def close(self) -> None:
        self._process.close()


def _has_halves(source: Source) -> bool:
    return source.kind in ("nrpn", "rpn") or (source.kind == "cc" and source.number < 32)


def _append(events: list[Event], more: list[Event]) -> None:
    """Append events. Values that a control has left meanwhile are dropped."""
    for event in more:
        if isinstance(event, Change):
            for i in range(len(events) - 1, -1, -1):
                other = events[i]
                if not isinstance(other, Change):
                    break
                if other.control == event.control:
                    del events[i]
                    break
        events.append(event)
