"""OSC (Open Sound Control 1.0) over UDP, for phones, tablets and patches. Needs python-osc.

| address                | arguments                                      | effect                 |
|------------------------|------------------------------------------------|------------------------|
| /nverb/set/NAME        | a number in the control's unit, text ("2 kHz") | sets a control         |
|                        | or T, F                                        |                        |
| /nverb/turn/NAME       | 0 to 1                                         | turns it, by its law   |
| /nverb/preset          | a name, or a number from 1                     | plays a preset         |
| /nverb/preset/next     | none, or not 0 (0: the release of a button)    | as a footswitch        |
| /nverb/preset/previous | the same                                       | as a footswitch        |
| /nverb/scene/toggle    | the same                                       | as a footswitch        |
| /nverb/tap             | the same                                       | as a footswitch        |

Anyone who can send to the port can turn the knobs, and nothing else. It is bound to this machine
unless another address is given. Invalid packets are logged, at most once a second.
"""

from __future__ import annotations

import logging
import socket
import time

from device.controls import check, find, parse, to_value
from device.events import Action, Change, Notice
from device.profile import ACTIONS
from dsp.errors import UserError
from firmware_py.control.budget import LOOK_S
from firmware_py.control.inputs import Event, PresetName, Program
from firmware_py.link.status import InputStatus
from models.packages import how_to_install

MAX_BYTES = 4096
MAX_PACKETS = 64
"""In one poll, so that a flood does not delay the knobs."""
LOG_S = 1.0


class Osc:
    """An Input, see firmware_py.control.inputs."""

    def __init__(self, where: str) -> None:
        """where: PORT or ADDRESS:PORT. Raises UserError: no package, or a bad or used port."""
        try:
            from pythonosc.osc_packet import OscPacket
        except ImportError:
            raise UserError(
                f"OSC needs the package python-osc: {how_to_install('python-osc')}"
            ) from None
        self._packet = OscPacket
        # It logs a line for each unknown type in a packet, which a flood makes thousands of.
        logging.getLogger().addHandler(logging.NullHandler())
        host, _, port = where.rpartition(":")
        self._host = host.strip("[]") or "127.0.0.1"
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise UserError(
                f"--osc {where}: write PORT or ADDRESS:PORT, such as 9000 or 0.0.0.0:9000"
            )
        self._port = int(port)
        try:
            family = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0][0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise UserError(
                f"--osc {where}: {error.strerror or error}: write an address of this machine"
            ) from None
        try:
            self._socket.bind((self._host, self._port))
        except OSError as error:
            self._socket.close()
            raise UserError(
                f"--osc {where}: {error.strerror or error}: choose another port"
            ) from None
        self._socket.setblocking(False)
        self._logged_at = -LOG_S
        self._received = 0

    def poll(self) -> list[Event]:
        events: list[Event] = []
        begun = time.monotonic()
        for _ in range(MAX_PACKETS):
            if time.monotonic() - begun > LOOK_S:  # packets of many messages
                break
            try:
                data = self._socket.recv(MAX_BYTES)
            except OSError:  # no packet
                break
            try:
                for timed in self._packet(data).messages:
                    event = self._understand(timed.message.address, timed.message.params)
                    if event is not None:
                        events.append(event)
                        self._received += 1
            except Exception as error:  # the library raises many kinds for invalid packets
                now = time.monotonic()
                if now - self._logged_at >= LOG_S:
                    self._logged_at = now
                    reason = " ".join(str(error).split())[:200] or type(error).__name__
                    events.append(Notice(f"OSC: {reason}"))
        return events

    def _understand(self, address: str, values: list[object]) -> Event | None:
        match address.split("/"):
            case ["", "nverb", "set", name]:
                control = find(name)
                value = _one(address, values)
                if isinstance(value, str):
                    return Change(control.name, parse(control, value))
                return Change(control.name, check(control, float(value)))
            case ["", "nverb", "turn", name]:
                control, value = find(name), _one(address, values)
                if isinstance(value, str) or not 0 <= value <= 1:
                    raise ValueError(f"{address} {value}: send a number from 0 to 1")
                return Change(control.name, to_value(control, float(value)))
            case ["", "nverb", "preset"]:
                value = _one(address, values)
                return PresetName(value) if isinstance(value, str) else Program(int(value) - 1)
            case ["", "nverb", *words] if (action := " ".join(words)) in ACTIONS:
                return Action(action) if not values or values[0] else None
        raise ValueError(
            f"no address {address[:64]!r}: use /nverb/set/NAME, /nverb/turn/NAME, /nverb/preset "
            f"or one of {', '.join('/nverb/' + action.replace(' ', '/') for action in ACTIONS)}"
        )

    def describe(self) -> str:
        return f"OSC at {self._host} port {self._port}: {self._received} received"

    def status(self) -> InputStatus:
        return {"name": "OSC", "where": f"{self._host}:{self._port}", "ports": [], "fault": ""}

    def close(self) -> None:
        self._socket.close()


def _one(address: str, values: list[object]) -> float | str:
    if len(values) != 1 or not isinstance(values[0], (int, float, str)):
        raise ValueError(f"{address}: send one number or text")
    return values[0]
