"""Run by test_realtime.py with watch.c preloaded: runs the complete pyo graph for many blocks, with
changes of rooms and controls between them, and counts forbidden calls. Prints one JSON object."""

from __future__ import annotations

import ctypes
import json
import os
import sys

import numpy as np

from dsp._engine import PARAMS
from dsp.graph import OfflineGraph, pyo, settle_memory  # pyo from there: its import prints nothing
from dsp.latefield import Decay, Seam, late_room

RATE_HZ = 48000
BLOCK = 64
TAPS = 64_000
"""Enough for a seam."""


class Watch:
    def __init__(self) -> None:
        self.library = ctypes.PyDLL(os.environ["LD_PRELOAD"])
        self.library.watch_calls.argtypes = (
            ctypes.py_object,
            ctypes.c_long,
            ctypes.POINTER(ctypes.c_long),
        )
        self.sees_system_calls = bool(self.library.watch_system_calls())

    def __call__(self, callback: object, times: int) -> dict[str, int]:
        counts = (ctypes.c_long * 4)()
        assert self.library.watch_calls(callback, times, counts)
        return dict(
            zip(("allocations", "locks", "system_calls", "last_system_call"), counts, strict=True)
        )


def late_rooms() -> list[np.ndarray | None]:
    """Rooms that fit, that go on, and that never end."""
    seam, hz = Seam.of(RATE_HZ, TAPS), np.array([20.0, 20_000.0])
    rates = np.array([3.0, 60.0])
    return [
        None,
        late_room(Decay(hz, rates), seam),
        late_room(Decay(hz, rates, np.full(2, -50.0)), seam),
        late_room(Decay(hz, rates, np.full(2, -60.0), lasting=True), seam, 0.0),
    ]


def main(blocks: int) -> None:
    rng = np.random.default_rng(1)
    rooms = [
        (0.05 * rng.standard_normal((n, taps))).astype(np.float32)
        for n, taps in ((2, 24000), (4, 9000), (1, 1), (2, 700))
    ]
    graph = OfflineGraph(rate_hz=RATE_HZ, block_frames=BLOCK, max_taps=TAPS, inputs=2)
    late = late_rooms()
    values = {name: 0.0 for name in PARAMS} | {
        "mix": 0.5,
        "lowpass_hz": 8000.0,
        "highpass_hz": 100.0,
        "trails": 1.0,
    }
    values |= {"limiter_on": 1.0, "fade_ms": 15.0}
    graph.port.set_params(values)
    graph.port.load_ir(rooms[0])
    graph.start()
    settle_memory()
    watch = Watch()
    # Positive controls: a lock, an allocation, a system call. (Plain C functions, so that nothing
    # else is counted.)
    mutex = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)
    controls = {
        "allocation": watch(lambda: bytearray(100_000), 1),
        "lock": watch(lambda: libc.pthread_mutex_lock(mutex), 1),
        "system call": watch(os.getppid, 1),
    }
    total = dict.fromkeys(("allocations", "locks", "system_calls"), 0)
    numbers: set[int] = set()
    done = changes = 0
    inputs = graph._input
    while done < blocks:
        # Between blocks, as from another process: a new room, controls, invalid input, silence.
        inputs[:] = rng.standard_normal(inputs.shape) * rng.choice([0.0, 0.1, 10.0])
        if rng.random() < 0.02:
            inputs[rng.integers(BLOCK), 0] = np.nan
        if rng.random() < 0.5:
            room = rooms[rng.integers(len(rooms))]
            graph.port.load_ir(room, late=late[rng.integers(len(late))])
            changes += 1
        for name in rng.choice(list(PARAMS), 3):
            values[name] = {
                "gain_db": rng.uniform(-140, 12),
                "mix": rng.uniform(0, 1),
                "predelay_ms": rng.uniform(0, 2000),
                "lowpass_hz": rng.uniform(500, 20000),
                "highpass_hz": rng.uniform(20, 5000),
                "fade_ms": rng.uniform(1, 60),
                "tails": float(rng.integers(3)),
                "duck_db": rng.uniform(0, 24),
                "duck_release_ms": rng.uniform(50, 1000),
                "gate_db": rng.uniform(-80, -10),
                "gate_hold_ms": rng.uniform(0, 100),
                "gate_release_ms": rng.uniform(5, 100),
                "tone_low_db": rng.uniform(-12, 12),
                "tone_high_db": rng.uniform(-12, 12),
                "level_db": rng.uniform(-40, 12),
                "movement": rng.choice([0.0, rng.uniform(0, 1)]),
                "movement_hz": rng.uniform(0.05, 5),
                "shimmer": rng.choice([0.0, rng.uniform(0, 1)]),
                "shimmer_interval": float(rng.integers(4)),
            }.get(name, float(rng.integers(2)))
        graph.port.set_params(values)
        counts = watch(graph.server.process, 25)
        done += 25
        for key in total:
            total[key] += counts[key]
        if counts["system_calls"]:
            numbers.add(counts["last_system_call"])
    meters = graph.port.meters()
    hook = pyo.CallAlways_base(lambda: bytearray(100_000), None)  # a callback that allocates
    hook.play()
    controls["in the graph"] = watch(graph.server.process, 25)
    print(
        json.dumps(
            {
                "blocks": done,
                "changes": changes,
                "played": meters.playing_serial,
                "sees_system_calls": watch.sees_system_calls,
                "controls": controls,
                "total": total,
                "system_calls": sorted(numbers),
            }
        ),
        flush=True,
    )
    assert hook is not None
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
