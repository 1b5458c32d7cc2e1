"""MIDI ports: the parser, which ports are connected, and the MIDI process on a real JACK server."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import open_client
from waiting import HANG_S, wait_until

from device.controls import find
from device.events import Change, Notice
from firmware_py.control import jack_midi, midi_ports
from firmware_py.control.inputs import ClockTempo, Event, Program
from firmware_py.control.midi import Midi
from firmware_py.control.midi_backend import OUTPUT, Peer, is_loop_through
from firmware_py.control.midi_ports import (
    BEAT_S,
    Connections,
    Outlet,
    PortsProcess,
    last_values,
)
from firmware_py.desk.player import play_blocks
from firmware_py.jack import server as jack_server

# ---- the parser --------------------------------------------------------------------------------

SYSEX, REAL_TIME = b"\xf0\x7e\x7f\x06\x01\xf7", st.sampled_from([0xF8, 0xFA, 0xFE, 0xFF])


def channel_message(status: int, first: int, second: int) -> bytes:
    size = 2 if status & 0xE0 == 0xC0 else 3
    return bytes((status, first, second))[:size]


MESSAGES = st.builds(
    channel_message, st.integers(0x80, 0xEF), st.integers(0, 127), st.integers(0, 127)
)
BROKEN = st.one_of(
    st.sampled_from([SYSEX, SYSEX[:-1], b"\xf0", b"\xf7", b"\xf1\x05", b"\xf2\x05\x06", b"\xf6"]),
    MESSAGES.map(lambda message: message[:-1]),
)


def padded(message: bytes) -> bytes:
    return message + bytes(3 - len(message))


@given(st.lists(st.one_of(MESSAGES.map(lambda m: (True, m)), BROKEN.map(lambda m: (False, m)))))
def test_whole_messages_survive_whatever_is_between_them(parts: list[tuple[bool, bytes]]) -> None:
    stream = b"".join(part for _, part in parts)
    assert jack_midi.parse(stream) == [padded(part) for whole, part in parts if whole]


@given(MESSAGES, st.lists(st.tuples(st.integers(0, 127), st.integers(0, 127)), max_size=9))
def test_running_status_continues(message: bytes, more: list[tuple[int, int]]) -> None:
    wide = len(message) == 3
    data = [pair if wide else pair[:1] for pair in more]
    stream = message + b"".join(bytes(pair) for pair in data)
    wanted = [padded(message), *(padded(message[:1] + bytes(pair)) for pair in data)]
    assert jack_midi.parse(stream) == wanted


@given(st.lists(MESSAGES), st.lists(st.tuples(st.integers(0, 200), REAL_TIME)))
def test_real_time_bytes_may_be_anywhere(
    messages: list[bytes], clocks: list[tuple[int, int]]
) -> None:
    stream = bytearray(b"".join(messages))
    for place, byte in clocks:
        stream.insert(place, byte)
    assert jack_midi.parse(bytes(stream)) == [padded(message) for message in messages]


# ---- which ports -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "loop"),
    [
        ("Midi Through:Midi Through Port-0", True),
        ("a2j:Midi Through [14] (capture): Midi Through Port-0", True),
        ("alsa_pcm:Midi-Through/midi_capture_1", True),
        ("Midi-Bridge:Midi Through:(capture_0) Midi Through Port-0", True),
        ("nanoKONTROL2:nanoKONTROL2 MIDI 1", False),
        ("FootCtrl:FootCtrl Bluetooth", False),
        ("rtpmidi pedal:Network", False),
        ("ttymidi:MIDI out", False),
        ("Midi-Bridge:nanoKONTROL2:(capture_0) nanoKONTROL2 MIDI 1", False),
    ],
)
def test_only_loop_throughs_are_left_out(name: str, loop: bool) -> None:
    assert is_loop_through(name) is loop


class FakeBackend:
    """A sound system whose connections break when a port goes, as the real ones' do."""

    def __init__(self) -> None:
        self.there: dict[bool, list[Peer]] = {True: [], False: []}
        self.connected: dict[Peer, int] = {}
        self.refusing: set[str] = set()
        self.is_changed = self.changes_while_read = False

    def plug(self, *peers: Peer) -> None:
        self.there[True] = list(peers)
        self.connected = {peer: at for peer, at in self.connected.items() if peer in peers}

    def descriptors(self) -> list[int]:
        return []

    def read(self) -> bytes:
        self.is_changed = self.changes_while_read
        return b""

    def lost(self) -> int:
        return 0

    def send(self, message: bytes) -> None: ...

    def changed(self) -> bool:
        return self.is_changed

    def peers(self, *, readable: bool) -> list[Peer]:
        return self.there[readable]

    def connect(self, place: int, peer: Peer) -> bool:
        if peer.name in self.refusing:
            return False
        self.connected[peer] = place
        return True

    def disconnect(self, place: int, peer: Peer) -> None:
        self.connected.pop(peer, None)

    def is_patched(self, peer: Peer) -> bool:
        return False


def test_ports_are_connected_and_forgotten() -> None:
    backend = FakeBackend()
    connections = Connections(backend)
    one, two = Peer("20:0", "nano"), Peer("24:0", "Pedal")
    backend.plug(one, two)
    assert connections.refresh() == ["+ 1 nano", "+ 2 Pedal"]
    backend.plug(two)
    assert connections.refresh() == ["- 1 nano"]
    three = Peer("20:0", "Keys")
    backend.plug(two, three)
    assert connections.refresh() == ["+ 1 Keys"]
    assert backend.connected == {two: 2, three: 1}


def test_absence_between_two_looks_is_repaired() -> None:
    backend = FakeBackend()
    connections = Connections(backend)
    nano = Peer("20:0", "nano")
    backend.plug(nano)
    connections.refresh()
    backend.plug()
    backend.plug(nano)
    assert not backend.connected
    assert connections.refresh() == []
    assert backend.connected == {nano: 1}


def test_refusing_port_is_tried_again_and_blocks_no_other() -> None:
    backend = FakeBackend()
    connections = Connections(backend)
    backend.plug(Peer("20:0", "busy"), Peer("24:0", "Pedal"))
    backend.refusing = {"busy"}
    assert connections.refresh() == ["+ 1 Pedal"]
    backend.refusing = set()
    assert connections.refresh() == ["+ 2 busy"]


def test_more_ports_than_places_are_left_out() -> None:
    backend = FakeBackend()
    backend.plug(*(Peer(f"{n}:0", f"port {n}") for n in range(70)))
    assert len(Connections(backend).refresh()) == 63


def test_named_ports_only() -> None:
    backend = FakeBackend()
    connections = Connections(backend)
    backend.plug(Peer("20:0", "nanoKONTROL2"), Peer("24:0", "Pedal"))
    backend.there[False] = [Peer("20:0", "nanoKONTROL2"), Peer("30:0", "Synth")]
    connections.listen(["NANO"])
    assert connections.refresh() == ["+ 1 nanoKONTROL2"]
    connections.listen([])
    connections.send_to(["kontrol"])
    assert connections.refresh() == ["+ 2 Pedal"]
    assert backend.connected[Peer("20:0", "nanoKONTROL2")] == OUTPUT
    assert Peer("30:0", "Synth") not in backend.connected


def test_flood_that_waits_keeps_all_but_old_values_of_controllers() -> None:
    lines = [b"01B05B00\n", b"01903C7F\n", b"+ 1 B\n", b"01B05B01\n", b"02B05B02\n", b"01903C7F\n"]
    assert last_values(lines) == [lines[1], lines[2], *lines[3:]]


@pytest.mark.parametrize("changes", [True, False])
def test_change_just_before_the_wait_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, changes: bool
) -> None:
    """`read` takes the wake-up of all changes until then, also of one since the last look."""
    backend = FakeBackend()
    waits: list[float] = []

    def wait(read: object, write: object, error: object, timeout_s: float) -> tuple[list[int], ...]:
        waits.append(timeout_s)
        return [], [], []

    monkeypatch.setattr(select, "select", wait)
    monkeypatch.setattr(os, "set_blocking", lambda *_: None)
    backend.changes_while_read = changes
    process = PortsProcess("jack")
    process._backend, process._connections = backend, Connections(backend)
    assert process._serve(1.0)
    assert waits == [0.0 if changes else BEAT_S]


@pytest.mark.parametrize(("lines", "lost"), [(b"01903C%02X\n", 10), (b"01B05B%02X\n", 0)])
def test_outlet_counts_what_it_drops_but_for_old_values(
    monkeypatch: pytest.MonkeyPatch, lines: bytes, lost: int
) -> None:
    monkeypatch.setattr(midi_ports, "MOST_WAITING", 90)
    monkeypatch.setattr(os, "set_blocking", lambda *_: None)
    outlet = Outlet()
    monkeypatch.setattr(outlet, "flush", lambda: None)
    outlet.write([(lines % value).decode().strip() for value in range(100)])
    assert (outlet.take_lost(), outlet.take_lost()) == (lost, 0)


# ---- on a JACK server --------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], jack_server.JackServer]]:
    """Starts JACK servers under a name of this process, and stops them at the end."""
    name = f"nverb-midi-{os.getpid()}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    started: list[jack_server.JackServer] = []

    def start() -> jack_server.JackServer:
        started.append(jack_server.dummy(name, synchronous=True))
        return started[-1]

    yield start
    for each in started:
        each.close()
    # A killed server stays among the eight that JACK allows on a machine, until a server of the
    # same name ends normally.
    jack_server.dummy(name).close()


@pytest.fixture
def midi(tmp_path: Path) -> Iterator[Midi]:
    made = Midi("jack", tmp_path)
    yield made
    made.close()


class Device:
    """A MIDI device on JACK: its ports come and go, it sends bytes as they are, one event a block.
    What it receives is in `received`."""

    def __init__(self, name: str = "device") -> None:
        self.client = open_client(name)
        self.out: jack.OwnMidiPort | None = self.client.midi_outports.register("out")
        self._in = self.client.midi_inports.register("in")
        self._waiting: list[bytes] = []
        self.received: list[bytes] = []
        play_blocks(self.client, self._play)
        self.client.activate()

    def _play(self, _frames: int) -> None:
        self.received += [bytes(data) for _, data in self._in.incoming_midi_events()]
        out = self.out
        if out is not None:
            out.clear_buffer()
            if self._waiting and out.number_of_connections:
                out.write_midi_event(0, self._waiting.pop(0))

    def send(self, *events: bytes) -> None:
        """Send in the next blocks, as soon as something is connected."""
        self._waiting += events

    def unplug(self) -> None:
        out, self.out = self.out, None
        assert out is not None
        out.unregister()

    def plug(self) -> None:
        self.out = self.client.midi_outports.register("out")


@pytest.fixture
def device(server: Callable[[], jack_server.JackServer]) -> Iterator[Device]:
    server()
    made = Device()
    yield made
    made.client.deactivate()
    made.client.close()


def poll_until(midi: Midi, wanted: Callable[[list[Event]], bool]) -> list[Event]:
    events: list[Event] = []

    def come() -> bool:
        events.extend(midi.poll())
        return wanted(events)

    wait_until(come, told=lambda: f"only {events} arrived, {midi.describe()}")
    return events


def changes(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Notice)]


class ClockedDevice(Device):
    """Sends MIDI clock, each tick at its frame, on all that is connected."""

    bpm = 137.0

    def _play(self, frames: int) -> None:
        out, step = self.out, self.client.samplerate * 60 / self.bpm / 24
        if out is None:
            return
        out.clear_buffer()
        begin = self.client.last_frame_time
        for tick in range(math.ceil(begin / step), math.ceil((begin + frames) / step)):
            out.write_midi_event(min(int(tick * step) - begin, frames - 1), b"\xf8")


@pytest.mark.live
def test_tempo_of_a_clock_on_jack_is_exact(
    server: Callable[[], jack_server.JackServer], midi: Midi
) -> None:
    """Ticks have the times of their frames: within 0.05 BPM, although a block is 2.7 ms long."""
    server()
    device = ClockedDevice("sequencer")
    try:
        events = poll_until(
            midi, lambda events: sum(isinstance(each, ClockTempo) for each in events) > 4
        )
    finally:
        device.client.deactivate()
        device.client.close()
    tempi = [each.bpm for each in events if isinstance(each, ClockTempo)]
    assert tempi[-1] == pytest.approx(device.bpm, abs=0.05)
    assert "clock 137.0 BPM" in midi.describe()


MIX_0, MIX_100 = Change("mix", find("mix").minimum), Change("mix", find("mix").maximum)
CC_0, CC_127 = b"\xb0\x5b\x00", b"\xb0\x5b\x7f"


@pytest.mark.live
def test_device_is_heard_again_after_absences_of_any_length(midi: Midi, device: Device) -> None:
    for gap_s in (0.0, 0.3, 1.5):
        device.send(CC_0)
        assert changes(poll_until(midi, changes)) == [MIX_0]
        device.unplug()
        end = time.monotonic() + gap_s
        poll_until(midi, lambda _, end=end: time.monotonic() >= end)  # type: ignore[misc]
        device.plug()
        device.send(CC_127)
        assert changes(poll_until(midi, changes)) == [MIX_100]
    assert midi.answer({})["ports"] == ["device:out"]


@pytest.mark.live
@pytest.mark.parametrize(
    "broken",
    [
        [b"\xf0\x01\x02\x03"],
        [b"\xf0" + bytes(3000)],
        [b"\xf0\x01", b"\x02\x03", b"\x04"],
        [b"\xb0\x5b"],
        [b"\xb0"],
        [b"\xf2\x01", b"\xf8", b"\xfe", b"\xf7"],
        [b"\x5b\x40"],
    ],
    ids=lambda events: events[0][:4].hex(),
)
def test_message_after_a_broken_one_is_heard(
    midi: Midi, device: Device, broken: list[bytes]
) -> None:
    device.send(*broken, CC_127)
    assert changes(poll_until(midi, changes)) == [MIX_100]
    device.send(b"\xb0\x5b\x00\x5b\x7f")  # running status inside of an event
    assert changes(poll_until(midi, changes))[-1] == MIX_100


@pytest.mark.live
def test_messages_that_come_too_fast_are_a_fault(midi: Midi, device: Device) -> None:
    """One event of 30 000 program changes: more than wait in the ring of the JACK callback."""
    device.send(b"\xc0" + bytes(30_000))
    events = poll_until(midi, lambda _: bool(midi.status()["fault"]))
    device.send(CC_127)
    events += poll_until(midi, lambda events: MIX_100 in events)
    fault, heard = midi.status()["fault"], sum(isinstance(event, Program) for event in events)
    assert int(fault.split()[0]) == 30_000 - heard > 0
    assert sum(isinstance(event, Notice) and "lost" in event.text for event in events) == 1
    assert midi.is_failing and fault in midi.describe()


@pytest.mark.live
def test_broken_message_of_one_device_takes_nothing_from_another(
    midi: Midi, device: Device
) -> None:
    other = Device("other")
    poll_until(midi, lambda _: len(midi.answer({})["ports"]) == 2)
    device.send(b"\xf0\x01")
    other.send(CC_127)
    device.send(b"\x10\x7f", CC_0)  # the rest of the first; as one of the second it turns x
    heard = changes(poll_until(midi, lambda events: MIX_0 in events))
    assert all(event in (MIX_0, MIX_100) for event in heard), heard
    other.client.close()


@pytest.mark.live
def test_device_that_connects_itself_is_heard_once(midi: Midi, device: Device) -> None:
    poll_until(midi, lambda _: bool(midi.answer({})["ports"]))
    out = device.out
    assert out is not None
    device.client.connect(out, "nverb-midi:in")

    def connections() -> list[str]:
        return [port.name for port in device.client.get_all_connections(out)]

    wait_until(lambda: connections() == ["nverb-midi:in"], tend=midi.poll, told=connections)
    device.send(b"\xc0\x05", CC_127)
    assert changes(poll_until(midi, lambda events: MIX_100 in events)) == [Program(5), MIX_100]
    device.client.disconnect(out, "nverb-midi:in")
    wait_until(lambda: connections() == ["nverb-midi:in-1"], tend=midi.poll, told=connections)


@pytest.mark.live
def test_process_that_hangs_or_dies_is_replaced(midi: Midi, device: Device) -> None:
    for number, text in ((signal.SIGSTOP, "does not answer"), (signal.SIGKILL, "died")):
        device.send(CC_127)
        poll_until(midi, changes)
        pid = midi._process.pid
        assert pid is not None
        os.kill(pid, number)
        poll_until(
            midi,
            lambda events, text=text: any(  # type: ignore[misc]
                text in event.text for event in events if isinstance(event, Notice)
            ),
        )
        assert midi.is_failing
        device.send(CC_0)
        assert MIX_0 in poll_until(midi, changes)
    assert not midi.answer({})["fault"]


@pytest.mark.live
def test_controls_tell_their_values_to_named_ports(midi: Midi, device: Device) -> None:
    values = {"mix": 0.0, "x": 4.5}
    poll_until(midi, lambda _: bool(midi.answer({})["ports"]))
    midi.tell(values)
    assert not device.received  # off by default
    midi.answer({"out": ["device"]})

    def told(message: bytes) -> None:
        def come(_: list[Event]) -> bool:
            midi.tell(values)
            return message in device.received

        poll_until(midi, come)
        device.received.clear()

    # The port is connected a moment after the first values were sent: these are not lost.
    wait_until(lambda: device._in.number_of_connections, tend=midi.poll)
    values["mix"] = 100.0
    told(CC_127)
    values["mix"] = 0.0
    told(CC_0)
    device.send(CC_127)
    poll_until(midi, changes)
    values["mix"] = 100.0
    midi.tell(values)
    values["x"] = 9.0
    told(b"\xb0\x10\x7f")
    assert CC_127 not in device.received  # its own controller sent it


@pytest.mark.live
def test_midi_recovers_when_jack_restarts(
    server: Callable[[], jack_server.JackServer], midi: Midi
) -> None:
    events = poll_until(midi, bool)
    assert events == [Notice("MIDI: no JACK server answers; trying again")]
    for kill in (False, True):
        running = server()
        device = Device()
        device.send(CC_0, CC_127, b"\xc0\x07")
        events = poll_until(midi, lambda events: Program(7) in events)
        assert changes(events)[-2:] == [MIX_100, Program(7)]
        device.client.close()
        if kill:
            running.process.kill()
        running.close()
        notices = poll_until(midi, lambda _: "JACK" in midi.answer({})["fault"])
        assert any("JACK" in event.text for event in notices if isinstance(event, Notice))


@pytest.mark.live
def test_process_ends_with_its_parent(server: Callable[[], jack_server.JackServer]) -> None:
    server()
    child = subprocess.Popen(
        [sys.executable, "-m", "firmware_py.control.midi_ports", "jack"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == b".\n"
    child.stdin.close()
    assert child.wait(HANG_S) == 0
    child.stdout.close()


@pytest.mark.live
def test_messages_of_another_library_are_heard(
    server: Callable[[], jack_server.JackServer], midi: Midi
) -> None:
    rtmidi = pytest.importorskip("rtmidi", reason="python-rtmidi has no wheel here")
    server()
    out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "adversary")
    out.open_virtual_port("out")
    try:
        poll_until(midi, lambda _: midi.answer({})["ports"] == ["adversary:out"])
        for broken in ([0xF0, *[1] * 1000, 0xF7], [0xF0, 5, 5], [0xFE], [0xF8], [0xF2, 1, 2]):
            for value in (0, 127):
                out.send_message(broken)
                out.send_message([0xB0, 91, value])
                poll_until(midi, lambda events, to=MIX_100 if value else MIX_0: to in events)  # type: ignore[misc]
    finally:
        out.close_port()
        out.delete()
