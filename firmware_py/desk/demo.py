"""`nverb demo`: play a guitar phrase through the live pedal: simulated knobs turn, presets change.

All processes run as on a board: jackd, audio process, control process. The ADC is simulated, and
JACK's dummy driver replaces the sound card.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bank.sound import write_sound
from dsp.errors import UserError
from firmware_py.base.paths import write_atomically
from firmware_py.base.port_names import engine_inputs
from firmware_py.desk.phrase import phrase
from firmware_py.desk.player import Floats, Player, read_clip
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.link.client import ask
from firmware_py.link.status import AudioStatus, PedalStatus
from firmware_py.state.factory_presets import factory_presets

MOVES = (
    (0.00, "x", 0.12), (0.00, "y", 0.50), (0.00, "z", 0.20), (0.00, "width", 0.625),
    (0.00, "gain", 0.78),
    (0.16, "x", 0.12), (0.22, "x", 1.00), (0.16, "y", 0.50), (0.22, "y", 0.30),
)  # fmt: skip
"""From a small room to a dark cathedral while the first phrase of the default length plays."""
PRESETS = ((0.24, "Ducked Plate"), (0.49, "Shimmer"), (0.74, "Never Ends"))
"""Presets that come with nverb, from these shares of the length on. They change in the pauses of
the phrase, so that nothing needs an exact time."""
MIX_PERCENT = 45.0
LEVEL_S = 0.02
"""The picture's levels are RMS values over this time."""
FLOOR_DB = -90.0
"""The picture's lowest level."""


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

    `clip`: a recording to play in place of the phrase. Raises UserError, OSError.
    """
    sound = read_clip(clip, rate_hz, seconds) if clip else phrase(rate_hz, seconds)
    out.mkdir(parents=True, exist_ok=True)
    inputs = engine_inputs(engine_arguments[engine_arguments.index("--inputs") + 1])
    with tempfile.NamedTemporaryFile("w", suffix=".moves") as script:
        script.writelines(
            f"{share * seconds:.3f} {control} {position}\n" for share, control, position in MOVES
        )
        script.flush()
        rooms = ("--bank", str(bank)) if bank else ()
        control = ("--profile", "sim", "--script", script.name, *rooms)
        with private_pedal(
            block_frames=block_frames,
            rate_hz=rate_hz,
            audio_arguments=tuple(engine_arguments),
            control_arguments=control,
        ) as pedal:
            wait_for_room(pedal)
            ask({"do": "set", "values": {"mix": MIX_PERCENT}})
            player = Player(os.environ["JACK_DEFAULT_SERVER"], sound)
            player.start(inputs)
            track = _follow(pedal, player, seconds, _presets(seconds))
            player.close()
            lost = pedal.jack.lost_blocks() if pedal.jack is not None else 0
    recording = player.recording[: len(sound)]
    write_sound(
        out / "demo.wav",
        rate_hz,
        recording.shape[1],
        lambda file: file.write(recording),
        subtype="PCM_24",
        durable=False,
    )
    figure = draw(sound, recording, rate_hz, track)
    write_atomically(
        out / "demo.png", lambda file: figure.savefig(file, dpi=100, format="png"), durable=False
    )
    last = track[-1].audio
    print(
        f"played {clip or 'a guitar phrase'} for {seconds:g} s through {last['playing_serial']} "
        f"rooms, load {100 * last['load']:.1f} %"
        + f"; presets {', '.join(name for _, name in PRESETS)}"
        + (f"; {lost} blocks lost: something else keeps this machine busy" if lost else "")
    )
    print(f"sound    {out / 'demo.wav'}\npicture  {out / 'demo.png'}")


def _presets(seconds: float) -> list[tuple[float, dict[str, float]]]:
    """When the presets change, in s, and their values. With `--bank` its rooms stay."""
    ours = {preset.name: preset.playing() for preset in factory_presets()}
    return [(share * seconds, ours[name]) for share, name in PRESETS]


def _follow(
    pedal: Supervisor,
    player: Player,
    seconds: float,
    presets: list[tuple[float, dict[str, float]]],
) -> list[TrackPoint]:
    """Poll the status ten times per second while the player plays; play the presets at their times;
    show progress."""
    track: list[TrackPoint] = []
    waiting = list(presets)
    deadline = time.monotonic() + 3 * seconds + 20
    while not player.done:
        pedal.tend()
        at_s = player.position * seconds / len(player.recording)
        try:
            if waiting and at_s >= waiting[0][0]:
                ask({"do": "set", "values": waiting[0][1]})
                waiting.pop(0)
            status: PedalStatus = ask({"do": "status"})["status"]
            if status["audio"]:
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


def draw(sound: Floats, recording: Floats, rate_hz: int, track: list[TrackPoint]) -> Any:
    """The picture, a figure of matplotlib: levels in and out, the output's spectrum, the knobs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    wave, spectrum, knobs = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 2))
    figure.suptitle("nverb: a phrase played through the live pedal: knobs turn, presets change")
    at, wet_db, dry_db = _levels(recording, sound, rate_hz)
    wave.fill_between(at, dry_db, FLOOR_DB, color="0.75", linewidth=0, label="in: what is played")
    wave.plot(at, wet_db, color="tab:blue", linewidth=1, label="out: with the room")
    wave.set(ylabel="level in dBFS", ylim=(FLOOR_DB, 0))
    length_s = len(recording) / rate_hz
    for share, name in ((0.0, "knobs turn"), *PRESETS):
        wave.axvline(share * length_s, color="0.5", linewidth=0.8)
        wave.annotate(
            name, (share * length_s, 0), xytext=(4, -4), textcoords="offset points", va="top"
        )
    mono = recording.mean(axis=1) + 1e-9 * np.random.default_rng(1).standard_normal(
        len(recording)
    ).astype(np.float32)
    *_, picture = spectrum.specgram(
        mono, NFFT=2048, Fs=rate_hz, noverlap=1024, vmin=-150, vmax=-40, cmap="magma"
    )
    spectrum.set(ylabel="output: Hz", ylim=(40, min(20000, rate_hz / 2)), yscale="log")
    figure.colorbar(picture, ax=spectrum, label="dB per Hz", pad=0.01)
    times = [point.at_s for point in track]
    for name, color in (("x", "tab:red"), ("y", "tab:green"), ("z", "tab:blue"), ("width", "0.4")):
        knobs.plot(times, [point.controls[name] for point in track], color=color, label=name)
    knobs.set(xlabel="seconds", ylabel="knob", xlim=(0, length_s))
    for axis in (wave, knobs):  # beside the curves, so that it covers nothing
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _levels(recording: Floats, sound: Floats, rate_hz: int) -> tuple[Floats, Floats, Floats]:
    """Times in s, and the levels of the output and the input there in dBFS (RMS, left)."""
    frames = int(LEVEL_S * rate_hz)
    steps = len(recording) // frames

    def level_db(samples: Floats) -> Floats:
        energy = (samples[: steps * frames, 0].reshape(steps, frames) ** 2).mean(axis=1)
        return np.asarray(10 * np.log10(np.maximum(energy, 1e-12)), np.float32)

    at = (np.arange(steps, dtype=np.float32) + 0.5) * np.float32(LEVEL_S)
    return at, level_db(recording), level_db(sound)
