"""A separate pedal for one command, on a private JACK server."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsp.errors import UserError
from firmware_py.base.process import nverb_command
from firmware_py.desk.supervisor import Child, Supervisor
from firmware_py.jack import server
from firmware_py.jack.defaults import BLOCK_FRAMES, RATE_HZ
from firmware_py.link.client import ask
from firmware_py.link.status import PedalStatus

_running: list[str] = []
"""Names of the JACK servers of the running private pedals."""


@contextmanager
def private_pedal(
    *,
    block_frames: int = BLOCK_FRAMES,
    rate_hz: int = RATE_HZ,
    synchronous: bool = True,
    audio_arguments: tuple[str, ...] = (),
    control_arguments: tuple[str, ...] = ("--profile", "sim"),
    as_service: bool = False,
    driver: tuple[str, ...] = ("dummy",),
    connect: bool = False,
) -> Iterator[Supervisor]:
    """A complete pedal with its own JACK server and runtime folder. Demo, tests and benches.

    Both are removed at the end. Until then NVERB_RUNTIME_DIR and JACK_DEFAULT_SERVER of this
    process are set. `as_service`: with locked memory, and real-time priority if this user has the
    right. `driver`: of jackd, such as `dummy -C 1` for one input. `connect`: connect the pedal to
    the ports of that card. Raises UserError if jackd does not start.
    """
    # Reuse names: JACK allows eight per machine and keeps those of dead servers until they return.
    name = f"nverb-{os.getpid()}-{len(_running)}"
    _running.append(name)
    runtime = tempfile.mkdtemp(prefix="nverb-", dir="/dev/shm")
    before = {key: os.environ.get(key) for key in ("NVERB_RUNTIME_DIR", "JACK_DEFAULT_SERVER")}
    os.environ.update(NVERB_RUNTIME_DIR=runtime, JACK_DEFAULT_SERVER=name)
    supervisor = None
    realtime = as_service and server.take_limits()
    if not as_service:
        audio_arguments = ("--no-lock", *audio_arguments)
    if not connect:
        audio_arguments = ("--no-connect", *audio_arguments)
    try:
        supervisor = Supervisor(
            [
                Child("audio", nverb_command("audio", *audio_arguments)),
                Child("control", nverb_command("control", *control_arguments)),
            ],
            lambda: server.JackServer(
                name,
                list(driver),
                block_frames=block_frames,
                rate_hz=rate_hz,
                synchronous=synchronous,
                realtime=realtime,
            ),
        )
        yield supervisor
    finally:
        if supervisor is not None:
            supervisor.stop()
        _running.remove(name)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        shutil.rmtree(runtime, ignore_errors=True)


@contextmanager
def private_data() -> Iterator[Path]:
    """A temporary data folder for this process and its children."""
    before = os.environ.get("NVERB_DATA_DIR")
    with tempfile.TemporaryDirectory(prefix="nverb-data-") as folder:
        os.environ["NVERB_DATA_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("NVERB_DATA_DIR")
            if before is not None:
                os.environ["NVERB_DATA_DIR"] = before


def wait_for_room(supervisor: Supervisor, timeout_s: float = 60.0) -> PedalStatus:
    """Tend the pedal until its first room plays; return its status. Raises UserError on timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        supervisor.tend()
        try:
            status: PedalStatus = ask({"do": "status"})["status"]
            audio = status["audio"]
            if audio and audio["alive"] and audio["playing_serial"] and not audio["fading"]:
                return status
        except UserError:
            pass
        time.sleep(0.05)
    raise UserError(f"the pedal did not play within {timeout_s:g} s; see the messages above")
