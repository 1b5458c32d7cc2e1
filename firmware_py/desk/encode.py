"""`nverb encode`: find the controls of a recorded room, and play both rooms for comparison."""

from __future__ import annotations

import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bank.found import read_one
from bank.recording import ReadingOptions, at_rate
from bank.sound import check_sound, sound_format, write_sound
from device.controls import check, find
from dsp.acoustics import OCTAVES_HZ
from dsp.analysis import analyse
from dsp.energymap import EnergyMap
from dsp.errors import UserError
from firmware_py.jack.defaults import BLOCK_FRAMES, RATE_HZ
from firmware_py.rooms.source import COLOURS
from models import measures
from models.decoder import SHIPPED, Decoder, Encoder
from models.encoding import Report, encode
from models.latent import KNOBS, LATENTS, beyond, knob_of
from models.width import width_of

LATE_SHARE = 0.25
"""An impulse response has less of its energy in its second half, also one that is cut after a fifth
of its T60."""
NO_JACK = "no JACK server is running; start one, or write a file with -o OUT.wav"
SHORTEST_S, LONGEST_S = 0.12, 10.0
"""Decay times of the rooms that the model was trained on."""
FAR_DB = 6.0
"""Decay curves that differ by more than this are of another room."""
PAUSE_S = 0.5
FRAME_BYTES = 8
"""Between the two rooms."""


@dataclass(frozen=True)
class Found:
    """The controls that match a recording, and the remaining error.

    Arrays are per octave of dsp.acoustics.OCTAVES_HZ, NaN where the recording has no usable decay.
    """

    values: dict[str, float]
    """Of the controls: x, y, z, how far beyond them, the colours, and width if the recording has
    two channels."""
    decay_error_db: float
    """Mean distance of the decay curves down to -60 dB, over all octaves."""
    octave_error_db: NDArray[np.float64]
    t30_s: NDArray[np.float64]
    found_t30_s: NDArray[np.float64]
    residual: str = ""
    """What the room is beyond these values, as text (models.residual); "" if not asked for."""
    notes: tuple[str, ...] = ()
    """How the file was read, and what is beyond the model."""

    @property
    def t30_error_percent(self) -> NDArray[np.float64]:
        return np.asarray(100 * (self.found_t30_s / self.t30_s - 1))

    def as_json(self) -> dict[str, object]:
        def numbers(values: NDArray[np.float64]) -> list[float | None]:
            return [round(float(v), 4) if math.isfinite(v) else None for v in values]

        return {
            "values": self.values,
            "decay_error_db": numbers(np.array([self.decay_error_db]))[0],
            "octaves_hz": list(OCTAVES_HZ),
            "decay_error_db_per_octave": numbers(self.octave_error_db),
            "t30_s": numbers(self.t30_s),
            "found_t30_s": numbers(self.found_t30_s),
            "t30_error_percent": numbers(self.t30_error_percent),
            "residual": self.residual,
            "note": "; ".join(self.notes),
        }


def locate(
    ir_path: Path,
    *,
    decoder_path: Path | None,
    encoder_path: Path | None,
    colours: bool = True,
    residual: bool = True,
    report: Report = lambda done, of: None,
    reading: ReadingOptions | None = None,
) -> Found:
    """Find the controls for the loudest channel of a recording.

    A sum of the channels would have comb-filter artefacts from the microphone spacing. `colours`
    and `residual`: whether to use them. `report(done, of)`: progress. Raises
    RecordingError, ModelError (NoRuntime if no TFLite runtime is installed), UserError, OSError.
    """
    samples, rate_hz, notes = read_one(ir_path, reading or ReadingOptions())
    loudest = samples[int(np.argmax((samples.astype(np.float64) ** 2).sum(axis=1)))]
    ir = at_rate(loudest[None], rate_hz, RATE_HZ)[0]
    decoder = Decoder.open(decoder_path or SHIPPED / "decoder.nvmodel")
    if decoder.description.kind != "rooms":
        raise UserError(
            f"{decoder_path}: an imported plug-in model; "
            "`nverb encode` works with nverb's models only"
        )
    encoder = Encoder.open(encoder_path or SHIPPED / "encoder.nvmodel")
    width = width_of(samples[0], samples[1], rate_hz) if len(samples) > 1 else None
    room = encode(
        ir,
        decoder,
        encoder,
        latents=LATENTS if colours else KNOBS,
        keeps_residual=residual,
        width=find("width").default if width is None else width,
        report=report,
    )
    per_octave = room.differences[0]
    error_db = float(np.nanmean(per_octave)) if np.isfinite(per_octave).any() else math.nan
    beyond = _oddity(ir_path, ir) or _beyond(ir_path, analyse(ir, RATE_HZ), error_db)
    return Found(
        _controls(room.latent, width),
        error_db,
        per_octave,
        room.wanted.t30_s,
        np.asarray(np.mean([each.t30_s for each in room.measured], axis=0)),
        room.residual.to_text() if room.residual else "",
        (*notes, *beyond),
    )


def _controls(latent: NDArray[np.float32], width: float | None) -> dict[str, float]:
    """The values of the controls."""
    knobs = [float(place) for place in latent[:KNOBS]]
    values = {axis: knob_of(place) for axis, place in zip("xyz", knobs, strict=True)}
    values |= {f"beyond_{axis}": beyond(place) for axis, place in zip("xyz", knobs, strict=True)}
    values |= {name: float(place) for name, place in zip(COLOURS, latent[KNOBS:], strict=False)}
    if width is not None:
        values["width"] = width
    return {name: check(find(name), round(value, 3)) for name, value in values.items()}


def _oddity(path: Path, ir: NDArray[np.float32]) -> tuple[str, ...]:
    """Whether the sound does not decay as a room does: music instead of an impulse response."""
    energy = np.square(ir, dtype=np.float64)
    if energy[len(energy) // 2 :].sum() < LATE_SHARE * energy.sum():
        return ()
    return (
        f"{path}: it does not decay as a room does: is it an impulse response? "
        "The values mean little",
    )


def _beyond(path: Path, room: EnergyMap, error_db: float) -> tuple[str, ...]:
    """What the model does not know of a room, in words."""
    level, direct = measures.unpack(measures.pack_map(room))
    arrival_s = float(measures.arrival_s(level, direct)[0])
    decay_s = measures.DECAY_BASE ** (float(measures.knobs(level, direct)[0][0]) / 2)
    if arrival_s < measures.SHORTEST_S / 4:
        decay_s = min(decay_s, arrival_s)
    if not 0.9 * SHORTEST_S < decay_s < 1.1 * LONGEST_S:
        return (
            f"{path}: decays in {decay_s:.2g} s, beyond the model's "
            f"{SHORTEST_S:g} to {LONGEST_S:g} s: the nearest room differs",
        )
    if not error_db < FAR_DB:
        return (f"{path}: no room of the model is near, the nearest differs by {error_db:.1f} dB",)
    return ()


def side_by_side(
    play_path: Path,
    ir_path: Path,
    found: Found,
    decoder_path: Path | None,
    reading: ReadingOptions | None = None,
) -> tuple[NDArray[np.float32], int]:
    """The sound in the recorded room, a pause, the sound in the found room.

    Returns float32 (frames, 2) and its rate in Hz. Both are rendered wet only through the pedal's
    graph, at the level of its rooms. Raises UserError, OSError.
    """
    from device.controls import defaults
    from firmware_py.desk.render import render

    values = defaults() | {"mix": 100.0, "gain": 0.0, "limiter": 0.0, "direct": 1.0}
    rooms: list[tuple[dict[str, float], Path | None]] = [
        (values, ir_path),
        (values | found.values, None),
    ]
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (controls, ir) in enumerate(rooms):
            out = Path(folder) / f"{number}.wav"
            render(
                play_path,
                out,
                controls,
                ir_path=ir,
                raw_ir=False,
                reading=reading,
                bank=os.path.abspath(decoder_path or SHIPPED / "decoder.nvmodel"),
                residual=found.residual if ir is None else "",
                block_frames=BLOCK_FRAMES,
                rate_hz=None,
            )
            sound, rate_hz = soundfile.read(out, dtype="float32")
            parts += [sound, np.zeros((int(PAUSE_S * rate_hz), 2), np.float32)]
    return np.concatenate(parts[:-1]), rate_hz


def check_play(play_path: Path, output_path: Path | None, server: str | None) -> None:
    """What can be known before the search: the sound to play, and where it goes.

    Raises UserError, ValueError, OSError.
    """
    from firmware_py.desk.render import opened
    from firmware_py.jack import server as jack
    from models.files import require_space

    with opened(play_path) as sound:
        frames, rate_hz = sound.frames, sound.samplerate
    if output_path is not None:
        check_sound(output_path, rate_hz, 2)
        if output_path.exists() and output_path.samefile(play_path):
            raise UserError(f"{output_path} is the sound to play; choose another name")
        require_space(output_path, 2 * frames * FRAME_BYTES)
    elif not jack.is_running(server):
        raise UserError(NO_JACK)


def check_preset(name: str) -> None:
    """Whether the preset can be saved, before the search. Raises PresetError, OSError."""
    from dsp.names import name_key
    from firmware_py.base.paths import data_dir
    from firmware_py.state.preset_file import FULL, MAX_PRESETS, PresetError
    from firmware_py.state.presets import Presets, checked_name
    from models.files import require_space

    presets = Presets(data_dir())
    key = name_key(checked_name(name))
    names = presets.names()
    if len(names) >= MAX_PRESETS and key not in map(name_key, names):
        raise PresetError(FULL)
    require_space(presets.path, 0)


def keep(path: Path, sound: NDArray[np.float32], rate_hz: int) -> None:
    """Write the sound to a file, scaled down if its format would clip.

    Raises ValueError for a file name without a known format, OSError.
    """
    peak = float(np.abs(sound).max(initial=0))
    if sound_format(path)[1] != "FLOAT" and peak > 1:
        sound = sound / np.float32(peak)
    write_sound(path, rate_hz, sound.shape[1], lambda file: file.write(sound))


def play(sound: NDArray[np.float32], rate_hz: int, server: str | None) -> None:
    """Play a sound through JACK to the sound card; return at its end. Raises UserError."""
    import soxr

    from firmware_py.jack import server as jack

    if not jack.is_running(server):
        raise UserError(NO_JACK)
    from firmware_py.desk.player import Player

    player = Player(server or "default", sound)
    at_hz = player.client.samplerate
    if at_hz != rate_hz:
        player.close()
        player = Player(server or "default", soxr.resample(sound, rate_hz, at_hz))
    try:
        player.start_to(["system:playback_1", "system:playback_2"])
        while not player.done:
            time.sleep(0.05)
    finally:
        player.close()
