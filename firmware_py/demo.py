"""The pedal without hands or sound card: a recorded clip through the live JACK graph while the simulated knobs turn.

Everything runs as on a board: jackd, audio process, control process, simulated ADC. Only the sound card is JACK's dummy driver.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bank.recording import why_unreadable
from bank.sound import write_sound
from firmware_py.jack import server as jack
from firmware_py.base.log import UserError
from firmware_py.base.paths import write_atomically
from firmware_py.link.client import ask
from firmware_py.desk.supervisor import Child, Supervisor
from firmware_py.base.process import command

Floats = NDArray[np.float32]

# (share of the demo's length, control, position of its knob 0..1): between two lines of a control its knob turns evenly.
CONNECTING_S = 0.3
LEAVE_S = 10.0
MOVES = (
    (0.00, "x", 0.15), (0.00, "y", 0.50), (0.00, "z", 0.20), (0.00, "width", 0.625), (0.00, "gain", 0.78),
    (0.10, "x", 0.15), (0.40, "x", 1.00), (0.55, "x", 0.80),
    (0.40, "y", 0.50), (0.55, "y", 0.05), (0.65, "y", 1.00), (0.70, "y", 0.60),
    (0.65, "z", 0.20), (0.80, "z", 1.00), (0.85, "z", 0.30),
    (0.80, "width", 0.625), (0.86, "width", 0.50), (0.92, "width", 0.875), (1.00, "width", 0.625),
    (0.90, "x", 0.80), (1.00, "x", 0.30),
)  # fmt: skip


def clip_path() -> Path:
    """A recorded clip that comes with pyo (its SNDS_PATH), found without importing pyo: only the audio process does."""
    from importlib.util import find_spec

    spec = find_spec("pyo")
    if spec is None or spec.origin is None:
        raise UserError("pyo is not installed: `make run` installs it")
    return Path(spec.origin).parent / "lib" / "snds" / "accord.aif"


def read_clip(path: Path, rate_hz: int, seconds: float) -> Floats:
    """The clip again and again with a pause after each, as players try a pedal: float32 (frames, 2), peak -6 dBFS."""
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


class BlockPlayer:
    """Plays the blocks of a JACK client by a function of Python's, so that the client can be closed.

    libjack ends the thread that plays by pthread_cancel. Where that comes while it waits for the GIL, as it does on a busy machine, the
    lock of the GIL goes with it, and Python stands still for ever. So the thread is let leave by itself first.
    """

    def __init__(self, client: Any, play: Callable[[int], None]) -> None:
        self._client, self._play = client, play
        self._active = self._leaving = False
        self._thread = 0
        client.set_process_callback(self._process)

    def activate(self) -> None:
        """Raises jack.JackError."""
        self._active = True
        self._client.activate()

    def _process(self, frames: int) -> None:
        import jack as client_library

        self._thread = threading.get_native_id()
        if self._leaving:
            raise client_library.CallbackExit
        self._play(frames)

    def close(self) -> None:
        """A JACK server that plays no more blocks has LEAVE_S to go on: there is nobody who waits for the GIL then."""
        self._leaving = True
        until = time.monotonic() + LEAVE_S
        while self._active and time.monotonic() < until:
            self._active = not self._thread or os.path.exists(f"/proc/self/task/{self._thread}")
            time.sleep(0.005)
        self._client.close()


class Player:
    """A JACK client that plays one sound into the pedal and records what comes back.

    With the server in synchronous mode no sample is lost: what it records is what the pedal did, late by one block (the loop
    through two clients) and no more.
    """

    def __init__(self, server: str, sound: Floats) -> None:
        """`sound`: float32 (frames, 2). Raises UserError if the server does not answer."""
        import jack as client_library

        # JACK's way to a client is a socket of the client's name alone: of two that open at once, on two servers, one would fail.
        name = f"nverb-player-{os.getpid()}"
        try:
            self.client = client_library.Client(name, servername=server, no_start_server=True)
        except client_library.JackError as error:
            raise UserError(f"JACK server {server}: {error}") from None
        self.block_frames = int(self.client.blocksize)
        padding = -len(sound) % self.block_frames
        self._sound = np.concatenate([sound, np.zeros((padding, 2), np.float32)])
        self.recording = np.zeros_like(self._sound)
        self.position = 0
        self.playing = False
        self._cycles = 0
        self._out: list[Any] = [self.client.outports.register(f"out_{c + 1}") for c in range(2)]
        self._in: list[Any] = [self.client.inports.register(f"in_{c + 1}") for c in range(2)]
        self._blocks = BlockPlayer(self.client, self._process)

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
        """Connects to the pedal and begins to play. Raises UserError if the pedal's ports are not there."""
        import jack as client_library

        self._blocks.activate()
        try:
            for c in range(2):
                if c < inputs:
                    self.client.connect(self._out[c], f"nverb:input_{c + 1}")
                self.client.connect(f"nverb:output_{c + 1}", self._in[c])
        except client_library.JackError as error:
            raise UserError(f"cannot connect to the pedal's JACK ports: {error}") from None
        self._begin()

    def start_to(self, ports: Sequence[str]) -> None:
        """Connects to these two ports alone and begins to play. Raises UserError if they are not there."""
        import jack as client_library

        self._blocks.activate()
        try:
            for own, port in zip(self._out, ports, strict=True):
                self.client.connect(own, port)
        except client_library.JackError as error:
            raise UserError(f"cannot connect to JACK's ports {', '.join(ports)}: {error}") from None
        self._begin()

    def _begin(self) -> None:
        """Plays once the connections are in force: JACK answers before that, and takes them up one by one in the cycles that follow."""
        cycles, until = self._cycles, time.monotonic() + CONNECTING_S
        while time.monotonic() < until or (self._cycles - cycles < 16 and time.monotonic() < until + 2):
            time.sleep(0.01)
        self.playing = True

    @property
    def done(self) -> bool:
        return self.position >= len(self._sound)

    def close(self) -> None:
        self._blocks.close()


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
    realtime = as_service and jack.take_limits()
    if not as_service:
        audio_arguments = ("--no-lock", *audio_arguments)
    try:
        supervisor = Supervisor(
            [
                Child("audio", command("audio", "--no-connect", *audio_arguments)),
                Child("control", command("control", *control_arguments)),
            ],
            lambda: jack.dummy(
                name, block_frames=block_frames, rate_hz=rate_hz, synchronous=synchronous, realtime=realtime
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


def play(
    *,
    out: Path,
    clip: Path | None,
    seconds: float,
    block_frames: int,
    rate_hz: int,
    engine_arguments: list[str],
    bank: Path | None,
) -> None:
    """Runs the demo; writes demo.wav and demo.png into `out` and says where they are. Raises UserError, OSError."""
    sound = read_clip(clip or clip_path(), rate_hz, seconds)
    out.mkdir(parents=True, exist_ok=True)
    inputs = int(engine_arguments[engine_arguments.index("--inputs") + 1])
    with tempfile.NamedTemporaryFile("w", suffix=".moves") as script:
        script.writelines(f"{share * seconds:.3f} {control} {position}\n" for share, control, position in MOVES)
        script.flush()
        control = ("--profile", "sim", "--script", script.name, *(("--bank", str(bank)) if bank else ()))
        with private_pedal(
            block_frames=block_frames,
            rate_hz=rate_hz,
            audio_arguments=tuple(engine_arguments),
            control_arguments=control,
        ) as pedal:
            wait_for_room(pedal)
            player = Player(os.environ["JACK_DEFAULT_SERVER"], sound)
            player.start(inputs)
            track = _follow(pedal, player, seconds)
            player.close()
    recording = player.recording[: len(sound)]
    write_sound(
        out / "demo.wav",
        rate_hz,
        recording.shape[1],
        lambda file: file.write(recording),
        subtype="PCM_24",
        durable=False,
    )
    _draw(out / "demo.png", sound, recording, rate_hz, track)
    last = track[-1]["audio"]
    print(f"played {clip or clip_path().name} for {seconds:g} s through {last['playing_serial']} rooms; "
          f"{last['late_blocks']} of {last['blocks']} blocks late, load {100 * last['load']:.1f} %")  # fmt: skip
    print(f"sound    {out / 'demo.wav'}\npicture  {out / 'demo.png'}")


def _follow(pedal: Supervisor, player: Player, seconds: float) -> list[dict[str, Any]]:
    """Asks the pedal for its status ten times a second while the player plays; shows progress."""
    track = []
    deadline = time.monotonic() + 3 * seconds + 20
    while not player.done:
        pedal.tend()
        try:
            status = ask({"do": "status"})["status"]
            if status["audio"]:
                track.append(status | {"at_s": player.position * seconds / len(player.recording)})
        except UserError:
            pass  # the control process is being started again
        if sys.stderr.isatty() and track:
            knobs = " ".join(f"{n} {track[-1]['controls'][n]:5.2f}" for n in ("x", "y", "z", "width"))
            print(f"\r{track[-1]['at_s']:5.1f} / {seconds:g} s   {knobs} ", end="", file=sys.stderr, flush=True)
        if time.monotonic() > deadline:
            raise UserError("JACK stopped taking blocks: the demo was given up")
        time.sleep(0.1)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if not track:
        raise UserError("the pedal never told its status: the demo was given up")
    return track


def _draw(path: Path, sound: Floats, recording: Floats, rate_hz: int, track: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (wave, spectrum, knobs) = pyplot.subplots(
        3, 1, figsize=(12, 9), sharex=True, layout="constrained", height_ratios=(2, 3, 2)
    )
    seconds = np.arange(len(recording)) / rate_hz
    step = max(1, len(recording) // 20000)
    wave.plot(seconds[::step], recording[::step, 0], color="tab:blue", linewidth=0.4, label="out, left")
    wave.plot(seconds[::step], sound[::step, 0], color="0.25", linewidth=0.4, label="in, left")
    wave.set(ylabel="amplitude", ylim=(-1, 1), title="nverb: a clip through the live pedal while the knobs turn")
    wave.legend(loc="upper right")
    mono = recording.mean(axis=1) + 1e-9 * np.random.default_rng(1).standard_normal(len(recording)).astype(np.float32)
    spectrum.specgram(mono, NFFT=2048, Fs=rate_hz, noverlap=1024, vmin=-150, vmax=-40, cmap="magma")
    spectrum.set(ylabel="Hz", ylim=(40, min(20000, rate_hz / 2)), yscale="log")
    at = [status["at_s"] for status in track]
    for name, color in (("x", "tab:red"), ("y", "tab:green"), ("z", "tab:blue"), ("width", "0.4")):
        knobs.plot(at, [status["controls"][name] for status in track], color=color, label=name)
    knobs.set(xlabel="seconds", ylabel="control value")
    knobs.legend(loc="upper right", ncols=4)
    write_atomically(path, lambda file: figure.savefig(file, dpi=100, format="png"), durable=False)
    pyplot.close(figure)
