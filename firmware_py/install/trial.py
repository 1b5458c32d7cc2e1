"""The trial of a bank or model before it may play: is it what it says, do rooms come out, and in time?

In a child process, so that a file which crashes, hangs or eats the memory harms nobody. The installer runs it.
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

from dsp.errors import InvalidValue

if TYPE_CHECKING:
    from firmware_py.rooms.maker import RoomMaker

MAX_WALL_S = 60.0
MAX_CPU_S = 40
MAX_MEMORY = 1 << 30
"""Beyond what the installer takes itself."""
MAX_ROOM_S = 1.0
"""CPU time: a room that takes longer cannot be played by turning knobs, on the slowest board."""
RATE_HZ = 48000
PEAK = 8.0
"""IRs are loudness-normalised with a peak bound; this is far beyond it."""
Place = tuple[float, float, float]
MIDDLE: Place = (4.5, 4.5, 4.5)
PLACES: tuple[Place, ...] = (MIDDLE, (0.0, 0.0, 9.0), (9.0, 9.0, 0.0))
"""Of the knobs: every one at its middle and at both of its ends."""


class TrialError(InvalidValue):
    """It may not play. The message says why."""


_warm: list[RoomMaker] = []


def prepare() -> None:
    """Makes what all trials need, while the file is still coming in."""
    from device.controls import defaults
    from firmware_py.rooms.maker import RoomMaker
    from firmware_py.rooms.source import BuiltInRooms

    if not _warm:
        _warm.append(RoomMaker(BuiltInRooms(), RATE_HZ, 10 * RATE_HZ))
        _warm[0].ir(defaults())


def check(path: Path, *, rooms: tuple[Place, ...] = PLACES, whole: bool = True) -> None:
    """Opens a bank or model and makes the rooms at these places of the knobs. Raises ValueError, OSError. Golden vectors of a model are
    run by opening it; `whole`: a bank's own hash is checked, too."""
    from bank.format import Bank
    from device.controls import defaults
    from firmware_py.rooms.source import find_source

    prepare()
    source = find_source(path, trusted=True)  # this is the child process that tries it
    if whole and isinstance(source, Bank):
        source.verify()
    maker = _warm[0].of(source)
    values = defaults()
    for place, (x, y, z) in enumerate(rooms):
        begun = time.process_time()
        ir = maker.ir(values | {"x": x, "y": y, "z": z})
        took = time.process_time() - begun
        where = f"the room at {x:g}, {y:g}, {z:g}"
        if not np.isfinite(ir).all():
            raise TrialError(f"{where} is not finite")
        if not 0 < np.abs(ir).max() < PEAK:
            raise TrialError(f"{where} is silent or far too loud")
        if place and took > MAX_ROOM_S:  # the first one makes the carriers for all
            raise TrialError(f"{where} takes {took:.1f} s to make: too slow to be played")


def run(what: Callable[[], None]) -> None:
    """Runs `what` in a child process, bounded. Raises TrialError with the child's error, or with how it died."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.write(writer, _attempt(what).encode()[:4000])
        finally:
            os._exit(0)  # nothing of the parent's is run or written again
    os.close(writer)
    try:
        message = _message(reader, time.monotonic() + MAX_WALL_S)
        if message is None:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(reader)
        _, status = os.waitpid(pid, 0)
    if message is None:
        raise TrialError(f"it takes more than {MAX_WALL_S:g} s to make a few rooms")
    if message or status:
        code = os.waitstatus_to_exitcode(status)
        raise TrialError(
            message or f"it makes nverb crash ({signal.Signals(-code).name if code < 0 else code})"
        )


def _attempt(what: Callable[[], None]) -> str:
    """In the child: an error as one line, or nothing."""
    try:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        for limit, value in (
            (resource.RLIMIT_CPU, MAX_CPU_S),
            (resource.RLIMIT_AS, size + MAX_MEMORY),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
                resource.setrlimit(limit, (value, value))
        what()
    except MemoryError:
        return "it takes more memory than a pedal has"
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _message(reader: int, deadline: float) -> str | None:
    """All that the child says before it closes the pipe, or None if it does not in time."""
    data = b""
    while True:
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(reader, 4096)
        if not part:
            return data.decode(errors="replace")
        data += part
