"""`nverb bench pedal`: a complete pedal on JACK's dummy driver.

Real processes and the real graph, no sound card.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from pathlib import Path
from typing import TypedDict

import numpy as np

from dsp.errors import UserError
from firmware_py.desk.phrase import phrase
from firmware_py.desk.player import Player
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.jack.defaults import RATE_HZ
from firmware_py.link.client import ask
from firmware_py.link.mailbox import Mailbox
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source


class Ways(TypedDict):
    """Times from a command to its room in ms. moves: the number of commands."""

    moves: int
    median: float
    p99: float
    unloaded_median: float
    """Without the time in which the control process waited for a processor."""
    unloaded_p99: float


class Storm(TypedDict):
    """What happened while all knobs turned. Loads are shares of the block period."""

    seconds: float
    realtime: list[int]
    """Real-time priorities of the audio process's threads."""
    rooms: int
    blocks: int
    late_blocks: int
    xruns: int
    idle_xruns: int
    driver_xruns: int
    load: float
    worst_load: float


def measure(*, block_frames: int, storm_s: float, show: bool) -> dict[str, object]:
    """All figures by name. `show`: print each as soon as it is measured. Raises UserError."""
    figures: dict[str, object] = {"block_frames": block_frames, "rate_hz": RATE_HZ}

    def note(name: str, value: object, text: str) -> None:
        figures[name] = value
        if show:
            print(text, flush=True)

    def note_resident(pedal: Supervisor, name: str, bar: int) -> None:
        process = next(child.process for child in pedal.children if child.name == name)
        assert process is not None
        memory = resident_mb(process.pid)
        note(
            f"{name}_rss_mb",
            memory,
            f"resident set, {name:8}        {memory['own']:.1f} MB own (bar {bar}), "
            f"{memory['shared']:.1f} MB of shared memory",
        )

    starts = [start_to_first_block_ms(block_frames) for _ in range(3)]
    note(
        "start_ms",
        starts,
        f"process start -> first block   {statistics.median(starts):.0f} ms "
        "(median of 3; bar 1000)",
    )
    with private_pedal(block_frames=block_frames, synchronous=True) as pedal:
        wait_for_room(pedal)
        error_db = live_error_db(pedal)
        note(
            "live_error_db",
            error_db,
            f"live output against scipy      {error_db:.1f} dB of the peak, no time offset",
        )
        note_resident(pedal, "audio", 60)  # not locked, so this is what it uses
    with private_pedal(block_frames=block_frames, synchronous=False, as_service=True) as pedal:
        wait_for_room(pedal)
        ways = knob_to_room_ms(pedal)
        note(
            "knob_to_room_ms",
            ways,
            f"knob -> first sample of a room {ways['median']:.1f} ms median, "
            f"{ways['p99']:.1f} ms p99 of {ways['moves']} (bars 30, 60); "
            "without waits for a processor: "
            f"{ways['unloaded_median']:.1f}, {ways['unloaded_p99']:.1f}",
        )
        storm = knob_storm(pedal, storm_s)
        note(
            "storm",
            storm,
            f"knob storm of {storm_s:g} s           {_storm_text(storm)}",
        )
        note_resident(pedal, "control", 70)
    return figures


def priority_text(realtime: list[int]) -> str:
    """realtime: as of `realtime_threads`."""
    if not realtime:
        return "WITHOUT REAL-TIME PRIORITY (not allowed here)"
    return f"real-time priority {realtime[0]}"


def _storm_text(storm: Storm) -> str:
    return (
        f"{storm['rooms']} rooms in {storm['blocks']} blocks, {priority_text(storm['realtime'])}\n"
        f"  xruns in JACK's log          pedal {storm['xruns']}, "
        f"idle client {storm['idle_xruns']}, driver {storm['driver_xruns']}; "
        f"late blocks of the pedal {storm['late_blocks']}; "
        f"load {100 * storm['load']:.1f} % mean, {100 * storm['worst_load']:.1f} % worst"
    )


def start_to_first_block_ms(block_frames: int) -> float:
    """Time from the start of the audio process to its first block; JACK is running already.

    Raises UserError after 20 s.
    """
    with private_pedal(block_frames=block_frames) as pedal:
        audio = pedal.children[0]
        begun = time.monotonic()
        audio.tend(begun)
        mailbox = Mailbox()
        while time.monotonic() - begun < 20:
            mailbox.refresh()
            if mailbox.port is not None and mailbox.port.meters().blocks:
                return 1000 * (time.monotonic() - begun)
            time.sleep(0.002)
    raise UserError("the audio process did not play within 20 s; see its messages above")


def live_error_db(pedal: Supervisor) -> float:
    """Difference of a clip played through the pedal from scipy's convolution, in dB of the peak."""
    from scipy.signal import fftconvolve

    ask({"do": "set", "values": {"gain": 0.0, "mix": 100.0, "limiter": 0.0}})
    time.sleep(0.5)
    values = ask({"do": "get"})["values"]
    clip = phrase(RATE_HZ, 4.0)
    player = Player(os.environ["JACK_DEFAULT_SERVER"], clip)
    player.start(2)
    while not player.done:
        pedal.tend()
        time.sleep(0.05)
    player.close()
    ir = RoomMaker(find_source(), RATE_HZ, 10 * RATE_HZ).ir(values).astype(float)
    expected = np.stack(
        [fftconvolve(clip[:, c].astype(float), ir[c])[: len(clip)] for c in range(2)], axis=1
    )
    # The loop through two JACK clients takes one block.
    got = player.recording[player.block_frames : len(clip)]
    difference = np.abs(got - expected[: len(got)]).max()
    return float(20 * np.log10(difference / np.abs(expected).max()))


def knob_to_room_ms(pedal: Supervisor, moves: int = 200) -> Ways:
    """Time from sending a command to the first block of its room. Moves are 150 to 200 ms apart."""
    control = next(child.process for child in pedal.children if child.name == "control")
    assert control is not None
    random_ = random.Random(1)
    mailbox = Mailbox()
    mailbox.refresh()
    port = mailbox.port
    assert port is not None
    ways, unloaded = [], []
    for _ in range(moves):
        pedal.tend()
        time.sleep(0.15 + 0.05 * random_.random())
        serial = port.meters().playing_serial
        waited_ms, sent_ns = run_queue_ms(control.pid), time.monotonic_ns()
        ask({"do": "set", "values": {axis: round(9 * random_.random(), 3) for axis in "xyz"}})
        deadline = time.monotonic() + 2
        while port.meters().playing_serial == serial and time.monotonic() < deadline:
            time.sleep(0.001)
        ways.append((port.meters().playing_since_ns - sent_ns) / 1e6)
        unloaded.append(max(ways[-1] - (run_queue_ms(control.pid) - waited_ms), 0.0))
    ways.sort(), unloaded.sort()
    p99 = int(0.99 * moves)
    return {
        "moves": moves,
        "median": statistics.median(ways),
        "p99": ways[p99],
        "unloaded_median": statistics.median(unloaded),
        "unloaded_p99": unloaded[p99],
    }


def run_queue_ms(pid: int) -> float:
    """Time for which a process's main thread has waited for a processor (proc(5), schedstat).

    0 if the kernel does not report it.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


class IdleClient:
    """A JACK client on the same server whose callback does nothing: its xruns are the system's.

    The callback is the C library's iswdigit(frames), which returns 0 (continue) for all block
    sizes: a Python callback would need the GIL.
    """

    NAME = "nverb-idle"

    def __init__(self) -> None:
        import ctypes

        self._jack = ctypes.CDLL("libjack.so.0")
        self._jack.jack_client_open.restype = ctypes.c_void_p
        no_start_server = 1
        self._client = ctypes.c_void_p(
            self._jack.jack_client_open(self.NAME.encode(), no_start_server, None)
        )
        if not self._client:
            raise UserError("JACK does not accept a second client; close other JACK clients")
        self._jack.jack_set_process_callback(self._client, ctypes.CDLL(None).iswdigit, None)
        self._jack.jack_activate(self._client)

    def close(self) -> None:
        self._jack.jack_client_close(self._client)


def knob_storm(pedal: Supervisor, seconds: float) -> Storm:
    """Turn all knobs 50 times per second and count the xruns of the pedal and an idle client."""
    assert pedal.jack is not None and pedal.children[0].process is not None
    idle = IdleClient()
    realtime = realtime_threads(pedal.children[0].process.pid)
    random_ = random.Random(2)
    log_before = len(pedal.jack.log())
    before = ask({"do": "status"})["status"]["audio"]
    knobs = {"x": 9.0, "y": 9.0, "z": 9.0, "width": 4.0, "predelay": 100.0, "mix": 100.0}
    load, worst, end = [], 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        pedal.tend()
        ask(
            {
                "do": "set",
                "values": {name: round(top * random_.random(), 3) for name, top in knobs.items()},
            }
        )
        if random_.random() < 0.02:
            status = ask({"do": "status"})["status"]["audio"]
            load.append(status["load"])
            worst = max(worst, status["worst_load"])
        time.sleep(0.02)
    after = ask({"do": "status"})["status"]["audio"]
    log = pedal.jack.log()[log_before:]
    idle.close()
    return {
        "seconds": seconds,
        "realtime": realtime,
        "rooms": after["playing_serial"] - before["playing_serial"],
        "blocks": after["blocks"] - before["blocks"],
        "late_blocks": after["late_blocks"] - before["late_blocks"],
        "xruns": len(re.findall(r"XRun: client = nverb was", log)),
        "idle_xruns": len(re.findall(rf"XRun: client = {IdleClient.NAME} was", log)),
        "driver_xruns": len(re.findall(r"Driver::Process XRun", log)),
        "load": statistics.fmean(load) if load else after["load"],
        "worst_load": max(worst, after["worst_load"]),
    }


def realtime_threads(pid: int) -> list[int]:
    """Real-time priorities of a process's threads, highest first; other threads are left out."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        policy = os.sched_getscheduler(int(task.name))
        if policy in (os.SCHED_FIFO, os.SCHED_RR):
            found.append(os.sched_getparam(int(task.name)).sched_priority)
    return sorted(found, reverse=True)


def resident_mb(pid: int) -> dict[str, float]:
    """Resident set of a process: own (anonymous and files), shared (mailbox and JACK's memory)."""
    kilobytes = {
        key: int(value)
        for key, value in re.findall(
            r"^(Rss\w+):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
        )
    }
    return {
        "own": (kilobytes["RssAnon"] + kilobytes["RssFile"]) / 1024,
        "shared": kilobytes["RssShmem"] / 1024,
    }
