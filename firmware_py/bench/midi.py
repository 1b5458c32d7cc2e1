"""`nverb bench midi`: a flood of MIDI with everything malformed in between, into a whole pedal."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from typing import Any

from dsp.errors import UserError
from firmware_py.bench.pedal import IdleClient, priority_text, realtime_threads, resident_mb
from firmware_py.desk.player import play_blocks
from firmware_py.desk.private_pedal import private_data, private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link.client import ask

LOOK_S = 5.0
FLOOD_S, PAUSE_S = 25.0, 5.0
"""Between pauses, and a pause: what the pedal is late then is the machine's. An idle client cannot
say so, because it is on a processor for a tenth of the time."""
REST_S = 30.0
"""For what waits after the flood."""
CONTROLS = {7: "gain", 12: "predelay", 74: "lowpass_hz", 75: "highpass_hz", 91: "mix"}
"""Controllers of the flood; no rooms, whose making is the business of `nverb bench pedal`."""


def malformed(random_: random.Random) -> bytes:
    """An event as no device should send it. It contains no whole message of a controller."""
    kind = random_.randrange(8)
    data = bytes(random_.randrange(128) for _ in range(random_.choice((1, 5, 60))))
    match kind:
        case 0:
            return b"\xf0" + data  # a system exclusive message without its end
        case 1:
            return bytes((0xB0, random_.randrange(128)))  # cut off
        case 2:
            return bytes((random_.randrange(0xF1, 0x100),))
        case 3:
            return b"\xf7"
        case 4:
            return bytes((0xF2, 5))
        case 5:
            return b"\xf0" + data + b"\xf7"
        case 6:
            return bytes((random_.choice((0x80, 0x90, 0xA0, 0xE0)), 60))
        case _:
            return b"\xb0\xf8\xfe"  # real-time bytes inside of a message that does not come


class Flood:
    """A JACK client that sends the flood, the same share in each block."""

    def __init__(self, rate_per_s: int) -> None:
        import jack

        server = os.environ["JACK_DEFAULT_SERVER"]
        self._client = jack.Client("nverb-flood", servername=server, no_start_server=True)
        self._out: Any = self._client.midi_outports.register("out")
        self._per_block = rate_per_s * self._client.blocksize / self._client.samplerate
        self._due, self.sent, self.running = 0.0, 0, True
        self.last: dict[int, int] = {}
        self._events = self._shuffled()
        play_blocks(self._client, self._play)
        self._client.activate()

    def _shuffled(self) -> Iterator[tuple[int, int, list[bytes]]]:
        """Controller, value, and the malformed events before it: made before the flood."""
        random_ = random.Random(1)
        made = [
            (
                random_.choice(list(CONTROLS)),
                random_.randrange(128),
                [malformed(random_)] if random_.random() < 0.1 else [],
            )
            for _ in range(20_000)
        ]
        while True:
            yield from made

    def _play(self, _frames: int) -> None:
        self._out.clear_buffer()
        if not self.running:
            return
        self._due += self._per_block
        while self._due >= 1:
            self._due -= 1
            cc, value, before = next(self._events)
            for event in before:
                self._out.write_midi_event(0, event)
            self._out.write_midi_event(0, bytes((0xB0, cc, value)))
            self.last[cc] = value
            self.sent += 1

    def close(self) -> None:
        self._client.deactivate()
        self._client.close()


def measure(*, seconds: float, rate_per_s: int, show: bool) -> dict[str, object]:
    """All figures by name. Raises UserError."""
    arguments = ("--profile", "none", "--midi", "jack")
    with (
        private_data(),
        private_pedal(control_arguments=arguments, synchronous=False, as_service=True) as pedal,
    ):
        wait_for_room(pedal)
        audio = pedal.children[0].process
        assert audio is not None
        realtime = realtime_threads(audio.pid)
        idle, flood = IdleClient(), Flood(rate_per_s)
        try:
            figures = {"realtime": realtime} | _watch(pedal, flood, seconds, show)
        finally:
            flood.close()
            idle.close()
    if show:
        print(
            f"{figures['sent']} controllers in {seconds:g} s, {priority_text(realtime)}: the pedal "
            f"was late in {figures['late_blocks']} of {figures['blocks']} blocks, and in pauses of "
            f"the flood in {figures['pause_late_blocks']} of {figures['pause_blocks']}; xruns in "
            f"JACK's log: pedal {figures['xruns']}, an idle client {figures['idle_xruns']}, MIDI "
            f"process {figures['midi_xruns']}\n"
            f"memory, MB: control {figures['control_mb']}, MIDI process {figures['midi_mb']}\n"
            f"controls that are where the last message put them: {figures['exact']} of "
            f"{len(CONTROLS)}, after {figures['heard_s']:.1f} s; answers took "
            f"{figures['slowest_answer_ms']:.0f} ms at most"
        )
    return figures


def _watch(pedal: Supervisor, flood: Flood, seconds: float, show: bool) -> dict[str, object]:
    assert pedal.jack is not None
    control = next(child.process for child in pedal.children if child.name == "control")
    assert control is not None
    child = _child_of(control.pid)
    _run(pedal, 2.0)  # memory that is taken once is not growth
    log_before, count = len(pedal.jack.log()), flood.sent
    memory: list[tuple[float, float]] = []
    slowest, flooded_s = 0.0, 0.0
    blocks, late = {True: 0, False: 0}, {True: 0, False: 0}
    while flooded_s < seconds:
        for running, span_s in ((True, min(FLOOD_S, seconds - flooded_s)), (False, PAUSE_S)):
            flood.running = running
            before, end = ask({"do": "status"})["status"]["audio"], time.monotonic() + span_s
            while time.monotonic() < end:
                _run(pedal, min(LOOK_S, end - time.monotonic()))
                begun = time.monotonic()
                after = ask({"do": "status"})["status"]["audio"]
                slowest = max(slowest, time.monotonic() - begun)
                memory.append((resident_mb(control.pid)["own"], resident_mb(child)["own"]))
                if show and len(memory) % 12 == 0:
                    print(f"  {memory[-1][0]:.1f} and {memory[-1][1]:.1f} MB", flush=True)
            blocks[running] += after["blocks"] - before["blocks"]
            late[running] += after["late_blocks"] - before["late_blocks"]
        flooded_s += FLOOD_S
    exact, heard_s = _heard(pedal, flood)
    log = pedal.jack.log()[log_before:]
    return {
        "seconds": seconds,
        "sent": flood.sent - count,
        "blocks": blocks[True],
        "late_blocks": late[True],
        "pause_blocks": blocks[False],
        "pause_late_blocks": late[False],
        "xruns": _xruns(log, "nverb"),
        "idle_xruns": _xruns(log, IdleClient.NAME),
        "midi_xruns": _xruns(log, "nverb-midi"),
        "control_mb": [round(mb, 1) for mb in (memory[0][0], memory[-1][0])],
        "midi_mb": [round(mb, 1) for mb in (memory[0][1], memory[-1][1])],
        "exact": exact,
        "heard_s": heard_s,
        "slowest_answer_ms": 1000 * slowest,
    }


def _heard(pedal: Supervisor, flood: Flood) -> tuple[int, float]:
    """How many controls are where the last message put them, and in seconds how long that took. A
    pedal with less time than the flood needs has messages that wait."""
    begun = time.monotonic()
    while True:
        _run(pedal, 0.1)
        values, took_s = ask({"do": "get"})["values"], time.monotonic() - begun
        exact = sum(_is_exact(name, flood.last.get(cc), values) for cc, name in CONTROLS.items())
        if exact == len(CONTROLS) or took_s > REST_S:
            return exact, took_s


def _is_exact(name: str, sent: int | None, values: dict[str, float]) -> bool:
    from device.controls import find, to_value

    return sent is not None and abs(values[name] - to_value(find(name), sent / 127)) < 1e-9


def _xruns(log: str, client: str) -> int:
    return len(re.findall(rf"XRun: client = {client} was", log))


def _child_of(pid: int) -> int:
    """The process of the MIDI ports. Raises UserError if it does not run."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = file.read().split()
    for child in children:
        with open(f"/proc/{child}/cmdline", "rb") as file:
            if b"midi_ports" in file.read():
                return int(child)
    raise UserError("the MIDI process does not run: see `nverb midi list`")


def _run(pedal: Supervisor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pedal.tend()
        time.sleep(0.05)
