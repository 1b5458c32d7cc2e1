"""A JACK client that plays a clip through the pedal and records what comes out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bank.recording import why_unreadable
from dsp import _engine
from dsp.errors import UserError
from firmware_py.base.say import say
from models.packages import studio_import

Floats = NDArray[np.float32]

CONNECTING_S = 0.3
"""Time for JACK to activate connections, see `_begin`."""
NEEDS_NO_LOCK = "Cannot lock down"
"""libjack's complaint where a user may not lock memory: a player may be late."""


def read_clip(path: Path, rate_hz: int, seconds: float) -> Floats:
    """The clip, repeated with pauses: float32 (frames, 2), peak -6 dBFS."""
    import soundfile
    import soxr

    try:
        sound, clip_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: {why_unreadable(path, error)}") from None
    if not len(sound) or not np.isfinite(sound).all() or not np.abs(sound).max():
        raise UserError(f"{path}: silent, empty or not finite; choose another clip")
    sound = soxr.resample(sound, clip_rate_hz, rate_hz)[: int(4 * rate_hz), [0, -1]]
    fade = np.linspace(1, 0, int(0.01 * rate_hz), dtype=np.float32)[:, None]
    sound[-len(fade) :] *= fade[-len(sound) :]
    period = len(sound) + int(1.5 * rate_hz)
    out = np.zeros((int(seconds * rate_hz), 2), np.float32)
    for start in range(0, len(out), period):
        part = out[start : start + len(sound)]
        part[:] = sound[: len(part)]
    return out * np.float32(0.5 / np.abs(sound).max())


def play_blocks(client: Any, play: Callable[[int], None]) -> None:
    """Make an inactive jack.Client call `play` for each block, so that it can be closed safely.

    See nv_watchdog_whole_block in dsp/watchdog.h. Raises jack.JackError.
    """
    from importlib import import_module

    client_library: Any = import_module("jack")

    @client._callback("JackProcessCallback", error=1)  # type: ignore[untyped-decorator]
    def process(frames: int, _argument: object) -> int:
        play(frames)
        return 0

    library, cast = client_library._lib, client_library._ffi.cast
    whole_block = cast("JackProcessCallback", _engine.WHOLE_BLOCK)
    if library.jack_set_process_callback(client._ptr, whole_block, cast("void *", process)):
        raise client_library.JackError("no process callback")


def count_xruns(client: Any) -> Callable[[], int]:
    """A function that returns how many xruns JACK has told an inactive jack.Client of.

    See nv_watchdog_count in dsp/watchdog.h. Raises jack.JackError.
    """
    from importlib import import_module

    client_library: Any = import_module("jack")
    library, ffi = client_library._lib, client_library._ffi
    count = ffi.new("int *")
    callback = ffi.cast("JackXRunCallback", _engine.COUNT)
    if library.jack_set_xrun_callback(client._ptr, callback, count):
        raise client_library.JackError("no xrun callback")
    return lambda: int(count[0])


class Player:
    """A JACK client that plays one sound into the pedal and records the pedal's output.

    With a server in synchronous mode no sample is lost, and the recording is exactly one block late
    (the loop through two clients).
    """

    def __init__(self, server: str, sound: Floats) -> None:
        """`sound`: float32 (frames, 2). Raises UserError if the server does not answer, and
        ImportError with the command that installs the package of JACK clients."""
        client_library = studio_import("jack")

        # JACK names the socket of a client after the client only, not its server, so two clients
        # of the same name on two servers would conflict.
        name = f"nverb-player-{os.getpid()}"
        said: list[str] = []
        client_library.set_error_function(said.append)
        try:
            self.client = client_library.Client(name, servername=server, no_start_server=True)
        except client_library.JackError as error:
            raise UserError(f"JACK server {server}: {'; '.join([*said, str(error)])}") from None
        finally:
            client_library.set_error_function()
        for line in said:
            if not line.startswith(NEEDS_NO_LOCK):
                say(line)
        self.block_frames = int(self.client.blocksize)
        padding = -len(sound) % self.block_frames
        self._sound = np.concatenate([sound, np.zeros((padding, 2), np.float32)])
        self.recording = np.zeros_like(self._sound)
        self.position = 0
        self.playing = False
        self._cycles = 0
        self._out: list[Any] = [self.client.outports.register(f"out_{c + 1}") for c in range(2)]
        self._in: list[Any] = [self.client.inports.register(f"in_{c + 1}") for c in range(2)]
        play_blocks(self.client, self._process)

    def _process(self, frames: int) -> None:
        self._cycles += 1
        at = self.position
        active = self.playing and at < len(self._sound)
        for c in range(2):
            self._out[c].get_array()[:] = self._sound[at : at + frames, c] if active else 0
            if active:
                self.recording[at : at + frames, c] = self._in[c].get_array()
        if active:
            self.position = at + frames

    def start(self, inputs: int) -> None:
        """Connect to the pedal and begin to play. Raises UserError without the pedal's ports."""
        import jack as client_library

        self.client.activate()
        try:
            for c in range(2):
                if c < inputs:
                    self.client.connect(self._out[c], f"nverb:input_{c + 1}")
                self.client.connect(f"nverb:output_{c + 1}", self._in[c])
        except client_library.JackError as error:
            raise UserError(f"cannot connect to the pedal's JACK ports: {error}") from None
        self._begin()

    def start_to(self, ports: Sequence[str]) -> None:
        """Connect only to these two ports and begin to play. Raises UserError without them."""
        import jack as client_library

        self.client.activate()
        try:
            for own, port in zip(self._out, ports, strict=True):
                self.client.connect(own, port)
        except client_library.JackError as error:
            raise UserError(f"cannot connect to JACK's ports {', '.join(ports)}: {error}") from None
        self._begin()

    def _begin(self) -> None:
        """Play when the connections are active.

        JACK answers before that, and activates them one by one in the following cycles.
        """
        cycles, until = self._cycles, time.monotonic() + CONNECTING_S
        while time.monotonic() < until or (
            self._cycles - cycles < 16 and time.monotonic() < until + 2
        ):
            time.sleep(0.01)
        self.playing = True

    @property
    def done(self) -> bool:
        return self.position >= len(self._sound)

    def close(self) -> None:
        self.client.deactivate()
        self.client.close()
