"""`nverb demo`: play a recorded clip through the live pedal while simulated knobs turn.

All processes run as on a board: jackd, audio process, control process. The ADC is simulated, and
JACK's dummy driver replaces the sound card.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bank.sound import write_sound
from dsp.errors import UserError
from firmware_py.base.paths import write_atomically
from firmware_py.base.port_names import engine_inputs
from firmware_py.desk.player import Floats, Player, clip_path, read_clip
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link.client import ask
from firmware_py.link.status import AudioStatus, PedalStatus

MOVES = (
    (0.00, "x", 0.15), (0.00, "y", 0.50), (0.00, "z", 0.20), (0.00, "width", 0.625),
    (0.00, "gain", 0.78),
    (0.10, "x", 0.15), (0.40, "x", 1.00), (0.55, "x", 0.80),
    (0.40, "y", 0.50), (0.55, "y", 0.05), (0.65, "y", 1.00), (0.70, "y", 0.60),
    (0.65, "z", 0.20), (0.80, "z", 1.00), (0.85, "z", 0.30),
    (0.80, "width", 0.625), (0.86, "width", 0.50), (0.92, "width", 0.875), (1.00, "width", 0.625),
    (0.90, "x", 0.80), (1.00, "x", 0.30),
)  # fmt: skip


class TrackPoint(NamedTuple):
    """The pedal's state at a time of the recording in s."""

    at_s: float
    controls: dict[str, float]
    audio: AudioStatus


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
    """Run the demo, write demo.wav and demo.png into `out` and print their paths.

    Raises UserError, OSError.
    """
    sound = read_clip(clip or clip_path(), rate_hz, seconds)
    out.mkdir(parents=True, exist_ok=True)
    inputs = engine_inputs(engine_arguments[engine_arguments.index("--inputs") + 1])
    with tempfile.NamedTemporaryFile("w", suffix=".moves") as script:
        script.writelines(
            f"{share * seconds:.3f} {control} {position}\n" for share, control, position in MOVES
        )
        script.flush()
        control = (
            "--profile",
            "sim",
            "--script",
            script.name,
            *(("--bank", str(bank)) if bank else ()),
        )
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
    last = track[-1].audio
    print(
        f"played {clip or clip_path().name} for {seconds:g} s through {last['playing_serial']} "
        f"rooms; {last['late_blocks']} of {last['blocks']} blocks late, "
        f"load {100 * last['load']:.1f} %"
    )
    print(f"sound    {out / 'demo.wav'}\npicture  {out / 'demo.png'}")


def _follow(pedal: Supervisor, player: Player, seconds: float) -> list[TrackPoint]:
    """Poll the status ten times per second while the player plays; show progress."""
    track: list[TrackPoint] = []
    deadline = time.monotonic() + 3 * seconds + 20
    while not player.done:
        pedal.tend()
        try:
            status: PedalStatus = ask({"do": "status"})["status"]
            if status["audio"]:
                at_s = player.position * seconds / len(player.recording)
                track.append(TrackPoint(at_s, status["controls"], status["audio"]))
        except UserError:
            pass  # the control process is restarting
        if sys.stderr.isatty() and track:
            knobs = " ".join(f"{n} {track[-1].controls[n]:5.2f}" for n in ("x", "y", "z", "width"))
            print(
                f"\r{track[-1].at_s:5.1f} / {seconds:g} s   {knobs} ",
                end="",
                file=sys.stderr,
                flush=True,
            )
        if time.monotonic() > deadline:
            raise UserError(
                "JACK plays no more blocks; the demo was aborted, see the messages above"
            )
        time.sleep(0.1)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if not track:
        raise UserError("the pedal did not report its status; see the messages above")
    return track


def _draw(
    path: Path, sound: Floats, recording: Floats, rate_hz: int, track: list[TrackPoint]
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (wave, spectrum, knobs) = pyplot.subplots(
        3, 1, figsize=(12, 9), sharex=True, layout="constrained", height_ratios=(2, 3, 2)
    )
    seconds = np.arange(len(recording)) / rate_hz
    step = max(1, len(recording) // 20000)
    wave.plot(
        seconds[::step], recording[::step, 0], color="tab:blue", linewidth=0.4, label="out, left"
    )
    wave.plot(seconds[::step], sound[::step, 0], color="0.25", linewidth=0.4, label="in, left")
    wave.set(
        ylabel="amplitude",
        ylim=(-1, 1),
        title="nverb: a clip played through the live pedal while the knobs turn",
    )
    wave.legend(loc="upper right")
    mono = recording.mean(axis=1) + 1e-9 * np.random.default_rng(1).standard_normal(
        len(recording)
    ).astype(np.float32)
    spectrum.specgram(mono, NFFT=2048, Fs=rate_hz, noverlap=1024, vmin=-150, vmax=-40, cmap="magma")
    spectrum.set(ylabel="Hz", ylim=(40, min(20000, rate_hz / 2)), yscale="log")
    at = [point.at_s for point in track]
    for name, color in (("x", "tab:red"), ("y", "tab:green"), ("z", "tab:blue"), ("width", "0.4")):
        knobs.plot(at, [point.controls[name] for point in track], color=color, label=name)
    knobs.set(xlabel="seconds", ylabel="control value")
    knobs.legend(loc="upper right", ncols=4)
    write_atomically(path, lambda file: figure.savefig(file, dpi=100, format="png"), durable=False)
    pyplot.close(figure)
