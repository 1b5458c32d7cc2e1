"""Answers the requests of the control socket; firmware_py.link.client has the table of them.

The control process calls it, in its one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from device.controls import Control, check, find, resolve
from dsp.errors import InvalidValue
from firmware_py.control import report
from firmware_py.control.install_processes import InstallProcesses
from firmware_py.control.pedal import Pedal
from firmware_py.control.server import Answer, HandOver, Request
from firmware_py.rooms.scenes import NO_SCENE_B


class Requests:
    """The requests to one pedal. A request that raises has changed nothing."""

    def __init__(self, pedal: Pedal) -> None:
        self._pedal = pedal
        self._installs = InstallProcesses()
        self._handlers: dict[str, Callable[[Request], Answer | HandOver]] = {
            "set": self._set,
            "get": self._get,
            "bank": self._bank,
            "store": lambda _: HandOver(self._installs.start),
            "reload": self._reload,
            "reset": self._reset,
            "preset": lambda request: {"preset": pedal.presets.answer(request)},
            "scene": self._scene,
            "tap": self._tap,
            "midi": self._midi,
            "measure": self._measure,
            "status": lambda _: {"status": report.status(pedal)},
        }

    def answer(self, request: Request) -> Answer | HandOver:
        """The answer to one request. Raises UserError or OSError if it is refused."""
        wanted = request.get("do")
        handler = self._handlers.get(wanted) if isinstance(wanted, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            raise InvalidValue(f"unknown request {repr(wanted)[:80]}: use one of {known}")
        return handler(request)

    def is_repeatable(self, request: Request) -> bool:
        """Whether to do the request twice in a row is the same as once. Those that open rooms."""
        match request.get("do"):
            case "reload" | "bank" | "reset":
                return True
            case "preset":
                return "load" in request
        return False

    def _set(self, request: Request) -> Answer:
        wanted = request.get("values")
        if not isinstance(wanted, dict) or not wanted:
            raise InvalidValue('"values" must be an object of names and values')
        values = {}
        for name, value in wanted.items():
            control = find(name)
            values[control.name] = _value(control, value, self._pedal.values[control.name])
        self._pedal.set(values)
        has_no_effect = values.get("morph") and not self._pedal.scenes.ends()
        return {"values": values} | ({"note": NO_SCENE_B} if has_no_effect else {})

    def _get(self, request: Request) -> Answer:
        values = self._pedal.values
        names = request.get("names") or list(values)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidValue('"names" must be a list of names')
        return {"values": {name: values[find(name).name] for name in names}}

    def _bank(self, request: Request) -> Answer:
        if "path" not in request:
            raise InvalidValue('"bank" needs "path"')
        path = str(request["path"])
        try:
            valid = b"\0" not in os.fsencode(path)
        except UnicodeEncodeError:
            valid = False
        if not valid:
            raise InvalidValue(f"{path[:80]!r} is not a path")
        self._pedal.use_bank(path)
        return {"bank": self._pedal.rooms.source.name}

    def _reload(self, _: Request) -> Answer:
        self._pedal.reload()
        return {"bank": self._pedal.rooms.source.name, "path": self._pedal.bank}

    def _reset(self, _: Request) -> Answer:
        self._pedal.reset()
        return {"preset": self._pedal.presets.current or ""}

    def _scene(self, request: Request) -> Answer:
        match request.get("act"):
            case "a" | "b" as scene:
                self._pedal.store_scene(scene)
            case "toggle":
                self._pedal.toggle_scene()
            case "forget":
                self._pedal.forget_scene()
            case other:
                raise InvalidValue(f"scene {repr(other)[:40]}: it is a, b, toggle or forget")
        return {"scenes": report.scenes(self._pedal)}

    def _tap(self, _: Request) -> Answer:
        self._pedal.tap()
        return {"values": {"tempo": self._pedal.values["tempo"]}}

    def _measure(self, request: Request) -> Answer:
        pedal = self._pedal
        return {"measuring": pedal.measuring.answer(request, pedal.connections.now)}

    def _midi(self, request: Request) -> Answer:
        if self._pedal.midi is None:
            raise InvalidValue("MIDI is off: start the pedal with --midi alsa or --midi jack")
        return {"midi": self._pedal.midi.answer(request)}


def _value(control: Control, value: object, now: float) -> float:
    """The value of a control from JSON: a number, or text such as "2 kHz", "toggle" or "+=1"."""
    if isinstance(value, str):
        return resolve(control, value, now)
    if not isinstance(value, int | float):
        raise InvalidValue(f"{control.name}: write a number or text, not {repr(value)[:40]}")
    try:
        return check(control, float(value))
    except OverflowError:
        raise InvalidValue(f"{control.name}: the number is too large") from None
