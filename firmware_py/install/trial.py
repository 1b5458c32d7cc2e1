"""The trial of a bank or model before it may play: open it, make rooms, measure their time.

The installer runs it in a child process, so that a file that crashes, hangs or exhausts memory
cannot stop the installer.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsp.errors import InvalidValue, reason
from firmware_py.jack.defaults import RATE_HZ
from models.latent import KNOB_STEPS

if TYPE_CHECKING:
    from dsp.synthesis import Floats
    from firmware_py.rooms.maker import RoomMaker

MAX_WALL_S, LEAST_CPU_S = 60.0, 0.1
"""A trial hangs if in MAX_WALL_S it works for less than LEAST_CPU_S. An install process has low
priority: beside other work its trial takes longer."""
MOST_WALL_S = 600.0
MAX_CPU_S = 40
MAX_MEMORY = 1 << 30
"""Bytes beyond what the installer itself uses."""
MAX_ROOM_S = 1.0
"""CPU time of a room on the slowest board; a slower room lags behind the knobs."""
PEAK = 8.0
"""IRs are loudness-normalised with a peak bound far below this."""
Place = tuple[float, float, float]
MIDDLE: Place = (KNOB_STEPS / 2,) * 3
ENDS: tuple[Place, ...] = ((0.0, 0.0, KNOB_STEPS), (KNOB_STEPS, KNOB_STEPS, 0.0))
_TURNS = (KNOB_STEPS / 2, 0.0, KNOB_STEPS)
PLACES: tuple[Place, ...] = tuple((x, y, z) for x in _TURNS for y in _TURNS for z in _TURNS)
"""Knob positions x, y, z: each knob at its middle and at both ends, in all combinations."""


class TrialError(InvalidValue):
    """The file failed its trial; the message says why."""


_warm: list[RoomMaker] = []


def prepare() -> None:
    """Make what all trials share.

    Not while a file arrives: the board sends no beats then, and beside other work this takes long.
    """
    from device.controls import defaults
    from firmware_py.rooms.maker import RoomMaker
    from firmware_py.rooms.source import BuiltInRooms

    if not _warm:
        _warm.append(RoomMaker(BuiltInRooms(), RATE_HZ, 10 * RATE_HZ))
        for x, y, z in (MIDDLE, *ENDS):
            _warm[0].ir(defaults() | {"x": x, "y": y, "z": z})


def check(path: Path, *, rooms: tuple[Place, ...] = PLACES, check_hash: bool = True) -> None:
    """Open a bank or model and make its rooms at these knob positions.

    Opening a model runs its golden vectors. check_hash: also check the hash of a bank, and the
    values of all its rooms and recordings.
    Raises ValueError, OSError.
    """
    from bank.format import Bank
    from device.controls import defaults
    from firmware_py.rooms.source import find_source

    prepare()
    source = find_source(path, trusted=True)  # in the child process of the trial
    if check_hash and isinstance(source, Bank):
        source.verify()
    maker = _warm[0].of(source)
    values = defaults()
    for x, y, z in rooms:
        ir, took_s = _made(maker, values | {"x": x, "y": y, "z": z})
        if took_s > MAX_ROOM_S:  # perhaps with the carriers, which later rooms share
            ir, took_s = _made(maker, values | {"x": x, "y": y, "z": z})
        where = f"the room at {x:g}, {y:g}, {z:g}"
        if not np.isfinite(ir).all():
            raise TrialError(f"{where} is not finite")
        if not 0 < np.abs(ir).max() < PEAK:
            raise TrialError(f"{where} is silent or far too loud")
        if took_s > MAX_ROOM_S:
            raise TrialError(f"{where} takes {took_s:.1f} s to make: too slow for a pedal")


def _made(maker: RoomMaker, values: dict[str, float]) -> tuple[Floats, float]:
    """A room's IR, and the CPU time that it took."""
    begun_s = time.process_time()
    return maker.ir(values), time.process_time() - begun_s


def run(what: Callable[[], None]) -> None:
    """Run `what` in a child process with limits on time and memory.

    Raises TrialError with the error of the child, or the signal that killed it.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.write(writer, _attempt(what).encode()[:4000])
        finally:
            os._exit(0)  # without the parent's exit handlers and buffers
    os.close(writer)
    try:
        message = _message(reader, pid)
        if message is None:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(reader)
        _, status = os.waitpid(pid, 0)
    if message is None:
        raise TrialError(f"making a few rooms takes more than {MAX_WALL_S:g} s")
    if message or status:
        code = os.waitstatus_to_exitcode(status)
        raise TrialError(
            message or f"nverb crashes on it ({signal.Signals(-code).name if code < 0 else code})"
        )


def _attempt(what: Callable[[], None]) -> str:
    """Called in the child: run `what` under limits; return its error as one line, or ""."""
    try:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        for limit, value in (
            (resource.RLIMIT_CPU, MAX_CPU_S),
            (resource.RLIMIT_AS, size + MAX_MEMORY),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
                resource.setrlimit(limit, (value, value))
        what()
    except MemoryError:
        return "it needs more memory than a pedal has"
    except Exception as error:
        return reason(error)
    return ""


def _message(reader: int, pid: int) -> str | None:
    """All that the child `pid` writes before it closes the pipe; None if it hangs."""
    data, worked_s, begun_s = b"", 0.0, time.monotonic()
    deadline = begun_s + MAX_WALL_S
    while True:
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            before_s, worked_s = worked_s, _cpu_s(pid)
            if worked_s - before_s < LEAST_CPU_S or time.monotonic() > begun_s + MOST_WALL_S:
                return None
            deadline = time.monotonic() + MAX_WALL_S
            continue
        part = os.read(reader, 4096)
        if not part:
            return data.decode(errors="replace")
        data += part


def _cpu_s(pid: int) -> float:
    """CPU time of a child of this process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
