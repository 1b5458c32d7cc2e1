"""Shared by the live tests of a complete pedal: wait for settings, and record played sounds.

The pedal's jackd waits for its clients, so a busy machine delays a sound but does not change it. If
a client exceeds even that timeout (firmware_py.jack.server.PATIENCE_MS), jackd logs it and the
sound is played again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jack
import numpy as np
from numpy.typing import NDArray
from waiting import HANG_S, wait_until

from firmware_py.bench.recovery import Ear
from firmware_py.desk.player import Player, play_blocks
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link import client as socket

RATE_HZ = 48000
TAKES = 10
SMOOTH_S = 0.3
"""Longer than the ramp of any parameter."""
SILENT_S = 4.0
"""The rooms of the tests have rung out after this time."""


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """The answer of the running pedal."""
    return socket.ask(request, timeout_s=HANG_S)


def status() -> dict[str, Any]:
    return dict(ask({"do": "status"})["status"])


def settle(pedal: Supervisor, seconds: float = SMOOTH_S) -> None:
    """Wait until no room has started or faded for `seconds` of sound."""
    serial, since = -1, 0

    def quiet() -> bool:
        nonlocal serial, since
        audio = status()["audio"]
        if audio is None:
            return False
        if audio["fading"] or audio["playing_serial"] != serial or audio["blocks"] < since:
            serial, since = audio["playing_serial"], audio["blocks"]
        return bool((audio["blocks"] - since) * audio["block_frames"] > seconds * audio["rate_hz"])

    wait_until(quiet, tend=pedal.tend)


def set_controls(pedal: Supervisor, **values: float) -> None:
    """Set controls and wait until they have taken effect."""
    ask({"do": "set", "values": values})
    settle(pedal)


def sine(seconds: float) -> NDArray[np.float32]:
    wave = 0.25 * np.sin(2 * np.pi * 1000 * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


def roughness(heard: NDArray[np.float32]) -> NDArray[np.float64]:
    """Deviation of each sample of a 1 kHz sine from the prediction by its neighbours."""
    x = heard[:, 0].astype(float)
    return np.abs(x[2:] - 2 * np.cos(2 * np.pi * 1000 / RATE_HZ) * x[1:-1] + x[:-2])


class Take:
    """Checks that the pedal is the same before and after a sound is played through it.

    `steady`: room and parameters must be the same, too; a knob at the position of its control may
    fine-tune it at any time.
    """

    def __init__(self, pedal: Supervisor, steady: bool) -> None:
        self._pedal, self._jackd, self._ear, self._steady = pedal, pedal.jack, Ear(), steady
        assert self._jackd is not None
        self._before = self._state()

    def _state(self) -> tuple[object, ...]:
        """PID of the audio process, blocks that jackd played without it, and what it plays."""
        self._ear.heartbeat()
        port = self._ear.port
        assert port is not None and self._jackd is not None
        meters = port.meters()
        plays = (meters.playing_serial, port.newest_room(), port.params()) if self._steady else ()
        return meters.pid, self._jackd.lost_blocks(), *plays

    def __str__(self) -> str:
        return f"before {self._before}, after {self._state()}"

    @property
    def goes_on(self) -> bool:
        return self._pedal.jack is self._jackd

    def was_undisturbed(self) -> bool:
        """Now that it is over: the same audio process plays on."""
        blocks, _ = self._ear.heartbeat()
        wait_until(
            lambda: not self.goes_on or self._ear.heartbeat()[0] != blocks, tend=self._pedal.tend
        )
        return self.goes_on and self._state() == self._before


def take(
    pedal: Supervisor,
    sound: NDArray[np.floating[Any]],
    *,
    prepare: Callable[[], object] | None = None,
    during: Sequence[Callable[[], object]] = (),
    every_s: float = 0.1,
    tend: bool = True,
) -> NDArray[np.float32]:
    """Play `sound` (frames, 2) through the pedal and return its output, aligned.

    The loop through two JACK clients takes one block. `prepare`: called before each take. `during`:
    called during the take, after 1 s and then every `every_s` of sound; the take ends 0.5 s after
    the last call. `tend`: tend the pedal during the take.
    """
    for _ in range(TAKES):
        if prepare is not None:
            prepare()
        this = Take(pedal, steady=not during)
        player = Player(os.environ["JACK_DEFAULT_SERVER"], np.asarray(sound, np.float32))
        try:
            player.start(2)
            at = RATE_HZ
            for act in during:
                _play_to(at, player, this, pedal.tend if tend else None)
                act()
                at = player.position + int(every_s * RATE_HZ)
            end = player.position + RATE_HZ // 2 if during else len(sound)
            assert end <= len(sound), "the sound ended before the last call of `during`"
            _play_to(end, player, this, pedal.tend if tend else None)
        finally:
            player.close()
        if this.was_undisturbed():
            return player.recording[player.block_frames : end]
        print("a take was disturbed:", this)
        if tend:
            settle(pedal, SILENT_S)  # the rest of this take is no part of the next
    raise AssertionError(f"in {TAKES} takes JACK never played all blocks with an unchanged pedal")


def _play_to(frame: int, player: Player, this: Take, tend: Callable[[], object] | None) -> None:
    wait_until(
        lambda: player.position >= frame or not this.goes_on,
        tend=tend,
        told=lambda: "JACK plays no more blocks",
    )


def open_client(name: str) -> jack.Client:
    """A client of the test's JACK server, as soon as that is not too busy to answer."""

    def opened() -> jack.Client | None:
        try:
            server = os.environ["JACK_DEFAULT_SERVER"]
            return jack.Client(name, servername=server, no_start_server=True)
        except jack.JackOpenError:
            return None

    return wait_until(opened)


def send_midi(*messages: str) -> None:
    """Send MIDI messages (hexadecimal digits) to the pedal, one per block, from a JACK client."""
    left = [bytes.fromhex(message) for message in messages]
    client = open_client(f"keys-{os.getpid()}")
    out = client.midi_outports.register("out")

    def play(_frames: int) -> None:
        out.clear_buffer()
        if left and out.is_connected_to("nverb-midi:in"):  # active, not only requested
            out.write_midi_event(0, left.pop(0))

    play_blocks(client, play)
    with client:
        client.connect(out, "nverb-midi:in")
        wait_until(lambda: not left)
