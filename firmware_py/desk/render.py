"""`nverb render`: process a file with the pedal's graph on pyo's manual server."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from bank.found import read_one
from bank.recording import MAX_ROOM_S, ReadingOptions, at_rate, why_unreadable
from bank.sound import sound_format, write_sound
from device.tempo import predelay_ms
from dsp.errors import UserError
from dsp.graph import OfflineGraph
from dsp.shaping import Shape
from firmware_py.base.say import say
from firmware_py.link.params import engine_params
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.renderer import MadeRoom, shape_of
from firmware_py.rooms.source import rooms_named

Floats = NDArray[np.float32]
CHUNK_FRAMES = 65536
"""Frames read from the file at once."""


def _blocks(source: soundfile.SoundFile, rate_hz: int, block_frames: int) -> Iterator[Floats]:
    """Stream the file at `rate_hz` in blocks (block_frames, channels); the last one is shorter."""
    resampler = None
    if source.samplerate != rate_hz:
        resampler = soxr.ResampleStream(
            source.samplerate, rate_hz, source.channels, dtype="float32", quality="VHQ"
        )
    rest = np.zeros((0, source.channels), np.float32)
    while True:
        chunk = source.read(CHUNK_FRAMES, dtype="float32", always_2d=True)
        last = len(chunk) < CHUNK_FRAMES
        if resampler is not None:
            chunk = resampler.resample_chunk(chunk, last=last)
        rest = np.concatenate([rest, chunk])
        whole = len(rest) // block_frames * block_frames
        for at in range(0, whole, block_frames):
            yield rest[at : at + block_frames]
        rest = rest[whole:]
        if last:
            yield rest
            return


def render(
    input_path: Path,
    output_path: Path,
    values: dict[str, float],
    *,
    ir_path: Path | None,
    raw_ir: bool,
    bank: str,
    residual: str = "",
    reading: ReadingOptions | None = None,
    block_frames: int,
    rate_hz: int | None,
    true_stereo: bool = True,
) -> str:
    """Render a file and return a one-line report.

    `values`: all controls, checked. `bank`: see `rooms_named`. `residual`: of an encoded room.
    `true_stereo`: of a stereo file each side sounds on both sides of a decoded room.

    Raises UserError, BankError, ValueError, OSError; the output file is then unchanged.
    """
    if not output_path.parent.is_dir():
        raise UserError(f"{output_path.parent}: no such folder")
    _, subtype = sound_format(output_path)
    if output_path.exists() and input_path.exists() and output_path.samefile(input_path):
        raise UserError(f"{output_path} is the input file; choose another name")
    with opened(input_path) as source:
        rate_hz = rate_hz or source.samplerate
        notes = []
        if source.samplerate != rate_hz:
            notes.append(f"{input_path.name} resampled from {source.samplerate} to {rate_hz} Hz")
        if ir_path is not None:
            ir, ir_notes = _recorded_ir(ir_path, rate_hz, reading or ReadingOptions())
            notes += ir_notes
            room = MadeRoom(_shaped_recording(ir, values, rate_hz, raw_ir), None)
        else:
            most = round(MAX_ROOM_S * rate_hz)
            maker = RoomMaker(rooms_named(bank), rate_hz, most, residual=residual)
            maker.is_true_stereo = true_stereo and source.channels == 2
            room = maker.room(values)
        meter = _Meter(source, rate_hz)
        _write(output_path, source, room, values, meter, rate_hz=rate_hz, block_frames=block_frames)
    meter.close()
    if meter.peak > 1:
        clipped = "" if subtype in ("FLOAT", "DOUBLE") else ", clipped"
        notes.append(
            f"peak {20 * math.log10(meter.peak):+.1f} dBFS{clipped}; "
            "lower the gain, or use --set limiter=on"
        )
    for note in notes:
        say(note)
    return (
        f"{output_path}: {meter.frames} frames, 2 channels, {rate_hz} Hz, "
        f"room of {room.ir.shape[1] / rate_hz + room.tail_s:.2f} s"
    )


def opened(path: Path) -> soundfile.SoundFile:
    """Open an input file. Raises UserError if the pedal cannot process it."""
    try:
        source = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: {why_unreadable(path, error)}") from None
    if 1 <= source.channels <= 2 and source.frames > 0:
        return source
    channels = source.channels
    source.close()
    if channels > 2:
        raise UserError(f"{path}: {channels} channels; the pedal has one or two inputs")
    raise UserError(f"{path}: the file has no samples")


def _write(
    path: Path,
    source: soundfile.SoundFile,
    room: MadeRoom,
    values: dict[str, float],
    meter: _Meter,
    *,
    rate_hz: int,
    block_frames: int,
) -> None:
    """Process the source in this room and write the output file."""
    ir = room.ir
    inputs = 2 if len(ir) == 4 else source.channels
    graph = OfflineGraph(
        rate_hz=rate_hz,
        block_frames=block_frames,
        max_taps=ir.shape[1],
        inputs=inputs,
        ir_channels=len(ir),
    )
    try:
        graph.port.set_params(engine_params(values))
        graph.port.load_ir(ir, late=room.late)
        graph.start()
        rises_s = ir.shape[1] / rate_hz if values["shimmer"] > 0 else 0  # and rings once more
        after_s = predelay_ms(values) / 1000 + room.tail_s + rises_s
        tail = ir.shape[1] - 1 + math.ceil(after_s * rate_hz)

        def write(sink: soundfile.SoundFile) -> None:
            for out in _through(graph, _blocks(source, rate_hz, block_frames), tail, inputs):
                sink.write(out)
                meter.look(out)

        write_sound(path, rate_hz, 2, write)
    finally:
        graph.close()


def _through(
    graph: OfflineGraph, blocks: Iterator[Floats], tail: int, inputs: int
) -> Iterator[Floats]:
    """Process the blocks, then `tail` frames of silence; as many frames come out as go in."""
    frames = graph.port.block_frames
    block = np.zeros((frames, inputs), np.float32)
    owed = 0
    for part in blocks:
        if len(part) == frames:
            yield graph.process(part)
        else:
            block[: len(part)] = part  # the last block, padded with silence
            owed = len(part) + tail
    while owed > 0:
        out = graph.process(block)
        yield out[:owed]
        owed -= frames
        block[:] = 0


def _recorded_ir(path: Path, rate_hz: int, reading: ReadingOptions) -> tuple[Floats, list[str]]:
    samples, ir_rate_hz, told = read_one(path, reading)
    notes = list(told)
    if ir_rate_hz != rate_hz:
        notes.append(f"{path.name} resampled from {ir_rate_hz} to {rate_hz} Hz")
    return at_rate(samples, ir_rate_hz, rate_hz)[:, : round(MAX_ROOM_S * rate_hz)], notes


def _shaped_recording(ir: Floats, values: dict[str, float], rate_hz: int, raw: bool) -> Floats:
    """Apply the room controls to a recording.

    `raw`: keep the energy of the file; with default room controls the samples are unchanged.
    """
    if raw and shape_of(values) == Shape() and values["width"] == 1:
        return ir
    shaped = RoomMaker(None, rate_hz, round(MAX_ROOM_S * rate_hz)).recorded(ir, values)
    if not raw:
        return shaped
    energy = [float(np.einsum("ct,ct->", x, x, dtype=np.float64)) for x in (ir, shaped)]
    return np.asarray(shaped * np.float32(math.sqrt(energy[0] / energy[1])))


class _Meter:
    """Tracks peak and length; shows progress on a terminal."""

    def __init__(self, source: soundfile.SoundFile, rate_hz: int) -> None:
        self.peak, self.frames = 0.0, 0
        self._total = max(1, source.frames * rate_hz // source.samplerate)
        self._shown = -1
        self._terminal = sys.stderr.isatty()

    def look(self, out: Floats) -> None:
        self.frames += len(out)
        self.peak = max(self.peak, float(np.abs(out).max(initial=0)))
        percent = min(100, 100 * self.frames // self._total)
        if self._terminal and percent != self._shown:
            self._shown = percent
            print(f"\rrendering {percent:3d} %", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._terminal:
            print("\r" + " " * 20 + "\r", end="", file=sys.stderr, flush=True)
