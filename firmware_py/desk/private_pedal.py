"""A pedal of a command's own, on a private JACK server."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dsp.errors import UserError
from firmware_py.base.process import command
from firmware_py.desk.supervisor import Child, Supervisor
from firmware_py.jack import server
from firmware_py.link.client import ask

_running: list[str] = []
"""The JACK servers of private pedals that run."""


@contextmanager
def private_pedal(
    *,
    block_frames: int = 128,
    rate_hz: int = 48000,
    synchronous: bool = True,
    audio_arguments: tuple[str, ...] = (),
    control_arguments: tuple[str, ...] = ("--profile", "sim"),
    as_service: bool = False,
) -> Iterator[Supervisor]:
    """A whole pedal on a JACK server and a runtime folder of its own, torn down at the end. Demo, tests and benches.

    `as_service`: real-time priority, as far as this user may have it, and locked memory. Sets NVERB_RUNTIME_DIR and
    JACK_DEFAULT_SERVER of this process for its life.
    """
    # By number: JACK knows eight names on a machine, also of servers that died, until one of the name comes again.
    name = f"nverb-{os.getpid()}-{len(_running)}"
    _running.append(name)
    runtime = tempfile.mkdtemp(prefix="nverb-", dir="/dev/shm")
    before = {key: os.environ.get(key) for key in ("NVERB_RUNTIME_DIR", "JACK_DEFAULT_SERVER")}
    os.environ.update(NVERB_RUNTIME_DIR=runtime, JACK_DEFAULT_SERVER=name)
    supervisor = None
    realtime = as_service and server.take_limits()
    if not as_service:
        audio_arguments = ("--no-lock", *audio_arguments)
    try:
        supervisor = Supervisor(
            [
                Child("audio", command("audio", "--no-connect", *audio_arguments)),
                Child("control", command("control", *control_arguments)),
            ],
            lambda: server.dummy(
                name,
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


def wait_for_room(supervisor: Supervisor, timeout_s: float = 60.0) -> dict[str, Any]:
    """Tends the pedal until its first room sounds; its status. Raises UserError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        supervisor.tend()
        try:
            status: dict[str, Any] = ask({"do": "status"})["status"]
            audio = status["audio"]
            if audio and audio["alive"] and audio["playing_serial"] and not audio["fading"]:
                return status
        except UserError:
            pass
        time.sleep(0.05)
    raise UserError(f"the pedal did not begin to play within {timeout_s:g} s: see the lines above")
