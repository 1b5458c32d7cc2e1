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
from dsp._engine import Port
from dsp.errors import UserError
from dsp.graph import OfflineGraph
from dsp.shaping import Shape
from firmware_py.base.say import say
from firmware_py.desk.sound_picture import SoundPicture, lines
from firmware_py.link.mailbox import IR_CHANNELS
from firmware_py.rooms.feed import RoomFeed, play
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.modulators import PEAKS_S, Modulators
from firmware_py.rooms.renderer import Lengths, MadeRoom, shape_of
from firmware_py.rooms.scenes import Scenes
from firmware_py.rooms.source import ROOM_CONTROLS, RoomSource, rooms_named

Floats = NDArray[np.float32]
ROUNDING = 1e-6
"""A length in s that was whole frames may be a little more of them."""
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
    scenes: Scenes | None = None,
    has_picture: bool = False,
) -> str:
    """Render a file and return a one-line report, after a picture if there is to be one.

    `values`: all controls, checked. `bank`: see `rooms_named`. `residual`: of an encoded room.
    `true_stereo`: of a stereo file each side sounds on both sides of a decoded room. `scenes`: what
    a modulated `morph` goes between.

    Raises UserError, BankError, ValueError, OSError; the output file is then unchanged.
    """
    subtype = _subtype_of(output_path, input_path)
    with opened(input_path) as source:
        rate_hz = rate_hz or source.samplerate
        notes: list[str] = []
        scenes = scenes or Scenes()
        if source.samplerate != rate_hz:
            notes.append(f"{input_path.name} resampled from {source.samplerate} to {rate_hz} Hz")
        if ir_path is not None:
            ir, ir_notes = _recorded_ir(ir_path, rate_hz, reading or ReadingOptions())
            notes += ir_notes
            made = MadeRoom(_shaped_recording(ir, values, rate_hz, raw_ir), None)
            course = _Course(values, scenes, None, made)
            if _moves_room(values, scenes):
                notes.append(f"{ir_path.name} stays as it is: modulators move no room of --ir")
        else:
            most, rooms = round(MAX_ROOM_S * rate_hz), rooms_named(bank)
            maker = RoomMaker(rooms, rate_hz, most, residual=residual)
            maker.is_true_stereo = true_stereo and source.channels == 2
            course = _course_of(rooms, bank, maker, values, scenes)
        meter = _Meter(source, rate_hz, has_picture)
        longest_s = _write(
            output_path, source, course, meter, rate_hz=rate_hz, block_frames=block_frames
        )
    meter.close()
    if meter.peak > 1:
        clipped = "" if subtype in ("FLOAT", "DOUBLE") else ", clipped"
        notes.append(
            f"peak {20 * math.log10(meter.peak):+.1f} dBFS{clipped}; "
            "lower the gain, or use --set limiter=on"
        )
    for note in notes:
        say(note)
    report = (
        f"{output_path}: {meter.frames} frames, 2 channels, {rate_hz} Hz, room of {longest_s:.2f} s"
    )
    return "\n".join([*meter.picture, report])


def _moves_room(values: dict[str, float], scenes: Scenes) -> bool:
    """Whether modulators move a control of the room."""
    targets = Modulators().targets(values)
    if "morph" in targets:
        targets |= scenes.ends().keys()
    return not targets.isdisjoint(ROOM_CONTROLS)


class _Course:
    """What plays while the time of the sound passes, by the code of the control process."""

    def __init__(
        self,
        values: dict[str, float],
        scenes: Scenes,
        rooms: RoomFeed | None,
        room: MadeRoom | None,
        fingerprint: int = 0,
    ) -> None:
        """rooms: None for one that stays whatever happens. room: the first, with its fingerprint;
        None: to be made."""
        self._values, self._scenes, self._rooms = values, scenes, rooms
        self.room, self._fingerprint = room, fingerprint
        self._modulators = Modulators()
        self._is_stale = True
        self._next_peaks = PEAKS_S
        self._predelay_s = self._ir_s = 0.0
        self.longest_s = 0.0
        """Of the rooms that have played."""

    def start(self, port: Port) -> None:
        """Write what plays at time 0. Raises UserError if the first room cannot be made."""
        if self.room is not None:
            port.load_ir(self.room.ir, self._fingerprint, self.room.late)
            self._note(self.room.lengths(port.rate_hz))
        self.step(port, 0.0)
        if self._rooms is not None and self._rooms.fault:
            raise UserError(self._rooms.fault)

    def step(self, port: Port, now: float) -> None:
        """Bring the port up to `now`, s."""
        if now >= self._next_peaks:
            self._next_peaks = now + PEAKS_S
            port.meters(take=True)
        play(
            port,
            self._values,
            now,
            scenes=self._scenes,
            modulators=self._modulators,
            rooms=self._rooms,
            is_stale=self._is_stale,
        )
        self._is_stale = False
        if self._rooms is not None:
            self._note(self._rooms.lengths)
        playing = self._values | self._modulators.moved
        self._predelay_s = max(self._predelay_s, predelay_ms(playing) / 1000)

    def _note(self, room: Lengths) -> None:
        self._ir_s = max(self._ir_s, room.ir_s)
        self.longest_s = max(self.longest_s, room.heard_s)

    def rings_s(self) -> float:
        """How long the last sample of the input sounds. What rises by shimmer rings once more."""
        rises = self._values["shimmer"] > 0 or "shimmer" in self._modulators.moved
        return self._predelay_s + self.longest_s + (self._ir_s if rises else 0.0)


def _course_of(
    source: RoomSource,
    reference: str,
    maker: RoomMaker,
    values: dict[str, float],
    scenes: Scenes,
) -> _Course:
    """In rooms of this source, by the time of the sound: making one takes none."""
    rooms = RoomFeed(source, reference, values, clock=lambda: 0.0)
    rooms.use(source, reference, maker)
    first = None if _moves_room(values, scenes) else maker.room(values)
    return _Course(values, scenes, rooms, first, maker.fingerprint(values))


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
    course: _Course,
    meter: _Meter,
    *,
    rate_hz: int,
    block_frames: int,
) -> float:
    """Process the source and write the output file. Returns the length of the longest room, s."""
    room = course.room
    channels = len(room.ir) if room is not None else IR_CHANNELS[2]
    inputs = 2 if channels == IR_CHANNELS[2] else source.channels
    longest = room.ir.shape[1] if room is not None else round(MAX_ROOM_S * rate_hz)
    graph = OfflineGraph(
        rate_hz=rate_hz,
        block_frames=block_frames,
        max_taps=longest,
        inputs=inputs,
        ir_channels=channels,
    )
    try:
        course.start(graph.port)
        graph.start()

        def write(sink: soundfile.SoundFile) -> None:
            blocks = _blocks(source, rate_hz, block_frames)
            for out in _through(graph, _heard(blocks, meter), inputs, course):
                sink.write(out)
                meter.look(out)

        write_sound(path, rate_hz, 2, write)
        return course.longest_s
    finally:
        graph.close()


def _heard(blocks: Iterator[Floats], meter: _Meter) -> Iterator[Floats]:
    for block in blocks:
        meter.hear(block)
        yield block


def _through(
    graph: OfflineGraph, blocks: Iterator[Floats], inputs: int, course: _Course
) -> Iterator[Floats]:
    """Process the blocks, then silence until all has rung out."""
    port = graph.port
    frames, rate_hz = port.block_frames, port.rate_hz
    block = np.zeros((frames, inputs), np.float32)
    owed = at = 0
    for part in blocks:
        course.step(port, at / rate_hz)
        at += frames
        if len(part) == frames:
            yield graph.process(part)
        else:
            block[: len(part)] = part  # the last block, padded with silence
            owed = len(part) - 1 + math.ceil(course.rings_s() * rate_hz - ROUNDING)
    while owed > 0:
        out = graph.process(block)
        yield out[:owed]
        owed -= frames
        block[:] = 0
        course.step(port, at / rate_hz)
        at += frames


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


def _subtype_of(output_path: Path, input_path: Path) -> str:
    """The sample format of the output. Raises UserError if it cannot be written there."""
    if not output_path.parent.is_dir():
        raise UserError(f"{output_path.parent}: no such folder")
    _, subtype = sound_format(output_path)
    if output_path.exists() and input_path.exists() and output_path.samefile(input_path):
        raise UserError(f"{output_path} is the input file; choose another name")
    return subtype


class _Meter:
    """Tracks peak and length; shows progress on a terminal."""

    def __init__(self, source: soundfile.SoundFile, rate_hz: int, has_picture: bool) -> None:
        self._sounds = (
            [SoundPicture(name, rate_hz) for name in ("in", "out")] if has_picture else []
        )
        self.peak, self.frames = 0.0, 0
        self._total = max(1, source.frames * rate_hz // source.samplerate)
        self._shown = -1
        self._terminal = sys.stderr.isatty()

    @property
    def picture(self) -> list[str]:
        """Lines with the levels of input and output; none if there is to be no picture."""
        for sound in self._sounds:
            sound.end()
        return lines(self._sounds) if self._sounds else []

    def hear(self, block: Floats) -> None:
        """A block of the input."""
        if self._sounds:
            self._sounds[0].take(block)

    def look(self, out: Floats) -> None:
        if self._sounds:
            self._sounds[1].take(out)
        self.frames += len(out)
        self.peak = max(self.peak, float(np.abs(out).max(initial=0)))
        percent = min(100, 100 * self.frames // self._total)
        if self._terminal and percent != self._shown:
            self._shown = percent
            print(f"\rrendering {percent:3d} %", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._terminal:
            print("\r" + " " * 20 + "\r", end="", file=sys.stderr, flush=True)
